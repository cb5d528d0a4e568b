package cli

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"obdgate/internal/link/elm327"
	"obdgate/internal/outbox"
	"obdgate/internal/report"
	"obdgate/internal/store"
)

// supportCheck is a check without what was found and said.
func supportCheck(name, uri string, err error) report.SupportCheck {
	code, _ := exitOf(err)
	switch {
	case name == uri:
		name = "link"
	case name == report.CheckCannot:
		name = "adapter"
	case strings.HasPrefix(name, "recipient "):
		name = "recipient"
	}
	return report.SupportCheck{Check: report.Plain(name), OK: err == nil, Code: code}
}

func supportAdapter(scheme string, r elm327.Record) report.SupportAdapter {
	a := report.SupportAdapter{Link: report.Plain(scheme), Chip: report.PlainChip(r.Adapter), STN: report.PlainChip(r.STN), Badge: report.Plain(string(r.Badge())),
		Level: report.PlainChip(r.Level), Gap: r.Gap, Baud: r.Baud, TripMS: r.Trip.Round(time.Millisecond).Milliseconds(), Can: map[string]string{}}
	for ability, answer := range r.Can {
		if answer != elm327.Unknown {
			a.Can[report.Plain(string(ability))] = report.Plain(string(answer))
		}
	}
	return a
}

// writeBundle writes the file for support and lists on the screen what is in it.
func (p *program) writeBundle(ctx context.Context, w io.Writer, name string, s report.Support, checks []report.SupportCheck, adapters []report.SupportAdapter) error {
	s.Day = p.now().UTC().Format(time.DateOnly)
	s.Checks, s.Adapters = checks, append(s.Adapters, adapters...)
	for _, r := range (elm327.Options{Dir: p.stateDir()}).Remembered() {
		s.Adapters = append(s.Adapters, supportAdapter("remembered", r))
	}
	own, err := p.siteRules()
	s.Policy.Own = own != nil || err != nil
	_, err = os.Stat(filepath.Join(p.stateDir(), rolesFile))
	s.Settings = report.SupportSettings{Language: p.words.Lang(), Home: p.home != "", Roles: err == nil, Terminal: terminal(p.Out)}
	// A state that cannot be opened is told by the checks; the rest is still of use.
	_ = p.withStore(ctx, func(st *store.Store) error { return supportState(ctx, st, p.now(), &s) })
	doc, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	p.say("doctor.bundle", name)
	for _, f := range []struct {
		name string
		body []byte
	}{{"about.txt", []byte(p.words.T("doctor.bundle-about") + "\n")}, {"support.json", append(doc, '\n')}} {
		// Stored, not packed: any editor and any search shows what is in it. No time, no owner.
		e, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Store})
		if err == nil {
			_, err = e.Write(f.body)
		}
		if err != nil {
			return fail(exitIO, "", err)
		}
		p.say("doctor.bundle-file", f.name, len(f.body))
	}
	if err := z.Close(); err != nil {
		return fail(exitIO, "", err)
	}
	p.say("doctor.bundle-look", name)
	return nil
}

// maxCounted bounds the visits whose scans are counted, the latest first.
const maxCounted = 200

// supportState counts what is stored. What cannot be read is left out.
func supportState(ctx context.Context, st *store.Store, now time.Time, s *report.Support) error {
	s.State.Key = report.Plain(st.KeySource())
	free, err := store.FreeDisk(st.Home())
	s.State.FreeGB = int64(free >> 30)
	log, errLog := st.Ledger().Verify(ctx)
	s.State.Entries, s.State.Problems, s.State.Kinds = log.Entries, log.Total, map[string]int{}
	for _, problem := range log.Problems {
		s.State.Kinds[report.Plain(problem.Kind)]++
	}
	all, errVisits := st.ListVisits(ctx)
	s.State.Visits, s.State.Scans, s.State.Unanswered = map[string]int{}, map[string]int{}, map[string]int{}
	for _, v := range all {
		if v.Closed.IsZero() {
			s.State.Visits["open"]++
		} else {
			s.State.Visits["closed"]++
		}
	}
	for _, summary := range all[:min(len(all), maxCounted)] {
		v, err := st.Visit(ctx, summary.ID)
		if err != nil {
			continue // erased, or damaged: the checks tell
		}
		for i := range v.Scans {
			if v.Scans[i].Complete() {
				s.State.Scans["whole"]++
				continue
			}
			s.State.Scans["partial"]++
			for _, e := range v.Scans[i].Errors {
				s.State.Unanswered[report.Plain(e.Request[:min(2, len(e.Request))])]++
			}
		}
	}
	errBox := supportOutbox(ctx, st, s)
	receivers, errReceivers := st.Recipients(ctx)
	for _, r := range receivers {
		to := report.SupportRecipient{Country: report.Plain(r.Country), Role: report.Plain(string(r.Role)), Agreement: r.Agreement != "", Usable: r.Usable() == nil,
			Purposes: []string{}}
		if end := r.Expires(); !end.IsZero() {
			to.DaysLeft = int(end.Sub(now) / (24 * time.Hour))
		}
		for _, purpose := range r.Purposes {
			kind, _, _ := strings.Cut(string(purpose), ":")
			to.Purposes = append(to.Purposes, report.Plain(kind))
		}
		s.To = append(s.To, to)
	}
	return errors.Join(err, errLog, errVisits, errBox, errReceivers)
}

func supportOutbox(ctx context.Context, st *store.Store, s *report.Support) error {
	box, err := outbox.Open(ctx, st, outbox.Options{})
	if err != nil {
		return err
	}
	items, err := box.Items(ctx, "")
	s.State.Outbox = map[string]int{}
	for _, item := range items {
		s.State.Outbox[report.Plain(string(item.State))]++
	}
	return err
}
