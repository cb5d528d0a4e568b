package ledger

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
)

// ErrIncomplete means that a list of a visit's entries leaves some out, or holds some that are not the visit's.
var ErrIncomplete = errors.New("ledger: the list of entries is not the whole of what the log holds on the visit")

// TagKey returns the secret the tags of a visit's entries are made from. Whoever has it can tell which entries of the log are
// about this visit, and that there are no others; it opens nothing. It is meant for the visit's customer. ErrForgotten when the
// visit has no key any more.
func (l *Ledger) TagKey(ctx context.Context, visit string) ([]byte, error) {
	return l.vault.Derive(ctx, l.db, visit, tagUse)
}

const tagUse = "ledger/tag"

// Tag is the tag of a visit's entry number n, from 1.
func Tag(key []byte, visit string, n uint64) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(binary.BigEndian.AppendUint64([]byte(visit+"\x00"), n))
	return m.Sum(nil)[:16]
}

// CheckNumbers reports whether leaves carry the visit's tags 1, 2, 3 … without a gap and in the order of the log; ErrIncomplete
// otherwise. A gap-free beginning leaves one question open, whether there are later ones: see Completeness.
func CheckNumbers(key []byte, visit string, leaves [][]byte) error {
	last := int64(-1)
	for i, leaf := range leaves {
		e, err := ParseLeaf(leaf)
		if err != nil {
			return err
		}
		if e.Tag != hex.EncodeToString(Tag(key, visit, uint64(i)+1)) || int64(e.Seq) <= last {
			return fmt.Errorf("%w: entry %d is not number %d of visit %s", ErrIncomplete, e.Seq, i+1, visit)
		}
		last = int64(e.Seq)
	}
	return nil
}

// Completeness reads a log leaf by leaf and says in the end whether it is the one under a head, and whether it holds no more
// entries of some visits than those listed. The zero value is not usable: see NewCompleteness. It is not safe for concurrent use.
type Completeness struct {
	edge  *compact.Range
	check entryCheck
	heads map[uint64][]Head
	next  map[string]absence // hex of the tag that must not occur
	err   error
}

type absence struct {
	visit string
	size  uint64 // below which it must not occur
}

// NewCompleteness returns a reader that has seen nothing.
func NewCompleteness() *Completeness {
	return &Completeness{edge: factory.NewEmptyRange(0), heads: map[uint64][]Head{}, next: map[string]absence{}}
}

// Expect adds a visit of which entries entries are listed under head.
func (c *Completeness) Expect(key []byte, visit string, entries int, head Head) {
	c.heads[head.Size] = append(c.heads[head.Size], head)
	c.next[hex.EncodeToString(Tag(key, visit, uint64(entries)+1))] = absence{visit, head.Size}
}

// Add reads the next leaf, exactly as it was logged.
func (c *Completeness) Add(leaf []byte) error {
	if c.err != nil {
		return c.err
	}
	seq := c.edge.End()
	e, err := ParseLeaf(leaf)
	if err != nil || e.Seq != seq {
		c.err = fmt.Errorf("%w: line %d of the log is not entry %d", ErrTampered, seq+1, seq)
		return c.err
	}
	if a, hit := c.next[e.Tag]; hit && seq < a.size {
		c.err = fmt.Errorf("%w: entry %d is about visit %s too", ErrIncomplete, seq, a.visit)
		return c.err
	}
	h := c.check.leafHash(leaf)
	if err := c.edge.Append(h[:], nil); err != nil {
		c.err = err
		return err
	}
	c.err = c.compare()
	return c.err
}

func (c *Completeness) compare() error {
	size := c.edge.End()
	for _, h := range c.heads[size] {
		root, err := rootOf(c.edge)
		if err != nil {
			return err
		}
		if !bytes.Equal(root, h.Root[:]) {
			return fmt.Errorf("%w: the first %d lines of the log are not those under the signed head", ErrTampered, size)
		}
	}
	delete(c.heads, size)
	return nil
}

// Done says whether everything expected was proved: nil, ErrIncomplete or ErrTampered.
func (c *Completeness) Done() error {
	if c.err != nil {
		return c.err
	}
	for size := range c.heads {
		return fmt.Errorf("%w: the log ends at %d entries, the signed head stands at %d", ErrIncomplete, c.edge.End(), size)
	}
	return nil
}
