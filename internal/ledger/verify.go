package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Problem is one thing that does not fit. Kind is a stable key; Entry is where, -1 when it concerns the log as a whole.
type Problem struct {
	Kind   string `json:"kind"`
	Entry  int64  `json:"entry"`
	Detail string `json:"detail"`
}

// Kinds of problems.
const (
	ProblemEdited   = "edited"    // an entry is not what was logged
	ProblemMissing  = "missing"   // an entry was deleted
	ProblemTree     = "tree"      // the stored tree does not fit the entries
	ProblemHead     = "head"      // the signed head does not fit the entries: rewritten, cut short or lengthened
	ProblemKey      = "key"       // the head was not signed by this station's key
	ProblemTag      = "tag"       // an entry was moved from one visit to another
	ProblemDecision = "decision"  // a stored decision is not the one that was logged
	ProblemBegin    = "beginning" // the log does not begin with this station's key
	ProblemExternal = "external"  // a head kept elsewhere does not fit this log
)

// Report is the outcome of Verify.
type Report struct {
	Entries  uint64    `json:"entries"`
	Root     string    `json:"root"`     // hex, computed from the entries
	Head     string    `json:"head"`     // the signed head as stored; keep it elsewhere to be able to compare later
	Problems []Problem `json:"problems"` // of each kind the first 20
	Total    int       `json:"problems_total"`
	Notes    []string  `json:"notes"` // not wrong by themselves: the clock was set back

	listed map[string]int // by kind
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return r.Total == 0 }

// One change breaks every hash after it: of each kind the first few are listed, so that none crowds out another.
const maxListed = 20

func (r *Report) add(kind string, entry int64, detail string) {
	r.Total++
	if r.listed == nil {
		r.listed = map[string]int{}
	}
	if r.listed[kind]++; r.listed[kind] <= maxListed {
		r.Problems = append(r.Problems, Problem{kind, entry, detail})
	}
}

// Verify reads the whole log, computes the tree anew and compares it with what is stored and with the signed head, and
// every stored decision with its commitment. It needs nothing but the state directory. A problem is no error: errors are
// for what could not be read.
//
// What it cannot see alone is that the whole state was put back to an older copy: for that a head kept elsewhere is needed
// (VerifyAgainst).
func (l *Ledger) Verify(ctx context.Context) (Report, error) { return l.VerifyAgainst(ctx) }

// VerifyAgainst is Verify, and compares the log with signed heads that were kept elsewhere.
func (l *Ledger) VerifyAgainst(ctx context.Context, kept ...[]byte) (Report, error) {
	r := Report{Problems: []Problem{}, Notes: []string{}}
	outside := map[uint64][]Head{}
	for _, b := range kept {
		h, err := l.OpenHead(b)
		if err != nil {
			r.add(ProblemExternal, -1, "a head kept elsewhere is not signed by this station's key: "+err.Error())
			continue
		}
		outside[h.Size] = append(outside[h.Size], h)
	}
	// One read-only transaction: the log may grow meanwhile.
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r, l.explain(err)
	}
	defer tx.Rollback()
	edge, err := l.verifyEntries(ctx, tx, &r, outside)
	if err != nil {
		return r, l.explain(err)
	}
	if err := l.verifyTip(ctx, tx, &r, edge); err != nil {
		return r, l.explain(err)
	}
	for size, heads := range outside {
		if size > r.Entries {
			r.add(ProblemExternal, -1, fmt.Sprintf("a head kept elsewhere names %d entries (%d times), the log has %d: it was cut short", size, len(heads), r.Entries))
		}
	}
	return r, l.explain(l.verifyDecisions(ctx, tx, &r))
}

func (l *Ledger) explain(err error) error {
	if err == nil || l.Explain == nil {
		return err
	}
	return l.Explain(err)
}

func (l *Ledger) verifyEntries(ctx context.Context, tx DBTX, r *Report, outside map[uint64][]Head) (*compact.Range, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, tag, leaf, nodes FROM ledger_entries ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	edge := factory.NewEmptyRange(0)
	compareOutside := func() error {
		for _, h := range outside[edge.End()] {
			root, err := rootOf(edge)
			if err != nil {
				return err
			}
			if !bytes.Equal(root, h.Root[:]) {
				r.add(ProblemExternal, int64(h.Size)-1, "the log differs from a head kept elsewhere: its first entries were rewritten")
			}
		}
		return nil
	}
	if err := compareOutside(); err != nil {
		return nil, err
	}
	var check entryCheck
	var have []byte
	visitNode := func(_ compact.NodeID, h []byte) { have = append(have, h...) }
	for rows.Next() {
		var seq int64
		var tag, leaf, nodes sql.RawBytes
		if err := rows.Scan(&seq, &tag, &leaf, &nodes); err != nil {
			return nil, err
		}
		want := edge.End()
		if uint64(seq) != want {
			r.add(ProblemMissing, seq, fmt.Sprintf("entry %d is followed by entry %d", int64(want)-1, seq))
		}
		if seq == 0 {
			l.verifyFirst(leaf, r)
		}
		check.entry(seq, tag, leaf, r)
		have = have[:0]
		h := check.leafHash(leaf)
		if err := edge.Append(h[:], visitNode); err != nil {
			return nil, err
		}
		if !bytes.Equal(have, nodes) {
			switch {
			case len(nodes) < 32 || !bytes.Equal(have[:32], nodes[:32]):
				r.add(ProblemEdited, seq, "the entry's content is not what was logged")
			default:
				r.add(ProblemTree, seq, "the tree above this entry does not fit: something before it was changed")
			}
		}
		if err := compareOutside(); err != nil {
			return nil, err
		}
	}
	r.Entries = edge.End()
	return edge, rows.Err()
}

