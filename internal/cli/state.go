package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"obdgate/internal/store"
	"obdgate/internal/visit"
)

// openStore opens the state directory that --home names, or the user's own.
func (p *program) openStore(ctx context.Context) (*store.Store, error) {
	o := p.state
	o.Now = p.now
	return store.Open(ctx, p.home, o)
}

// withStore runs f with the state open and closes it again; the first error counts.
func (p *program) withStore(ctx context.Context, f func(*store.Store) error) (err error) {
	s, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return f(s)
}

// theVisit is the visit named by --visit, or the only open one.
func theVisit(ctx context.Context, s *store.Store, id string) (visit.Visit, error) {
	if id != "" {
		return getVisit(ctx, s, id)
	}
	open, err := openVisits(ctx, s)
	if err != nil {
		return visit.Visit{}, err
	}
	switch len(open) {
	case 0:
		return visit.Visit{}, fail(exitNoInput, "open one: obdgate visit open", errors.New("no visit is open"))
	case 1:
		return s.Visit(ctx, open[0])
	}
	return visit.Visit{}, usage("name one with --visit: "+strings.Join(open, ", "), fmt.Errorf("%d visits are open", len(open)))
}

func getVisit(ctx context.Context, s *store.Store, id string) (visit.Visit, error) {
	v, err := s.Visit(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return v, fail(exitNoInput, "see: obdgate visit list", err)
	}
	return v, err
}

func openVisits(ctx context.Context, s *store.Store) ([]string, error) {
	all, err := s.ListVisits(ctx)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, v := range all {
		if v.Closed.IsZero() {
			open = append(open, v.ID)
		}
	}
	return open, nil
}

// writeJSON prints one document.
func (p *program) writeJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = p.Out.Write(append(b, '\n'))
	return err
}

// say prints a line for people on stderr.
func (p *program) say(key string, args ...any) { fmt.Fprintln(p.Err, p.words.T(key, args...)) }
