package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

func hashLeaf(leaf []byte) [32]byte { return [32]byte(rfc6962.DefaultHasher.HashLeaf(leaf)) }

// Head is a signed statement: the log has Size entries and this root. Note is the signed text (a C2SP checkpoint); whoever
// keeps one elsewhere can tell later whether the log was rewritten or cut short.
type Head struct {
	Size uint64
	Root [32]byte
	Note []byte
}

// Head returns the log's present head, its signature checked.
func (l *Ledger) Head(ctx context.Context) (Head, error) {
	t, err := l.loadTip(ctx, l.db)
	return t.head, err
}

// OpenHead reads a signed head of this log. The error says whether the signature or the form is wrong.
func (l *Ledger) OpenHead(signed []byte) (Head, error) { return openHead(signed, l.origin, l.verif) }

func openHead(signed []byte, origin string, keys note.Verifiers) (Head, error) {
	n, err := note.Open(signed, keys)
	if err != nil {
		return Head{}, fmt.Errorf("ledger: head: %w", err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != origin || lines[3] != "" {
		return Head{}, errors.New("ledger: head: not of this log")
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil {
		return Head{}, errors.New("ledger: head: no size")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != 32 {
		return Head{}, errors.New("ledger: head: no root")
	}
	return Head{Size: size, Root: [32]byte(root), Note: signed}, nil
}

func (l *Ledger) signHead(size uint64, root []byte) (Head, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, base64.StdEncoding.EncodeToString(root))
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	return Head{Size: size, Root: [32]byte(root), Note: signed}, err
}

// tip is the right edge of the tree with its head.
type tip struct {
	head Head
	edge *compact.Range
}

func rootOf(r *compact.Range) ([]byte, error) {
	if r.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	return r.GetRootHash(nil)
}

// loadTip reads the tip and checks it against its own signature: a head is never signed on top of one that was not ours.
func (l *Ledger) loadTip(ctx context.Context, tx DBTX) (*tip, error) {
	var size int64
	var edge, signed []byte
	err := tx.QueryRowContext(ctx, `SELECT size, range, note FROM ledger_tip WHERE id = 1`).Scan(&size, &edge, &signed)
	if errors.Is(err, sql.ErrNoRows) {
		var any int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM ledger_entries LIMIT 1)`).Scan(&any); err != nil {
			return &tip{}, err
		}
		if any > 0 {
			return &tip{}, fmt.Errorf("%w: there is no head", ErrTampered)
		}
		return &tip{edge: factory.NewEmptyRange(0)}, nil
	}
	if err != nil {
		return &tip{}, err
	}
	head, err := l.OpenHead(signed)
	if err != nil {
		return &tip{}, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	r, err := factory.NewRange(0, uint64(size), split(edge))
	if err != nil || head.Size != uint64(size) {
		return &tip{}, ErrTampered
	}
	root, err := rootOf(r)
	if err != nil || !bytes.Equal(root, head.Root[:]) {
		return &tip{}, ErrTampered
	}
	return &tip{head: head, edge: r}, nil
}

// push appends a leaf's hash and returns it with the hashes of the subtrees it completes, lowest first, concatenated.
func (t *tip) push(leaf [32]byte) ([]byte, error) {
	var nodes []byte
	err := t.edge.Append(leaf[:], func(_ compact.NodeID, h []byte) { nodes = append(nodes, h...) })
	return nodes, err
}

func (l *Ledger) saveTip(ctx context.Context, tx DBTX, t *tip) error {
	root, err := rootOf(t.edge)
	if err != nil {
		return err
	}
	if t.head, err = l.signHead(t.edge.End(), root); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO ledger_tip (id, size, range, note) VALUES (1, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET size = excluded.size, range = excluded.range, note = excluded.note`,
		int64(t.head.Size), bytes.Join(t.edge.Hashes(), nil), t.head.Note)
	return err
}

func split(b []byte) [][]byte {
	var out [][]byte
	for len(b) >= 32 {
		out = append(out, b[:32:32])
		b = b[32:]
	}
	if len(b) > 0 {
		out = append(out, b)
	}
	return out
}

// node reads one stored subtree hash: it lies with the entry that completed the subtree.
func node(ctx context.Context, tx DBTX, id compact.NodeID) ([]byte, error) {
	_, end := id.Coverage()
	var h []byte
	err := tx.QueryRowContext(ctx, `SELECT substr(nodes, ?, 32) FROM ledger_entries WHERE seq = ?`,
		32*int64(id.Level)+1, int64(end-1)).Scan(&h)
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(h) != 32 {
		return nil, ErrTampered
	}
	return h, err
}

func nodes(ctx context.Context, tx DBTX, n proof.Nodes) ([][]byte, error) {
	hashes := make([][]byte, 0, len(n.IDs))
	for _, id := range n.IDs {
		h, err := node(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return n.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// Inclusion proves that entry seq stands in the log under head: the hashes from the leaf up to the root.
func (l *Ledger) Inclusion(ctx context.Context, seq uint64) (path [][]byte, head Head, err error) {
	return l.inclusion(ctx, l.db, seq)
}

func (l *Ledger) inclusion(ctx context.Context, tx DBTX, seq uint64) ([][]byte, Head, error) {
	t, err := l.loadTip(ctx, tx)
	if err != nil {
		return nil, Head{}, err
	}
	if seq >= t.head.Size {
		return nil, Head{}, ErrNoEntry
	}
	n, err := proof.Inclusion(seq, t.head.Size)
	if err != nil {
		return nil, Head{}, err
	}
	path, err := nodes(ctx, tx, n)
	return path, t.head, err
}

// ProvedEntries returns the entries of a visit that still has its key, each with its proof of inclusion under one head.
func (l *Ledger) ProvedEntries(ctx context.Context, visit string) (entries []Entry, head Head, paths [][][]byte, err error) {
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, Head{}, nil, err
	}
	defer tx.Rollback()
	if entries, err = l.visitEntries(ctx, tx, visit); err != nil {
		return nil, Head{}, nil, err
	}
	for _, e := range entries {
		var path [][]byte
		if path, head, err = l.inclusion(ctx, tx, e.Seq); err != nil {
			return nil, Head{}, nil, err
		}
		paths = append(paths, path)
	}
	return entries, head, paths, nil
}

// Consistency proves that the log as it stood with size entries is the beginning of the log under head.
func (l *Ledger) Consistency(ctx context.Context, size uint64) (path [][]byte, head Head, err error) {
	t, err := l.loadTip(ctx, l.db)
	if err != nil {
		return nil, Head{}, err
	}
	if size > t.head.Size {
		return nil, Head{}, ErrNoEntry
	}
	n, err := proof.Consistency(size, t.head.Size)
	if err != nil {
		return nil, Head{}, err
	}
	path, err = nodes(ctx, l.db, n)
	return path, t.head, err
}

// CheckInclusion reports whether path proves that leaf is entry seq under head. Pure.
func CheckInclusion(leaf []byte, seq uint64, path [][]byte, head Head) error {
	h := hashLeaf(leaf)
	return proof.VerifyInclusion(rfc6962.DefaultHasher, seq, head.Size, h[:], path, head.Root[:])
}

// CheckConsistency reports whether path proves that old is the beginning of head. Pure.
func CheckConsistency(old, head Head, path [][]byte) error {
	return proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, head.Size, path, old.Root[:], head.Root[:])
}
