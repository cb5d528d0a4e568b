package sim

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// quietWindow is how long, in the vehicle's time, an unanswered question takes on stepped time (P2 of ISO 15765-4).
const quietWindow = 50 * time.Millisecond

// Open attaches a vehicle in process: sim:golf8, sim:PATH.yaml. Options follow a question mark: traffic=1 switches the
// vehicle's broadcast frames on; clock=real binds answers to the clock, clock=stepped (the default without traffic) lets the
// car's time jump to the next frame, so that no wait costs anything. An unknown vehicle is link.ErrNoAdapter.
func Open(ctx context.Context, uri string) (link.Link, error) {
	l, _, err := OpenVehicle(ctx, uri)
	return l, err
}

// OpenVehicle is Open that also returns the vehicle, whose request log proves what was asked.
func OpenVehicle(ctx context.Context, uri string) (link.Link, *Vehicle, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, &link.Error{Op: "open", URI: uri, Err: err}
	}
	_, rest, _ := link.Split(uri)
	name, query, _ := strings.Cut(rest, "?")
	options, err := parseOptions(query)
	if err != nil {
		return nil, nil, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %w", link.ErrNoAdapter, err),
			Hint: "options are traffic=1 and clock=real or clock=stepped"}
	}
	v, err := Load(name)
	if err != nil {
		hint := "built-in vehicles are " + strings.Join(Names(), ", ")
		if errors.Is(err, ErrVehicle) {
			hint = "correct the vehicle file"
		}
		return nil, nil, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %w", link.ErrNoAdapter, err), Hint: hint}
	}
	return attach(v, uri, options), v, nil
}

type options struct{ traffic, stepped bool }

func parseOptions(query string) (options, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return options{}, errors.New("unreadable options")
	}
	var o options
	clock := ""
	for k, v := range q {
		switch {
		case k == "traffic" && (v[0] == "0" || v[0] == "1"):
			o.traffic = v[0] == "1"
		case k == "clock" && (v[0] == "real" || v[0] == "stepped"):
			clock = v[0]
		default:
			return options{}, fmt.Errorf("unknown option %q", k+"="+v[0])
		}
	}
	o.stepped = clock == "stepped" || clock == "" && !o.traffic
	return o, nil
}

// Attach returns a link to v on the real clock, for callers that already hold a vehicle.
func Attach(v *Vehicle, traffic bool) link.Link {
	return attach(v, "sim:"+v.Name(), options{traffic: traffic})
}

func attach(v *Vehicle, uri string, o options) link.Link {
	l := &carLink{v: v, uri: uri, stepped: o.stepped, opened: time.Now(), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	v.SetTraffic(o.traffic, 0)
	return l
}

// carLink is the wire between a tester and a vehicle in the same process. It has no goroutine.
type carLink struct {
	v       *Vehicle
	uri     string
	stepped bool
	opened  time.Time
	wake    chan struct{} // a frame was sent
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	now  time.Duration // stepped: the vehicle's time
	hear time.Duration // stepped: traffic is heard until then
}

func (l *carLink) fail(op string, err error) error { return &link.Error{Op: op, URI: l.uri, Err: err} }

func (l *carLink) over(ctx context.Context) error {
	select {
	case <-l.closed:
		return link.ErrClosed
	default:
		return ctx.Err()
	}
}

// Send puts a frame on the vehicle's bus. On stepped time a new question ends what is left of the answers to the last one.
func (l *carLink) Send(ctx context.Context, f frame.Frame) error {
	if err := l.over(ctx); err != nil {
		return l.fail("send", err)
	}
	if err := f.Validate(); err != nil {
		return l.fail("send", err)
	}
	if f.Is(frame.Legacy) != l.v.Legacy() {
		return l.fail("send", fmt.Errorf("%w: the vehicle has another kind of bus", link.ErrUnsupported))
	}
	l.mu.Lock()
	if l.stepped {
		if !l.v.continues(&f) {
			l.v.hush()
		}
		l.hear = l.now + quietWindow
	}
	l.v.Handle(f, l.clock())
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// clock is the vehicle's time; l.mu is held.
func (l *carLink) clock() time.Duration {
	if l.stepped {
		return l.now
	}
	return time.Since(l.opened)
}

// Recv returns the next frame of the vehicle.
func (l *carLink) Recv(ctx context.Context) (frame.Frame, error) {
	for {
		if err := l.over(ctx); err != nil {
			return frame.Frame{}, l.fail("receive", err)
		}
		f, wait, err := l.next()
		if err != nil {
			return frame.Frame{}, l.fail("receive", err)
		}
		if wait == 0 {
			f.Dir = frame.Received
			return f, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.wake:
		case <-timer.C:
			l.idled()
		case <-l.closed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// forEver is the wait of a vehicle that has nothing to say until it is asked.
const forEver = time.Hour

// next gives a frame, or how long to wait for one, or link.ErrQuiet.
func (l *carLink) next() (f frame.Frame, wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	due, ok := l.v.Due()
	if !l.stepped {
		if f, ok := l.v.Next(l.clock()); ok {
			return f, 0, nil
		}
		if !ok {
			return f, forEver, nil
		}
		return f, max(due-l.clock(), time.Microsecond), nil
	}
	if _, answers := l.v.answering(); ok && (answers || due <= l.hear) {
		l.now = max(l.now, due)
		if f, ok := l.v.Next(l.now); ok {
			return f, 0, nil
		}
	}
	if until, waits := l.v.expecting(l.now); waits {
		// The vehicle waits for flow control: the tester's time counts, the vehicle's own stands still.
		return f, until - l.now, nil
	}
	l.now = max(l.now, l.hear)
	return f, 0, link.ErrQuiet
}

// idled: the tester let its turn pass; on stepped time the vehicle's timeout has then run out.
func (l *carLink) idled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until, waits := l.v.expecting(l.now); l.stepped && waits {
		l.now = until
	}
}

// Caps tell what bus the vehicle has.
func (l *carLink) Caps() link.Caps {
	b := l.v.Bus()
	return link.Caps{Adapter: "virtual vehicle " + l.v.Name(), Protocol: l.v.ProtocolName(), Legacy: l.v.Legacy(), Instant: l.stepped, IDBits: b.Bits}
}

// Close takes the tester off the bus.
func (l *carLink) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// ProtocolName is the bus protocol as people write it: "ISO 15765-4 CAN 11/500".
func (v *Vehicle) ProtocolName() string {
	b := v.spec.Bus
	switch b.Protocol {
	case "iso9141":
		return "ISO 9141-2"
	case "iso14230-slow":
		return "ISO 14230-4 KWP 5BAUD"
	case "iso14230-fast":
		return "ISO 14230-4 KWP FAST"
	case "j1850-pwm":
		return "SAE J1850 PWM"
	case "j1850-vpw":
		return "SAE J1850 VPW"
	}
	return fmt.Sprintf("ISO 15765-4 CAN %d/%d", b.Bits, b.Rate/1000)
}
