package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"obdgate/internal/ledger"
	"obdgate/internal/report"
	"obdgate/internal/scan"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) clear() *cobra.Command {
	var id, request string
	c := &cobra.Command{
		Use: "clear [LINK]", Short: "Clear the fault memory at the customer's recorded request", Args: argsBetween(0, 1),
		Long: `clear has every control unit clear its trouble codes, freeze frames and readiness. It does so only in an open
visit, at a request of the customer that you name and that is recorded first, with the ignition on, the engine
off, and every code there is saved by a full scan of the same visit. Afterwards it reads the codes again.
Permanent codes stay until the vehicle itself has seen the repair; monitors have to run again.`,
		Example: `  obdgate clear --visit v3k9… --request "paper form 12" elm:///dev/ttyUSB0`,
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(request) == "" {
				return usage(`for example --request "paper form 12"`, errors.New("the customer's request is not named"))
			}
			return p.runClear(c.Context(), first(args, "auto"), id, request)
		},
	}
	visitFlag(c, &id)
	c.Flags().StringVar(&request, "request", "", "where the customer's request is on record")
	return c
}

func (p *program) runClear(ctx context.Context, uri, id, request string) error {
	rules, err := p.rules()
	if err != nil {
		return err
	}
	signals, err := broadcasts(uri)
	if err != nil {
		return err
	}
	return p.withVisit(ctx, id, func(s *store.Store, v visit.Visit) error {
		switch {
		case !v.Closed.IsZero():
			return fail(exitUsage, "open a new one: obdgate visit open", fmt.Errorf("visit %s is closed", v.ID))
		case len(v.Scans) == 0:
			return fail(exitNoInput, "save the codes first: obdgate scan --visit "+v.ID, errors.New("this visit has no scan"))
		}
		if uri == "auto" {
			if uri, err = p.findAdapter(ctx); err != nil {
				return err
			}
		}
		l, err := p.links().Open(ctx, uri)
		if err != nil {
			return err
		}
		record := func(ctx context.Context, reason string, units int) error {
			_, err := s.Ledger().Record(ctx, ledger.Event{Kind: ledger.Cleared, Visit: v.ID, At: p.now(),
				Facts: ledger.Facts{Reason: reason, Count: units, Commitment: commitment(v.ID, request)}})
			return store.Explain(err)
		}
		if err := record(ctx, "requested", 0); err != nil {
			return errors.Join(err, l.Close())
		}
		done, err := scan.Clear(ctx, l, scan.Options{Policy: rules, DBC: signals, Link: uri, At: p.now().UTC(), Log: p.log}, v.Scans)
		keep := context.WithoutCancel(ctx) // what was done is recorded even when the user stops the program now
		err = errors.Join(explainClearing(v.ID, err), l.Close())
		reason := "failed"
		switch {
		case err == nil && done.Complete():
			reason = "cleared"
		case done.Asked:
			reason = "incomplete"
		}
		err = errors.Join(err, record(keep, reason, done.Units()))
		if !done.Asked {
			return err
		}
		return errors.Join(err, p.showClearing(v.ID, request, done))
	})
}

// commitment binds the ledger to the words of the request without holding them: whoever has the form and the visit can
// check it. The visit's id, which the log does not hold, keeps anybody else from guessing.
func commitment(visit, request string) string {
	m := hmac.New(sha256.New, []byte("obdgate/clear/"+visit))
	m.Write([]byte(request))
	return hex.EncodeToString(m.Sum(nil))
}

// explainClearing adds what to do about a clearing that was not begun.
func explainClearing(id string, err error) error {
	for _, row := range []struct {
		is   error
		code int
		hint string
	}{
		{scan.ErrEngineRunning, exitNoPerm, "stop the engine, leave the ignition on, and repeat the command"},
		{scan.ErrEngineUnknown, exitProtocol, "make sure the engine is off, scan again, and repeat the command"},
		{scan.ErrNotSaved, exitNoPerm, "save them first: obdgate scan --plan full --visit " + id},
		{scan.ErrOtherVehicle, exitData, "close the visit and open one for this vehicle, or name the right one with --visit"},
	} {
		if errors.Is(err, row.is) {
			return fail(row.code, row.hint, err)
		}
	}
	return err
}

// showClearing prints the account; codes that are left, or units that refused, are a partial result.
func (p *program) showClearing(id, request string, done scan.Clearing) error {
	doc := report.NewClearing(id, request, p.words.Lang(), results(done), done.Before, done.After)
	var err error
	if p.json {
		err = p.writeJSON(doc)
	} else {
		err = report.NewText(p.Out, p.words).Clearing(doc)
	}
	if err == nil && !done.Complete() {
		err = fail(exitProtocol, p.words.T("clear.hint"), errors.New(p.words.T("clear.incomplete")))
	}
	return err
}

func results(done scan.Clearing) []report.ClearResult {
	out := make([]report.ClearResult, 0, len(done.Results))
	for _, r := range done.Results {
		out = append(out, report.ClearResult(r))
	}
	return out
}
