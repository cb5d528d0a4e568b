// Package elm is an ELM327 in front of a virtual vehicle: the text protocol of the chip, byte for byte, over anything that
// can be read and written. Time is modelled: UART characters, commands, bus and ECU cost what they cost on the real thing,
// and a scale decides how much of it is really waited.
//
// The grammar follows the data sheet ELM327DSJ and recorded sessions of genuine chips and copies.
package elm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/sim"
)

// DefaultScale is the share of the modelled time that is really waited when a simulated car is shown to people: enough to
// see it work, little enough not to bore.
const DefaultScale = 0.02

// Options of an adapter.
type Options struct {
	// Scale is real seconds per modelled second: 0 waits for nothing, 1 is as slow as the real thing.
	Scale float64
	// Ready is called once, with the address clients use, when a server listens.
	Ready func(address string)
	// Faults are what goes wrong; Seed makes their chance, the same for the same number.
	Faults []Fault
	Seed   uint64
}

// Adapter is an ELM327 plugged into one vehicle. Its settings outlive a client, as the chip's do. One client at a time is
// served; Modelled may be called from any goroutine.
type Adapter struct {
	car *sim.Vehicle
	p   Personality
	opt Options

	serving sync.Mutex // held by the one client

	state
	params     params
	open       byte // protocol in use, 0 = none
	found      bool // open was found by a search
	stored     byte // protocol kept in EEPROM
	storedAuto bool
	identity   string       // AT@3
	saved      byte         // SD
	volts      string       // CV
	baud       atomic.Int64 // rate of the UART, bit/s; 0 = there is none
	last       string       // for a bare carriage return
	asleep     bool

	hung   bool          // it has locked up
	down   time.Duration // how long it restarts before it serves again
	faults faulty        // what goes wrong

	learned time.Duration // longest answer time seen, for adaptive timing
	now     atomic.Int64  // modelled time
	debt    time.Duration // real time still to be waited
}

// New plugs an adapter into v.
func New(v *sim.Vehicle, p Personality, o Options) *Adapter {
	a := &Adapter{car: v, p: p.withDefaults(), opt: o, params: newParams(), storedAuto: true, faults: newFaulty(o.Faults, o.Seed)}
	a.baud.Store(int64(a.p.Baud))
	a.state = a.defaults()
	return a
}

// Modelled is the time that has passed for adapter and vehicle.
func (a *Adapter) Modelled() time.Duration { return time.Duration(a.now.Load()) }

// Baud is the rate in bit/s at which the adapter speaks and listens just now, 0 = it has no UART. Who carries its bytes spoils
// those that the other end sends or reads at another one.
func (a *Adapter) Baud() int { return int(a.baud.Load()) }

// errDone ends a session whose client is gone or whose context has ended.
var errDone = errors.New("session over")

// session is one client.
type session struct {
	*Adapter
	ctx context.Context
	in  <-chan []byte
	buf []byte // received, not yet looked at
	out bytes.Buffer
	w   io.Writer
	err error // why nothing can be written any more
}

// Serve talks to one client until it hangs up or ctx ends, and closes rw. It returns nil in both cases. A second client
// waits for the first.
func (a *Adapter) Serve(ctx context.Context, rw io.ReadWriteCloser) error {
	a.serving.Lock()
	defer a.serving.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = rw.Close() })
	in := make(chan []byte, 64)
	var net crash.Net
	var wg sync.WaitGroup
	wg.Go(func() {
		defer net.Catch()
		read(ctx, rw, in)
	})
	defer func() {
		cancel()
		if stop() {
			_ = rw.Close()
		}
		wg.Wait()
		net.Raise()
	}()
	if a.faults.gone {
		return nil
	}
	s := &session{Adapter: a, ctx: ctx, in: in, w: rw}
	s.rest(a.down)
	a.down = 0
	for {
		line, err := s.line()
		if err != nil {
			return nil
		}
		if s.hung || s.mutedNow() {
			continue
		}
		s.command(line)
		if s.flush(); s.err != nil {
			return nil
		}
	}
}

