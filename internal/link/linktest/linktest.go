// Package linktest is the one conformance suite that every link.Link runs. It checks the obligations written beside the
// interface, through the interface only, against a vehicle that really answers.
package linktest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Fixture is a link with a vehicle behind it. Open is called once per check; everything it starts must end through
// t.Cleanup.
type Fixture struct {
	Link link.Link
	// Ask is a frame that draws exactly Answers, in this order, every time it is sent.
	Ask     frame.Frame
	Answers []frame.Frame
	// Mute is a frame that draws nothing. It may be one that Send refuses with link.ErrUnrecorded.
	Mute frame.Frame
	// Patience is the longest a single wait of this link may take in a check; 0 = 5 s.
	Patience time.Duration
}

// Run runs every check on links made by open.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"an answer arrives whole, in order, valid", answers},
		{"asking again draws the same answers and nothing left over", repeated},
		{"silence ends the window or lasts until the context ends", silence},
		{"a context that has ended stops Send and Recv, and the link still works", ended},
		{"a context that ends stops a waiting Recv, and the link still works", waiting},
		{"an abandoned answer is not taken for the next one", abandoned},
		{"a frame no bus can carry is refused", invalid},
		{"Close ends a waiting Recv from another goroutine", closing},
		{"Close may be called twice and by several", closedTwice},
		{"after Close every call says so", closed},
		{"Caps may be asked at any time", caps},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // registered first, so it runs after the fixture's own
			fx := open(t)
			require.NotNil(t, fx.Link, "the fixture has no link")
			require.NotEmpty(t, fx.Answers, "the fixture has no answers: nothing would be checked")
			s := &suite{Fixture: fx}
			if s.Patience == 0 {
				s.Patience = 5 * time.Second
			}
			t.Cleanup(func() { require.NoError(t, fx.Link.Close()) })
			c.run(t, s)
			s.noPayload(t)
		})
	}
}

type suite struct {
	Fixture
	mu   sync.Mutex
	errs []error
}

// note keeps an error for noPayload.
func (s *suite) note(err error) error {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
	return err
}

func (s *suite) send(ctx context.Context, f frame.Frame) error { return s.note(s.Link.Send(ctx, f)) }

func (s *suite) recv(ctx context.Context) (frame.Frame, error) {
	f, err := s.Link.Recv(ctx)
	return f, s.note(err)
}

func (s *suite) quietEnds() bool {
	c := s.Link.Caps()
	return c.HalfDuplex || c.Instant
}

// ask sends Ask, expects Answers and, where the link ends its windows, ErrQuiet.
func (s *suite) ask(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	defer cancel()
	require.NoError(t, s.send(ctx, s.Ask))
	last := time.Duration(0)
	for i, want := range s.Answers {
		got, err := s.recv(ctx)
		require.NoError(t, err, "answer %d of %d", i+1, len(s.Answers))
		require.NoError(t, got.Validate())
		require.Equal(t, want.IDString(), got.IDString(), "answer %d", i+1)
		require.Equal(t, want.Flags, got.Flags, "answer %d", i+1)
		require.Equal(t, want.Bytes(), got.Bytes(), "answer %d", i+1)
		require.Equal(t, frame.Received, got.Dir)
		require.Zero(t, got.Seq, "frames are numbered by diag, not by a link")
		require.GreaterOrEqual(t, got.Time, last, "time runs backwards")
		last = got.Time
	}
	if s.quietEnds() {
		for range 2 {
			_, err := s.recv(ctx)
			require.ErrorIs(t, err, link.ErrQuiet)
		}
	}
}

func answers(t *testing.T, s *suite) { s.ask(t) }

func repeated(t *testing.T, s *suite) {
	for range 3 {
		s.ask(t)
	}
}

func (s *suite) mute(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	defer cancel()
	if err := s.send(ctx, s.Mute); err != nil {
		require.ErrorIs(t, err, link.ErrUnrecorded)
	}
}

