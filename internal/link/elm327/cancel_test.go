package elm327_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"obdgate/internal/link/elm327"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// steps calls at for each write to and each read from a port.
type steps struct {
	io.ReadWriteCloser
	at func()
}

// tunedSteps can be tuned, which is a step as well.
type tunedSteps struct {
	steps
	tune func(int) error
}

func (s *tunedSteps) Tune(baud int) error {
	err := s.tune(baud)
	s.at()
	return err
}

func stepping(p io.ReadWriteCloser, at func()) io.ReadWriteCloser {
	if w, ok := p.(wired); ok {
		return &tunedSteps{steps{p, at}, w.Tune}
	}
	return &steps{p, at}
}

func (s *steps) Write(b []byte) (int, error) {
	n, err := s.ReadWriteCloser.Write(b)
	s.at()
	return n, err
}

func (s *steps) Read(b []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(b)
	if n > 0 {
		s.at()
	}
	return n, err
}

// TestStoppedAtEveryStep stops opening and reading behind every write and every read, and looks at what the next program
// finds: a prompt, and the settings of an adapter that nobody has touched.
func TestStoppedAtEveryStep(t *testing.T) {
	for _, c := range []cell{
		{adapter: "genuine-2.2", car: "testdata/toy.yaml", baud: 115200, known: true},
		{adapter: "stn1110", car: "testdata/toy.yaml", baud: 115200, known: true},
		{adapter: "genuine-2.2", car: "testdata/toy.yaml", baud: 38400, known: true}, // goes up to 500000, and has to come back
		{adapter: "stn1110", car: "testdata/toy.yaml", baud: 38400, known: true},
	} {
		highest := 0
		for n, more := int64(1), true; more; n++ {
			r := &result{}
			c.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), rates []int) {
				stopped, stop := context.WithCancel(ctx)
				defer stop()
				var seen atomic.Int64
				counting := func(baud int) (io.ReadWriteCloser, error) {
					p, err := dial(baud)
					return stepping(p, func() {
						if seen.Add(1) == n {
							stop()
						}
					}), err
				}
				o := options(t)
				began := time.Now()
				var at atomic.Int64
				context.AfterFunc(stopped, func() { at.Store(int64(time.Since(began))) })
				l, err := elm327.OpenOver(stopped, counting, rates...)
				if err == nil {
					_, err = scan.Run(stopped, l, o)
					require.NoError(t, l.Close())
				}
				if more = stopped.Err() != nil; !more {
					require.NoError(t, err)
				}
				if more {
					assert.Less(t, time.Since(began)-time.Duration(at.Load()), 4*time.Second, "step %d: it took long to stop", n)
				}
				port, err := dial(rates[0])
				require.NoError(t, err)
				assert.True(t, untouched(t, port), "%s at %d, step %d of the session: the next program finds another adapter than after power-up", c.adapter, c.baud, n)
				require.NoError(t, port.Close())
			})
			assert.True(t, alike(c.baud, r.left), "%s at %d, step %d of the session: the adapter is left at %d", c.adapter, c.baud, n, r.left)
			highest = max(highest, r.fastest)
		}
		require.Equal(t, c.baud < 115200, highest > c.baud, "%s at %d", c.adapter, c.baud)
	}
}

// untouched reports whether an adapter answers as it does after power-up: with echo and spaces, without headers.
func untouched(t *testing.T, port io.ReadWriteCloser) bool {
	say := func(text string) string {
		_, err := port.Write([]byte(text + "\r"))
		require.NoError(t, err)
		var all []byte
		end := time.Now().Add(5 * time.Second)
		for buf := make([]byte, 4096); !bytes.HasSuffix(all, []byte(">")) && time.Now().Before(end); {
			n, err := port.Read(buf)
			require.NoError(t, err)
			all = append(all, bytes.ReplaceAll(buf[:n], []byte{0}, nil)...)
		}
		return string(all)
	}
	id, answer := say("ATI"), say("0100")
	return strings.HasPrefix(id, "ATI\r") && strings.HasSuffix(id, "\r\r>") && strings.HasPrefix(answer, "0100\r") &&
		strings.Contains(answer, "\r41 00 ") && !strings.Contains(answer, "7E8")
}
