package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/gate"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/recipient"
	"obdgate/internal/report"
	"obdgate/internal/store"
	"obdgate/internal/uplink"
	"obdgate/internal/visit"
	"obdgate/internal/wire"

	"github.com/spf13/cobra"
)

type uploadOptions struct {
	visit                string
	dryRun, watch, retry bool
}

func (p *program) upload() *cobra.Command {
	var o uploadOptions
	c := &cobra.Command{
		Use: "upload", Short: "Send what the customer agreed to, and nothing else", Args: exactArgs(0),
		Long: `upload seals the scans of a visit for every purpose the customer agreed to and every recipient registered
for it, and sends what waits. An envelope is done only when the recipient's signed receipt was checked.
Consent is asked again at the moment of sending. --dry-run prints the exact bytes that would leave.`,
		Example: `  obdgate upload --dry-run
  obdgate upload --visit v3k9…
  obdgate upload --watch`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error { return p.runUpload(c.Context(), s, o) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.visit, "visit", "", "only this visit (default: all)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the exact bytes that would leave, one JSON document a line, and send nothing")
	f.BoolVar(&o.retry, "retry", false, "offer again what a recipient has rejected, after its operator mended the cause")
	f.BoolVar(&o.watch, "watch", false, "stay and send whatever comes, until interrupted")
	return c
}

func (p *program) runUpload(ctx context.Context, s *store.Store, o uploadOptions) error {
	if o.visit != "" {
		if _, err := getVisit(ctx, s, o.visit); err != nil {
			return err
		}
	}
	if o.dryRun {
		return p.dryRun(ctx, s, o.visit)
	}
	if err := p.trustLog(ctx, s); err != nil {
		return err
	}
	p.retain(ctx, s)
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	rejected, err := p.rejected(ctx, q, o)
	if err != nil {
		return err
	}
	if o.watch {
		return p.watch(ctx, s, q, o.visit)
	}
	stays, err := p.seal(ctx, s, q, o.visit)
	if err != nil {
		return err
	}
	stays.rejected = rejected
	return p.drain(ctx, q, o.visit, stays)
}

// rejected counts what recipients have rejected; with --retry it is queued again instead.
func (p *program) rejected(ctx context.Context, q *outbox.Outbox, o uploadOptions) (n int, err error) {
	items, err := q.Items(ctx, o.visit)
	if err != nil {
		return 0, err
	}
	for _, it := range items {
		if it.State != outbox.Rejected {
			continue
		}
		if !o.retry {
			n++
		} else if err := q.Retry(ctx, it.Recipient, it.ID); err != nil && !errors.Is(err, outbox.ErrNotFound) {
			return 0, err
		}
	}
	return n, nil
}

// trustLog refuses to send anything on the word of a log that was changed: a hidden withdrawal would read as a yes.
func (p *program) trustLog(ctx context.Context, s *store.Store) error {
	r, err := s.Ledger().Verify(ctx)
	if err != nil {
		return store.Explain(err)
	}
	if !r.OK() {
		return errTampered()
	}
	return nil
}

// candidate is one scan for one purpose and one recipient.
type candidate struct {
	visit visit.Visit
	input gate.Input
}

// candidates lists what could be sealed of a visit, whatever the customer said: the gate decides.
func (p *program) candidates(ctx context.Context, s *store.Store, id string) ([]candidate, error) {
	rules, err := p.rules()
	if err != nil {
		return nil, err
	}
	recipients, err := s.Recipients(ctx)
	if err != nil {
		return nil, err
	}
	ids := []string{id}
	if id == "" {
		all, err := s.ListVisits(ctx)
		if err != nil {
			return nil, err
		}
		ids = nil
		for _, v := range all {
			if v.Scans > 0 {
				ids = append(ids, v.ID)
			}
		}
	}
	var out []candidate
	for _, id := range ids {
		v, err := s.Visit(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue // erased meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, one := range v.Scans {
			var values []policy.Tagged
			for _, r := range one.Readings {
				values = append(values, rules.Tag(r))
			}
			for _, to := range recipients {
				for _, purpose := range to.Purposes {
					out = append(out, candidate{v, gate.Input{
						Visit: v.ID, VIN: one.VIN, Values: values, OBFCM: one.OBFCM, Purpose: purpose,
						Recipient: to, Station: s.Station().ID(), Day: one.At.In(time.Local),
						Policy: wire.Policy{Version: rules.Version(), Hash: rules.Hash()},
					}})
				}
			}
		}
	}
	return out, nil
}

// seal puts what may leave into the queue.
func (p *program) seal(ctx context.Context, s *store.Store, q *outbox.Outbox, id string) (kept, error) {
	return p.sealEach(ctx, s, id, func(sealed gate.Sealed) error {
		_, err := q.Put(ctx, sealed)
		return err
	})
}

// kept is what stays and why, for the exit code of an upload that sends nothing.
type kept struct {
	back     int   // envelopes that the customer's answers keep back
	unusable error // of the first recipient that may not receive anything
	rejected int   // envelopes that recipients have rejected before
}

// err is nil when nothing stays that somebody may have expected to leave.
func (k kept) err(p *program) error {
	switch {
	case k.rejected > 0:
		return fail(exitData, "ask the recipient's operator, then: obdgate upload --retry",
			fmt.Errorf("%d envelopes were rejected by their recipients; see obdgate visit show", k.rejected))
	case k.back > 0:
		return fail(exitNoPerm, p.words.T("upload.blocked-hint"), errors.New(p.words.T("upload.kept-back", k.back)))
	case k.unusable != nil:
		return k.unusable
	}
	return nil
}

// sealEach seals every candidate the gate lets through and hands it to take. A no counts as keeping something back, and so
// does a customer who was asked nothing; a purpose nobody asked about beside others that were answered does not. Of all
// visits only the open ones count: what was settled long ago is no news.
func (p *program) sealEach(ctx context.Context, s *store.Store, id string, take func(gate.Sealed) error) (stays kept, err error) {
	all, err := p.candidates(ctx, s, id)
	if err != nil {
		return stays, err
	}
	door := gate.New(s.Consent(), s.Station())
	agreed, unasked, told := map[string]bool{}, map[string]int{}, map[string]bool{}
	for _, c := range all {
		if c.input.Purpose.IsPortability() {
			continue // sealed by the request for it only: rights export
		}
		counts := id != "" || c.visit.Closed.IsZero()
		sealed, err := door.Seal(ctx, c.input)
		switch {
		case errors.Is(err, gate.ErrNoConsent), errors.Is(err, store.ErrRestricted):
			if errors.Is(err, gate.ErrRefused) && counts {
				stays.back++
			} else if counts {
				unasked[c.visit.ID]++
			}
			p.log.Info("not sealed", "visit", c.visit.ID, "purpose", c.input.Purpose.Kind(), "why", err)
		case errors.Is(err, gate.ErrNothing), errors.Is(err, gate.ErrPurpose):
			agreed[c.visit.ID] = agreed[c.visit.ID] || errors.Is(err, gate.ErrNothing)
			p.log.Info("nothing to seal", "visit", c.visit.ID, "purpose", c.input.Purpose.Kind())
		case errors.Is(err, gate.ErrNoAgreement), errors.Is(err, recipient.ErrUnusable):
			name := c.input.Recipient.Name
			if stays.unusable == nil {
				stays.unusable = fmt.Errorf("%s: %w", name, err)
			}
			if !told[name] {
				told[name] = true
				p.say("upload.unusable", name, err)
			}
		case err != nil:
			return stays, err
		default:
			agreed[c.visit.ID] = true
			if err := take(sealed); err != nil {
				return stays, err
			}
		}
	}
	for id, n := range unasked {
		if err := p.answersLost(ctx, s, id); err != nil {
			return stays, err
		}
		if !agreed[id] {
			stays.back += n
		}
	}
	return stays, nil
}

// dryRun prints the bytes that would leave: what waits already and what would be sealed now.
func (p *program) dryRun(ctx context.Context, s *store.Store, id string) error {
	seen := map[string]bool{}
	print := func(to, hash string, body []byte) error {
		if seen[to+hash] {
			return nil
		}
		seen[to+hash] = true
		fmt.Fprintln(p.Err, p.words.T("upload.would", to, len(body)))
		_, err := p.Out.Write(append(body, '\n'))
		return err
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	err = q.Pending(ctx, id, func(it outbox.Item, body []byte) error { return print(it.Recipient, it.ID, body) })
	if err != nil {
		return err
	}
	sent, err := q.Items(ctx, id)
	if err != nil {
		return err
	}
	for _, it := range sent {
		if it.State == outbox.Done {
			seen[it.Recipient+it.ID] = true
		}
	}
	stays, err := p.sealEach(ctx, s, id, func(sealed gate.Sealed) error {
		c := sealed.Stored()
		return print(c.Recipient, c.ID, c.Body)
	})
	if err == nil && len(seen) == 0 {
		p.say("upload.nothing")
		return stays.err(p)
	}
	return err
}

func connect(r recipient.Recipient) (outbox.Sender, error) { return uplink.New(r, uplink.Options{}) }

// drain sends what waits and turns the result into the exit code: the worst that happened decides.
func (p *program) drain(ctx context.Context, q *outbox.Outbox, id string, stays kept) error {
	res, err := q.Drain(ctx, connect, outbox.DrainOptions{Visit: id, All: true})
	if printErr := p.printDrain(res); err == nil {
		err = printErr
	}
	if err != nil {
		return err
	}
	return p.verdictOf(res, stays)
}

func (p *program) verdictOf(res outbox.Result, stays kept) error {
	var worst error
	for _, r := range res.Reports {
		if r.Err != nil && worst == nil {
			worst = r.Err
		}
	}
	untold := 0
	for _, n := range res.Told {
		if n.Err != nil {
			untold++
			if worst == nil {
				worst = n.Err
			}
		}
	}
	switch {
	case res.Unproved > 0:
		return fail(exitTempFail, "do not trust this recipient until it has been mended; the envelope stays here", worst)
	case res.Rejected > 0:
		return fail(exitData, "the recipient will not take it; ask its operator, then: obdgate upload --retry", worst)
	case res.Deferred > 0, res.Busy > 0, untold > 0:
		if worst == nil {
			worst = uplink.ErrDeferred
		}
		return fail(exitTempFail, "nothing is lost; run obdgate upload again later", worst)
	case res.Held > 0:
		return fail(exitConfig, "see: obdgate recipient list", worst)
	case res.Blocked > 0:
		return fail(exitNoPerm, "", worst)
	case res.Sent == 0:
		return stays.err(p)
	}
	return nil
}

func (p *program) printDrain(res outbox.Result) error {
	if p.json {
		return p.writeJSON(report.NewUpload(res))
	}
	return report.NewText(p.Out, p.words).Upload(report.NewUpload(res))
}

// watch sends whatever comes until ctx ends. Faults of a recipient are waited out; a fault of the state ends it.
func (p *program) watch(ctx context.Context, s *store.Store, q *outbox.Outbox, id string) error {
	const poll = 2 * time.Second
	const sweep = time.Hour // a station that never starts anew keeps its promises all the same
	lines, swept := json.NewEncoder(p.Out), p.now()
	for {
		if p.now().Sub(swept) >= sweep {
			p.retain(ctx, s)
			swept = p.now()
		}
		if _, err := p.seal(ctx, s, q, id); err != nil {
			return stopped(ctx, err)
		}
		res, err := q.Drain(ctx, connect, outbox.DrainOptions{Visit: id})
		for _, u := range report.NewUpload(res).Items {
			if p.json {
				err = errors.Join(err, lines.Encode(u))
			} else {
				err = errors.Join(err, report.NewText(p.Out, p.words).Upload(report.Upload{Items: []report.UploadItem{u}}))
			}
		}
		if err != nil {
			return stopped(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(poll):
		}
	}
}

// stopped is nil when the user ended it.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// items lists what was or is in the queue for a visit.
func (p *program) items(ctx context.Context, s *store.Store, id string) ([]outbox.Item, error) {
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return nil, err
	}
	return q.Items(ctx, id)
}