func silence(t *testing.T, s *suite) {
	s.ask(t)
	s.mute(t)
	wait := 30 * time.Millisecond
	if s.quietEnds() {
		wait = s.Patience
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	_, err := s.recv(ctx)
	if s.quietEnds() {
		require.ErrorIs(t, err, link.ErrQuiet)
	} else {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	s.ask(t)
}

func ended(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.send(ctx, s.Ask), context.Canceled)
	_, err := s.recv(ctx)
	require.ErrorIs(t, err, context.Canceled)
	s.ask(t)
}

func waiting(t *testing.T, s *suite) {
	s.ask(t)
	s.mute(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := s.recv(ctx)
		got <- err
	}()
	runtime.Gosched()
	cancel()
	select {
	case err := <-got:
		if !errors.Is(err, link.ErrQuiet) || !s.quietEnds() {
			require.ErrorIs(t, err, context.Canceled)
		}
	case <-time.After(s.Patience):
		t.Fatal("Recv did not come back after its context ended")
	}
	s.ask(t)
}

// abandoned: only a link that ends its windows can promise this; a bus delivers what is on it.
func abandoned(t *testing.T, s *suite) {
	if !s.quietEnds() {
		return
	}
	s.ask(t)
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	defer cancel()
	require.NoError(t, s.send(ctx, s.Ask))
	s.mute(t)
	_, err := s.recv(ctx)
	require.ErrorIs(t, err, link.ErrQuiet, "an answer to the abandoned question was delivered")
	s.ask(t)
}

func invalid(t *testing.T, s *suite) {
	for _, f := range []frame.Frame{{ID: 0x800}, {ID: 0x7DF, Len: 9}, {ID: 1 << 30, Flags: frame.Extended}, {ID: 0x7DF, Len: 65}} {
		require.ErrorIs(t, s.send(t.Context(), f), frame.ErrInvalid)
	}
	s.ask(t)
}

func closing(t *testing.T, s *suite) {
	s.ask(t)
	got := make(chan error, 1)
	go func() {
		for {
			_, err := s.recv(t.Context())
			if err != nil && !errors.Is(err, link.ErrQuiet) {
				got <- err
				return
			}
			runtime.Gosched()
		}
	}()
	runtime.Gosched()
	require.NoError(t, s.note(s.Link.Close()))
	select {
	case err := <-got:
		require.ErrorIs(t, err, link.ErrClosed)
	case <-time.After(s.Patience):
		t.Fatal("Recv did not come back after Close")
	}
}

func closedTwice(t *testing.T, s *suite) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _ = s.note(s.Link.Close()) })
	}
	wg.Wait()
	require.NoError(t, s.note(s.Link.Close()))
	require.Empty(t, s.errs)
}

func closed(t *testing.T, s *suite) {
	require.NoError(t, s.note(s.Link.Close()))
	require.ErrorIs(t, s.send(t.Context(), s.Ask), link.ErrClosed)
	_, err := s.recv(t.Context())
	require.ErrorIs(t, err, link.ErrClosed)
}

func caps(t *testing.T, s *suite) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Link.Caps()
				runtime.Gosched()
			}
		}
	})
	s.ask(t)
	require.NotEmpty(t, s.Link.Caps().Adapter, "an adapter has a name")
	require.NoError(t, s.note(s.Link.Close()))
	_ = s.Link.Caps()
	close(stop)
	wg.Wait()
}

// noPayload looks for three bytes in a row of any question or answer in every error seen.
func (s *suite) noPayload(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.errs {
		text := strings.ToLower(fmt.Sprintf("%v %+v", err, err))
		squeezed := strings.NewReplacer(" ", "", "0x", "", ",", "", "#", "", ".", "").Replace(text)
		for _, f := range append([]frame.Frame{s.Ask, s.Mute}, s.Answers...) {
			for i := 0; i+3 <= int(f.Len); i++ {
				if part := f.Data[i : i+3]; part[0]|part[1]|part[2] != 0 {
					require.NotContains(t, squeezed, hex.EncodeToString(part), "payload in an error")
				}
			}
		}
	}
}