// entryCheck checks single entries; it lives through one pass for its buffers and the last time seen.
type entryCheck struct {
	buf  []byte
	last time.Time
}

func (c *entryCheck) leafHash(leaf []byte) [32]byte {
	c.buf = append(append(c.buf[:0], rfc6962.RFC6962LeafHashPrefix), leaf...)
	return sha256.Sum256(c.buf)
}

// entry compares the columns with what the leaf says of itself. The leaf's head has a fixed form:
//
//	{"seq":12,"time":"2026-11-20T09:00:00.000Z","kind":"answer","tag":"…32 hex…","facts":{…}}
func (c *entryCheck) entry(seq int64, tag, leaf []byte, r *Report) {
	c.buf = strconv.AppendInt(append(c.buf[:0], `{"seq":`...), seq, 10)
	c.buf = append(c.buf, `,"time":"`...)
	rest, ok := bytes.CutPrefix(leaf, c.buf)
	if !ok || len(rest) < len(timeForm) {
		r.add(ProblemEdited, seq, "the entry does not stand at its own place in the log")
		return
	}
	at, err := time.Parse(timeForm, string(rest[:len(timeForm)]))
	if err != nil {
		r.add(ProblemEdited, seq, "the entry has no time")
		return
	}
	if back := c.last.Sub(at); back > time.Minute && len(r.Notes) < maxListed {
		r.Notes = append(r.Notes, fmt.Sprintf("entry %d is %s earlier than the one before it: the clock was set back", seq, back.Round(time.Second)))
	}
	c.last = at
	c.buf = append(c.buf[:0], `"tag":"`...)
	c.buf = append(hex.AppendEncode(c.buf, tag), '"')
	i := bytes.Index(rest, []byte(`"tag":`))
	if i < 0 || !bytes.HasPrefix(rest[i:], c.buf) {
		r.add(ProblemTag, seq, "the entry was filed under another visit")
	}
}

func (l *Ledger) verifyFirst(leaf []byte, r *Report) {
	e, err := ParseLeaf(bytes.Clone(leaf))
	if err != nil || e.Kind != KeyEvent || e.Facts.Key != hex.EncodeToString(l.public) {
		r.add(ProblemBegin, 0, "the log does not begin with the key of this station")
	}
}

func (l *Ledger) verifyTip(ctx context.Context, tx DBTX, r *Report, edge *compact.Range) error {
	root, err := rootOf(edge)
	if err != nil {
		return err
	}
	r.Root = hex.EncodeToString(root)
	var size int64
	var stored, signed []byte
	err = tx.QueryRowContext(ctx, `SELECT size, range, note FROM ledger_tip WHERE id = 1`).Scan(&size, &stored, &signed)
	if errors.Is(err, sql.ErrNoRows) {
		r.add(ProblemHead, -1, "there is no signed head")
		return nil
	}
	if err != nil {
		return err
	}
	r.Head = string(signed)
	head, err := l.OpenHead(signed)
	if err != nil {
		r.add(ProblemKey, -1, "the head is not signed by this station's key: "+err.Error())
		return nil
	}
	switch {
	case head.Size > r.Entries:
		r.add(ProblemHead, -1, fmt.Sprintf("the signed head names %d entries, there are %d: entries were removed", head.Size, r.Entries))
	case head.Size < r.Entries:
		r.add(ProblemHead, -1, fmt.Sprintf("the signed head names %d entries, there are %d: entries were added without the key", head.Size, r.Entries))
	case !bytes.Equal(head.Root[:], root):
		r.add(ProblemHead, -1, "the signed head has another root: entries were changed")
	}
	if uint64(size) != head.Size || !bytes.Equal(stored, bytes.Join(edge.Hashes(), nil)) {
		r.add(ProblemTree, -1, "the stored edge of the tree does not fit the entries")
	}
	return nil
}

// verifyDecisions opens every decision of every visit that still has its key.
func (l *Ledger) verifyDecisions(ctx context.Context, tx DBTX, r *Report) error {
	stored := map[string]int{}
	rows, err := tx.QueryContext(ctx, `SELECT visit, count(*) FROM ledger_decisions GROUP BY visit`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var visit string
		var n int
		if err := rows.Scan(&visit, &n); err != nil {
			rows.Close()
			return err
		}
		stored[visit] = n
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	visits, err := l.vault.Visits(ctx, tx)
	if err != nil {
		return err
	}
	for _, visit := range visits {
		ds, err := l.decisions(ctx, tx, visit)
		switch {
		case errors.Is(err, ErrTampered):
			r.add(ProblemDecision, -1, "a decision of visit "+visit+" is missing, or is not the one that was logged")
		case err != nil:
			return err
		case len(ds) != stored[visit]:
			r.add(ProblemDecision, -1, fmt.Sprintf("visit %s has %d decisions stored and %d logged", visit, stored[visit], len(ds)))
		}
		delete(stored, visit)
	}
	for _, visit := range slices.Sorted(maps.Keys(stored)) {
		r.Notes = append(r.Notes, "unreadable decisions of visit "+visit+", which was erased, are stored: an older copy of the state was put back")
	}
	return nil
}
