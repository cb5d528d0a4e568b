package link

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Opener opens one kind of link. uri is the whole address, scheme included (see Split).
type Opener func(ctx context.Context, uri string) (Link, error)

// Registry maps a scheme ("can", "elm", "elm+tcp", "replay", "sim") to its Opener. It is filled once by the program and
// read-only afterwards.
type Registry map[string]Opener

// Open opens the link at uri. An unknown scheme is ErrNoAdapter with the list of known ones.
func (r Registry) Open(ctx context.Context, uri string) (Link, error) {
	scheme, _, ok := Split(uri)
	open := r[scheme]
	if !ok || open == nil {
		return nil, &Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %w", ErrNoAdapter, ErrAddress),
			Hint: "addresses begin with " + strings.Join(r.schemes(), ", ") + "; for example can://can0 or elm:///dev/ttyUSB0"}
	}
	return open(ctx, uri)
}

func (r Registry) schemes() []string {
	var s []string
	for k, open := range r {
		if open != nil {
			s = append(s, k+":")
		}
	}
	slices.Sort(s)
	return s
}

// Split cuts an address at its first colon: "can://can0" gives "can", "//can0", true. No colon gives ok false.
func Split(uri string) (scheme, rest string, ok bool) { return strings.Cut(uri, ":") }
