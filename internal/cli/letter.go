package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"obdgate/internal/i18n"
	"obdgate/internal/report"
	"obdgate/internal/rights"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) rightsOpen() *cobra.Command {
	var a asked
	var kind, came string
	c := &cobra.Command{
		Use: "open ID", Short: "Record that a request came in, to be answered later: its 30-day clock runs from then", Args: exactArgs(1),
		Long: `open records a request that is not answered at once: one that came by letter, or from somebody whose identity has
still to be checked. The command that answers it (access, erase, restrict, rectify, export, object) finds it by itself;
without --identity here, that command asks for it.`,
		Example: "  obdgate rights open v3k9… --request erasure --received 2026-11-20 --letter received.html\n" +
			`  obdgate rights open v3k9… --request access --identity "passport seen" --note "everything, please"`,
		RunE: func(c *cobra.Command, args []string) error {
			r := rights.Request(kind)
			if !r.Valid() {
				return usage("--request access, rectification, erasure, restriction, portability or objection", fmt.Errorf("no request %q", kind))
			}
			at := p.now()
			if came != "" {
				day, err := time.ParseInLocation(time.DateOnly, came, time.Local)
				if err != nil || day.After(at) {
					return usage("--received 2026-11-20", errors.New("no day that has been"))
				}
				at = day
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				v, err := getVisit(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				t, err := rights.Receive(c.Context(), s, v.ID, r, rights.Text{Identity: a.identity, Note: a.note, Language: v.Language}, at, p.now())
				if err != nil {
					return err
				}
				if p.json {
					if err := p.writeJSON(t); err != nil {
						return err
					}
				} else {
					p.say("rights.received", t.ID, t.Due.Local().Format(time.DateOnly))
				}
				return p.confirm(c.Context(), s, t, a.letter)
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&kind, "request", "", "access, rectification, erasure, restriction, portability or objection")
	c.Flags().StringVar(&came, "received", "", "day on which it came in (default: today)")
	return c
}

func (p *program) rightsLetter() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "letter REQUEST", Short: "Write what the customer is told about a request: received, extended, done or refused", Args: exactArgs(1),
		Long: `letter writes a page to print, in the customer's language or that of --lang, that says what became of a request, for
what reason, and where to complain. The log commits to its words, and the page carries the proof (rights check).`,
		Example: "  obdgate rights letter t4k2… --to letter.html",
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return usage("--to FILE (- is stdout)", errors.New("where to?"))
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				t, err := findTicket(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				return p.confirm(c.Context(), s, t, to)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "file to write")
	return c
}

func findTicket(ctx context.Context, s *store.Store, id string) (rights.Ticket, error) {
	t, err := rights.FindTicket(ctx, s, id)
	if errors.Is(err, rights.ErrNoTicket) {
		return t, fail(exitNoInput, "see: obdgate rights list --all", err)
	}
	return t, err
}

// confirm writes the letter about a request; without a file it says how to.
func (p *program) confirm(ctx context.Context, s *store.Store, t rights.Ticket, file string) error {
	if file == "" {
		p.say("rights.letter-hint", t.ID)
		return nil
	}
	proof, err := rights.LetterOf(ctx, s, t)
	if errors.Is(err, rights.ErrWritten) {
		return fail(exitNoInput, "what is left of it: obdgate rights list --all", err)
	}
	if err != nil {
		return err
	}
	if p.json {
		return p.writePage(file, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(proof)
		})
	}
	shop, err := s.Workshop(ctx)
	if err != nil {
		return err
	}
	words := p.words
	if p.lang == "" && t.Language != "" {
		if words, err = i18n.Load(t.Language); err != nil {
			return err
		}
	}
	body, err := json.Marshal(proof)
	if err != nil {
		return err
	}
	d := proof.Details
	l := report.Letter{Shop: shop, Visit: t.Visit, Ticket: t.ID, Request: string(t.Request), Outcome: proof.Outcome, Received: t.Opened, Due: t.Due,
		At: proof.At, Reason: proof.Reason, Recipients: d.Recipients, Purposes: d.Purposes, Field: d.Field, Value: d.Value,
		Hold: d.Hold, Lifted: d.Lifted, Proof: body, Entry: strconv.FormatUint(t.Entry, 10), Key: proof.Key}
	if t.Visit != "" {
		v, err := getVisit(ctx, s, t.Visit)
		if err != nil {
			return err
		}
		l.Order, l.Opened = v.Order, v.Opened
		if err := p.accessed(ctx, s, v.ID, "letter"); err != nil {
			return err
		}
	}
	return p.writePage(file, func(w io.Writer) error { return report.WriteLetter(w, words, l) })
}

func (p *program) rightsCheck() *cobra.Command {
	var log, key string
	c := &cobra.Command{
		Use: "check FILE", Short: "Check a copy or a letter that a customer was given: genuine, and complete", Args: exactArgs(1),
		Long: `check needs no network, and with --station-key no state: a customer, or whoever helps, can do it. A letter is compared
with what the log commits to. Of a copy every entry is proved to stand in the log, and with --log, the lines that the
workshop prints with ledger show --exact, that no entry about the visit was left out.`,
		Example: "  obdgate rights check copy.json --log log.jsonl --station-key 5f70…\n  obdgate rights check letter.html",
		RunE: func(c *cobra.Command, args []string) error {
			public, err := stationKey(key)
			if err != nil {
				return err
			}
			if public == nil {
				if err := p.withStore(c.Context(), func(s *store.Store) error { public = s.Station().Public(); return nil }); err != nil {
					return err
				}
			}
			return p.check(args[0], log, public)
		},
	}
	c.Flags().StringVar(&log, "log", "", "the log's lines, from ledger show --exact")
	c.Flags().StringVar(&key, "station-key", "", "public key of the station, hexadecimal (default: this one's)")
	return c
}

func (p *program) check(file, log string, key ed25519.PublicKey) error {
	const hint = "do not rely on it; ask the workshop, and the supervisory authority if it stays so"
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b = report.LetterJSON(b)
	var l rights.Letter
	if json.Unmarshal(b, &l) == nil && l.Schema == rights.LetterSchema {
		if err := rights.CheckLetter(l, key); err != nil {
			return fail(exitData, hint, err)
		}
		if p.json {
			return p.writeJSON(l.Answer)
		}
		t := report.NewText(p.Out, p.words)
		t.Line("%s", p.words.T("check.letter", l.Station, l.Ticket, entryOf(l)))
		t.LetterSays(report.Letter{Request: string(l.Request), Outcome: l.Outcome, Received: l.Received, Due: l.Due, At: l.At, Reason: l.Reason,
			Recipients: l.Details.Recipients, Purposes: l.Details.Purposes, Field: l.Details.Field, Value: l.Details.Value, Hold: l.Details.Hold, Lifted: l.Details.Lifted})
		return t.Err()
	}
	copies, err := parseCopies(b)
	if err != nil {
		return fail(exitData, "give a file that rights access, rights export or rights letter wrote", err)
	}
	var next func() ([]byte, error)
	if log != "" {
		f, err := os.Open(log)
		if err != nil {
			return err
		}
		defer f.Close()
		in := bufio.NewScanner(f)
		in.Buffer(nil, 1<<20)
		next = func() ([]byte, error) {
			if !in.Scan() {
				return nil, in.Err()
			}
			return bytes.Clone(in.Bytes()), nil
		}
	}
	done, err := rights.CheckCopies(copies, key, next)
	if errors.Is(err, rights.ErrProof) {
		return fail(exitData, hint, err)
	}
	if err != nil {
		return err
	}
	if p.json {
		return p.writeJSON(done)
	}
	t := report.NewText(p.Out, p.words)
	for _, c := range done {
		t.Line("%s", p.words.T("check.copy", c.Visit, c.Entries, c.Log, c.Receipts))
		if c.Complete {
			t.Line("  %s", p.words.T("check.complete"))
		} else {
			t.Line("  %s", p.words.T("check.gapless"))
		}
	}
	return t.Err()
}

// entryOf is the number of the entry a letter is proved by.
func entryOf(l rights.Letter) string {
	var e struct {
		Seq json.Number `json:"seq"`
	}
	_ = json.Unmarshal(l.Leaf, &e) // it was checked
	return e.Seq.String()
}

func parseCopies(b []byte) (all []rights.Copy, err error) {
	if err := json.Unmarshal(b, &all); err == nil {
		return all, nil
	}
	var one rights.Copy
	if err := json.Unmarshal(b, &one); err != nil || one.Schema != rights.AccessSchema {
		return nil, errors.New("neither a copy nor a letter")
	}
	return []rights.Copy{one}, nil
}
