package elm327

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// say is what the scripted chip answers: text after a delay. A text without a prompt leaves the chip busy.
type say struct {
	text  string
	after time.Duration
}

// chip is a scripted adapter behind a port: enough of an ELM327 to answer AT commands, and a script for the rest. The
// transcripts in the tests are bytes that genuine chips and copies send.
type chip struct {
	mu     sync.Mutex
	line   []byte
	heard  []string // every complete line, in order
	script func(cmd string, nth int) (say, bool)
	count  map[string]int
	busy   *time.Timer
	echo   bool
	out    chan []byte
	closed chan struct{}
	gone   bool
	opened int
	baud   int           // 0 = any
	rate   int           // the port's
	absent time.Duration // how long the port cannot be opened after an unplugging
	back   time.Time
}

const (
	ok      = "OK\r\r>"
	banner  = "\r\rELM327 v1.4b\r\r>"
	support = "7E8064100BE3EB813\r7E906410098188011\r\r>"
)

func newChip(script func(cmd string, nth int) (say, bool)) *chip {
	return &chip{script: script, count: make(map[string]int), echo: true}
}

// on makes a script from commands and their answers.
func on(answers map[string]string) func(string, int) (say, bool) {
	return func(cmd string, _ int) (say, bool) {
		text, ok := answers[cmd]
		return say{text: text}, ok
	}
}

// open is the opener for connect.
func (c *chip) open(_ context.Context, baud int) (port, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.back) {
		return nil, errIO
	}
	c.opened++
	c.rate, c.gone = baud, false
	c.line = nil
	c.out, c.closed = make(chan []byte, 1024), make(chan struct{})
	return &chipPort{c, c.out, c.closed, new(sync.Once)}, nil
}

type chipPort struct {
	*chip
	in     chan []byte
	closed chan struct{}
	once   *sync.Once
}

func (p *chipPort) Read(b []byte) (int, error) {
	t := time.NewTimer(readSlice)
	defer t.Stop()
	select {
	case d, ok := <-p.in:
		if !ok {
			return 0, io.EOF
		}
		return copy(b, d), nil
	case <-p.closed:
		return 0, io.ErrClosedPipe
	case <-t.C:
		return 0, nil
	}
}

func (p *chipPort) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

var errIO = errors.New("input/output error")

func (p *chipPort) Write(b []byte) (int, error) {
	c := p.chip
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, errIO
	}
	for _, x := range b {
		c.char(x)
	}
	return len(b), nil
}

// unplug is called by a script, with mu held.
func (c *chip) unplug() {
	c.gone = true
	c.back = time.Now().Add(c.absent)
	close(c.out)
}

func (c *chip) send(text string) {
	if !c.gone && text != "" {
		c.out <- []byte(text)
	}
}

func (c *chip) char(x byte) {
	if c.baud != 0 && c.rate != c.baud {
		c.send("\x00\xF3\x80") // framing errors
		return
	}
	if c.busy != nil { // a character while busy breaks off and is swallowed
		if c.busy.Stop() {
			c.busy = nil
			c.send("STOPPED\r\r>")
		}
		return
	}
	if x != '\r' {
		if x > ' ' {
			c.line = append(c.line, x)
		}
		return
	}
	cmd := strings.ToUpper(string(c.line))
	if c.echo {
		c.send(string(c.line) + "\r")
	}
	c.line = nil
	c.heard = append(c.heard, cmd)
	s, known := c.script(cmd, c.count[cmd])
	c.count[cmd]++
	if !known {
		s = say{text: c.builtin(cmd)}
	}
	if s.after == 0 {
		c.send(s.text)
		return
	}
	c.busy = time.AfterFunc(s.after, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy = nil
		c.send(s.text)
	})
}

func (c *chip) builtin(cmd string) string {
	switch {
	case strings.Contains(cmd, "\x7F"):
		return "?\r\r>"
	case cmd == "ATE0":
		c.echo = false
		return ok
	case cmd == "ATD":
		c.echo = true
		return ok
	case cmd == "ATZ", cmd == "ATWS":
		c.echo = true
		return banner
	case cmd == "ATI":
		return "ELM327 v1.4b\r\r>"
	case cmd == "ATRV":
		return "12.6V\r\r>"
	case strings.HasPrefix(cmd, "AT"):
		return ok
	case strings.HasPrefix(cmd, "ST"):
		return "?\r\r>"
	}
	return "NO DATA\r\r>"
}

// said returns the lines heard since the last call.
func (c *chip) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard
	c.heard = nil
	return h
}

// begin opens a Link on the chip. In a bubble everything it waits for costs no time.
func (c *chip) begin(t *testing.T) *Link {
	t.Helper()
	l, err := start(t.Context(), address{uri: "elm:test"}, c.open, []int{38400}, Options{}, Record{})
	require.NoError(t, err)
	c.said()
	return l
}

// heard is what one request draws: frames, and the errors behind them.
func ask(t *testing.T, l link.Link, f frame.Frame) ([]frame.Frame, []error) {
	t.Helper()
	if err := l.Send(t.Context(), f); err != nil {
		return nil, []error{err}
	}
	return drain(t, l)
}

func drain(t *testing.T, l link.Link) (frames []frame.Frame, errs []error) {
	t.Helper()
	for {
		f, err := l.Recv(t.Context())
		switch {
		case errors.Is(err, link.ErrQuiet):
			return frames, errs
		case err != nil:
			errs = append(errs, err)
			if len(errs) > 3 || errors.Is(err, link.ErrGone) {
				return frames, errs
			}
		default:
			frames = append(frames, f)
		}
	}
}

// bubble runs f with stepped time and closes what it opened.
func bubble(t *testing.T, c *chip, f func(t *testing.T, l *Link)) {
	synctest.Test(t, func(t *testing.T) {
		l := c.begin(t)
		defer func() { require.NoError(t, l.Close()) }()
		f(t, l)
	})
}

var (
	askSupport = frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0)
	ask29      = frame.New(0x18DB33F1, 0, 2, 1, 0, 0, 0, 0, 0, 0)
	askLegacy  = frame.New(link.LegacyFunctional, frame.Legacy, 1, 0)
	askVIN     = frame.New(0x7DF, 0, 2, 9, 2, 0, 0, 0, 0, 0)
	askEngine  = frame.New(0x7E0, 0, 2, 1, 0x0C, 0, 0, 0, 0, 0)
)
