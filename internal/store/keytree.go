package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// keyTree gives 2^32 wrapping keys from one seed and can forget single ones for good (a puncturable pseudo-random function
// after Goldreich, Goldwasser and Micali: each node's seed gives its two children's, a leaf is a key). Forgetting a leaf
// replaces the node that covers it by the siblings along the path: every other key can still be made, this one cannot, by
// nobody. So a visit that was erased is unreadable in every older copy of the database, and all other visits in that copy
// stay readable.
//
// Slots that are forgotten side by side share their path, which keeps the tree small: slots are handed out in order within
// ranges of a like lifetime.
type keyTree map[treeNode][keyBytes]byte

// treeNode is the node at depth whose leaves are the slots that begin with the top depth bits of prefix.
type treeNode struct {
	depth  uint8 // 0 root … 32 leaf
	prefix uint32
}

const treeDepth = 32

func mask(depth uint8) uint32 { return ^uint32(0) << (treeDepth - depth) } // a shift by 32 gives 0, the root

func child(seed [keyBytes]byte, right byte) [keyBytes]byte {
	m := hmac.New(sha256.New, seed[:])
	m.Write([]byte{'o', 'b', 'd', 'g', 'a', 't', 'e', '/', 't', 'r', 'e', 'e', '/', right})
	return [keyBytes]byte(m.Sum(nil))
}

func (t keyTree) covering(slot uint32) (treeNode, bool) {
	for d := range uint8(treeDepth + 1) {
		n := treeNode{d, slot & mask(d)}
		if _, ok := t[n]; ok {
			return n, true
		}
	}
	return treeNode{}, false
}

// key makes the key of a slot; false when it was forgotten.
func (t keyTree) key(slot uint32) ([]byte, bool) {
	n, ok := t.covering(slot)
	if !ok {
		return nil, false
	}
	seed := t[n]
	for d := n.depth; d < treeDepth; d++ {
		seed = child(seed, byte(slot>>(treeDepth-1-d)&1))
	}
	return seed[:], true
}

// forget makes the key of a slot impossible to make again. Forgetting twice is once.
func (t keyTree) forget(slot uint32) {
	n, ok := t.covering(slot)
	if !ok {
		return
	}
	seed := t[n]
	delete(t, n)
	for d := n.depth; d < treeDepth; d++ {
		bit := slot >> (treeDepth - 1 - d) & 1
		sibling := (slot ^ 1<<(treeDepth-1-d)) & mask(d+1)
		t[treeNode{d + 1, sibling}] = child(seed, byte(bit^1))
		seed = child(seed, byte(bit))
	}
}

const nodeBytes = 1 + 4 + keyBytes

// MarshalBinary writes the nodes in order: depth, prefix, seed.
func (t keyTree) MarshalBinary() ([]byte, error) {
	nodes := slices.SortedFunc(maps.Keys(t), func(a, b treeNode) int {
		if a.prefix != b.prefix {
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		return int(a.depth) - int(b.depth)
	})
	out := make([]byte, 0, len(t)*nodeBytes)
	for _, n := range nodes {
		seed := t[n]
		out = append(binary.BigEndian.AppendUint32(append(out, n.depth), n.prefix), seed[:]...)
	}
	return out, nil
}

var errTree = errors.New("store: not a key tree")

// parseTree is the mirror of MarshalBinary. Nodes that overlap or stand out of order are refused.
func parseTree(b []byte) (keyTree, error) {
	if len(b)%nodeBytes != 0 {
		return nil, errTree
	}
	t := keyTree{}
	next := uint64(0) // the first slot no node has covered yet
	for ; len(b) > 0; b = b[nodeBytes:] {
		n := treeNode{b[0], binary.BigEndian.Uint32(b[1:])}
		if n.depth > treeDepth || n.prefix&^mask(n.depth) != 0 || uint64(n.prefix) < next {
			return nil, errTree
		}
		next = uint64(n.prefix) + 1<<(treeDepth-n.depth)
		t[n] = [keyBytes]byte(b[5:nodeBytes])
	}
	return t, nil
}