// read passes on what the client sends until it is gone.
func read(ctx context.Context, r io.Reader, in chan<- []byte) {
	defer close(in)
	buf := make([]byte, 512)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			select {
			case in <- bytes.Clone(buf[:n]):
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// unfinished is how long the chip waits for the rest of a line before it answers ? (ELM327DSJ p. 9).
const unfinished = 20 * time.Second

// line reads one command, echoing as it comes. Spaces and control characters do not count.
func (s *session) line() (string, error) {
	var line []byte
	long := false
	for {
		b, timedOut, err := s.next(len(line) > 0)
		if err != nil {
			return "", err
		}
		if timedOut {
			return "?", nil
		}
		if s.asleep {
			s.asleep = false
			s.banner("")
			continue
		}
		s.pay(1)
		if b == '\r' {
			if s.echo {
				s.eol()
			}
			if long {
				return "?", nil
			}
			return string(line), nil
		}
		if b == 0 || b == '\n' {
			continue
		}
		if s.echo {
			s.out.WriteByte(b)
			s.flush()
		}
		switch {
		case b <= ' ':
		case len(line) >= s.p.LineChars:
			long = true
		case b >= 'a' && b <= 'z':
			line = append(line, b-'a'+'A')
		default:
			line = append(line, b)
		}
	}
}

// next is the next received byte; with timed it gives up after the time of an unfinished line.
func (s *session) next(timed bool) (b byte, timedOut bool, err error) {
	for len(s.buf) == 0 {
		s.flush()
		var late <-chan time.Time
		if timed {
			t := time.NewTimer(unfinished)
			defer t.Stop()
			late = t.C
		}
		start := time.Now()
		var chunk []byte
		ok := true
		select {
		case chunk, ok = <-s.in:
		case <-late:
			timedOut = true
		case <-s.ctx.Done():
			ok = false
		}
		if s.opt.Scale > 0 {
			s.now.Add(int64(time.Since(start))) // the client's own time passes for the vehicle too
		}
		switch {
		case !ok:
			return 0, false, errDone
		case timedOut:
			return 0, true, nil
		}
		s.buf = s.faults.hear(chunk)
	}
	b, s.buf = s.buf[0], s.buf[1:]
	return b, false, nil
}

// pending takes one received byte without waiting.
func (s *session) pending() bool {
	for {
		if len(s.buf) == 0 {
			select {
			case chunk, ok := <-s.in:
				if !ok {
					return true
				}
				s.buf = chunk
			default:
				return false
			}
		}
		b := s.buf[0]
		s.buf = s.buf[1:]
		if b != '\n' || s.p.Quirks.LFAborts {
			return true
		}
	}
}

// sleepGrain is the shortest real wait worth asking the system for.
const sleepGrain = time.Millisecond

// busy lets modelled time pass while the chip works; any character of the client ends it early and is swallowed.
func (s *session) busy(d time.Duration) (aborted bool) {
	if d > 0 {
		s.now.Add(int64(d))
		s.debt += time.Duration(float64(d) * s.opt.Scale)
	}
	if s.ctx.Err() != nil {
		return true
	}
	if s.pending() {
		s.rest(s.p.Latency) // to the chip and back again, like every command
		return true
	}
	if s.debt < sleepGrain {
		return false
	}
	s.flush()
	t := time.NewTimer(s.debt)
	defer t.Stop()
	s.debt = 0
	for {
		select {
		case <-t.C:
			return false
		case <-s.ctx.Done():
			return true
		case chunk, ok := <-s.in:
			if !ok {
				return true
			}
			s.buf = append(s.buf, chunk...)
			if s.pending() {
				s.rest(s.p.Latency)
				return true
			}
		}
	}
}

// rest lets modelled time pass without listening to the client; what it sends meanwhile is kept.
func (s *session) rest(d time.Duration) {
	s.now.Add(int64(d))
	s.debt += time.Duration(float64(d) * s.opt.Scale)
	if s.debt < sleepGrain {
		return
	}
	s.flush()
	t := time.NewTimer(s.debt)
	defer t.Stop()
	s.debt = 0
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// charTime is ten bits on the UART.
func (a *Adapter) charTime() time.Duration {
	if a.Baud() == 0 {
		return 0
	}
	return 10 * time.Second / time.Duration(a.Baud())
}

// pay accounts for characters on the UART.
func (s *session) pay(chars int) {
	d := time.Duration(chars) * s.charTime()
	s.now.Add(int64(d))
	s.debt += time.Duration(float64(d) * s.opt.Scale)
}

func (s *session) print(text string) {
	s.out.WriteString(text)
	s.pay(len(text))
}

func (s *session) eol() {
	if s.linefeed {
		s.print("\r\n")
		return
	}
	s.print("\r")
}

// say prints one line.
func (s *session) say(text string) {
	s.print(text)
	s.eol()
}

func (s *session) prompt() {
	s.eol()
	s.print(">")
}

func (s *session) flush() {
	if s.out.Len() == 0 || s.faults.held {
		return
	}
	if s.hung || s.mutedNow() {
		s.out.Reset()
		return
	}
	for _, piece := range s.faults.spoil(s.out.Bytes()) {
		if s.err == nil && len(piece) > 0 {
			_, s.err = s.w.Write(piece)
		}
	}
	s.out.Reset()
}

// banner is what the chip prints after a reset.
func (s *session) banner(noise string) {
	s.print(noise)
	s.eol()
	s.eol()
	s.say(s.p.Banner)
	s.prompt()
}
