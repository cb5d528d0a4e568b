// Package elm327 is the link through an ELM327, one of its many copies, or an STN chip, on a serial port or TCP.
//
// The adapter works at frame level: headers on, so that every line shows identifier, PCI and data and frames can be
// rebuilt from it. It makes the PCI of requests and answers first frames itself, listens only after a request, and ends
// its window with a prompt.
//
// Layers, each usable and tested by itself: Splitter (bytes to lines), Classify, ParseCAN and ParseLegacy (lines to
// statuses and frames), reply and judge (lines to an outcome), plan (settings to commands): all without I/O; adapter
// (one command, one reply, bounded), Link (one Send, one window).
package elm327

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Link is an open adapter.
//
// Bounds: a silent adapter is noticed within two seconds; a request, with the search for its protocol, ends within 22 s
// whatever the adapter keeps sending (normally within its own timeout, 50 to 1000 ms, and 0.7 s), the search for a K-line
// or J1850 bus within 32 s; a link that dropped is opened again within eight seconds and the request put once more, in the
// same time; Open within 14 s; Close within four, normally at once.
type Link struct {
	addr    address
	options Options
	baud    int
	dial    opener

	// Of the worker's goroutine.
	a       *adapter
	proto   protocol
	frames  []frame.Frame
	seen    shapes
	earlier map[earlier]votes // replies before the line was caught, see noise.go

	pace     pace
	last     uint32   // identifier of the request before
	fast     int      // the rate it was raised to, 0 = never; baud is the one it was found at
	raised   bool     // raising has been tried, or is known to be no use
	reopened int      // how often the link was lost and came back
	ecus     []uint32 // that have answered on the standard 11-bit identifiers

	jobs chan *job
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the worker has ended

	mu      sync.Mutex
	hint    link.Hint
	current *job          // the window that is open
	open    bool          // current has not ended yet
	queue   []frame.Frame // what it has heard
	tail    error         // told behind the queue, once
	fatal   error         // told for good
	wake    chan struct{} // holds a token when the above changed
	now     link.Caps
	record  Record
	once    sync.Once
	net     crash.Net // under the worker: who waits for it is told when it fell
}

// Open opens the adapter at uri: elm:///dev/ttyUSB0?baud=115200, elm:COM5 (baud omitted = found) or
// elm+tcp://host:port. It resets the adapter and prepares it, but does not touch the vehicle. It takes 12 s at most;
// ctx ends it. Errors are *link.Error with advice; they wrap link.ErrNoAdapter, and where the system knows more
// fs.ErrNotExist or fs.ErrPermission.
func Open(ctx context.Context, uri string) (link.Link, error) { return open(ctx, uri, Options{}) }

func open(ctx context.Context, uri string, o Options) (link.Link, error) {
	addr, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	dial := func(_ context.Context, baud int) (port, error) { return openPort(addr.port, baud) }
	bauds := rates
	switch {
	case addr.host != "":
		dial = func(ctx context.Context, _ int) (port, error) { return openTCP(ctx, addr.host) }
		bauds = []int{0}
	case addr.baud != 0:
		bauds = []int{addr.baud}
	}
	old := o.recall()[addr.place()]
	if old.Baud > 0 && len(bauds) > 1 {
		bauds = append([]int{old.Baud}, slices.DeleteFunc(slices.Clone(bauds), func(b int) bool { return b == old.Baud })...)
	}
	l, err := start(ctx, addr, dial, bauds, o, old)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func start(ctx context.Context, addr address, open opener, bauds []int, o Options, old Record) (*Link, error) {
	within, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	began := time.Now()
	a, err := find(within, open, bauds, old, began)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &link.Error{Op: "open", URI: addr.uri, Err: ctx.Err()}
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errSilent
		}
		if hint := advice(err); hint != "" {
			return nil, &link.Error{Op: "open", URI: addr.uri, Err: noAdapter(err), Hint: hint}
		}
		return nil, openError(addr.uri, err)
	}
	l := &Link{addr: addr, options: o, baud: a.baud, dial: open, a: a, proto: noProtocol, jobs: make(chan *job), stop: make(chan struct{}),
		done: make(chan struct{}), wake: make(chan struct{}, 1)}
	l.now = link.Caps{Adapter: a.name(), HalfDuplex: true, FlowControl: true, SingleFrameOnly: true, LegacyBus: true}
	if home := old.home(bauds); old.Raised > 0 && a.baud == old.Raised && home != a.baud { // taken back at the end, as the session before could not
		l.baud, l.fast, l.raised = home, a.baud, true
	}
	l.recognise(old)
	go l.work()
	return l, nil
}

// work is the goroutine that talks to the adapter.
func (l *Link) work() {
	defer close(l.done)
	defer l.net.Catch()
	defer func() { _ = l.a.pump.close() }()
	idle := l.a.pump.rx
	for {
		select {
		case j := <-l.jobs:
			if err := l.failed(); err != nil {
				l.finish(j, nil, err)
				continue
			}
			if j.task != nil {
				j.ack <- j.task()
				continue
			}
			var frames []frame.Frame
			err := l.raise()
			if err == nil {
				frames, err = l.serve(j)
			}
			if errors.Is(err, link.ErrGone) {
				if err = l.reopen(j, err); err == nil {
					frames, err = l.serve(j)
				}
			}
			l.finish(j, frames, err)
			idle = l.a.pump.rx
		case b, ok := <-idle:
			if !ok {
				idle = nil // the next question opens it again
				continue
			}
			l.a.unasked(b)
		case <-l.stop:
			if l.failed() == nil && l.lower() == nil {
				l.a.restore()
			}
			return
		}
	}
}

// finish ends a window.
func (l *Link) finish(j *job, frames []frame.Frame, err error) {
	if errors.Is(err, link.ErrGone) {
		l.fail(err)
	}
	told := j.acknowledge(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != j {
		return
	}
	l.open = false
	l.queue = append(l.queue[:0], frames...)
	for i := range l.queue {
		l.queue[i].Seq = 0
	}
	if !told && !errors.Is(err, errStopped) {
		l.tail = err
	}
	l.signal()
}

func (l *Link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = err
	}
	l.open = false
	l.signal()
}

func (l *Link) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// signal is called with mu held.
func (l *Link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Link) error(op string, err error) error {
	return &link.Error{Op: op, URI: l.addr.uri, Err: err, Hint: advice(err)}
}

// SetHint tells what the next Send will draw.
func (l *Link) SetHint(h link.Hint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hint = h
}

// Send puts a request of one single frame on the bus and opens its window; an answer still running to the Send before
// is broken off. On the first Send of a kind the adapter looks for its protocol (see package link). Flow control frames
// are taken silently: the adapter has sent its own.
func (l *Link) Send(ctx context.Context, f frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return l.error("send", err)
	}
	if err := f.Validate(); err != nil {
		return l.error("send", err)
	}
	if f.Flags&(frame.Remote|frame.FD|frame.Error) != 0 {
		return l.error("send", link.ErrUnsupported)
	}
	l.mu.Lock()
	if isFlowControl(&f, l.hint.Ext != nil) {
		l.mu.Unlock()
		return nil
	}
	j := &job{frame: f, hint: l.hint, stop: make(chan struct{}), ack: make(chan error, 1)}
	l.hint = link.Hint{}
	if l.current != nil && l.open {
		close(l.current.stop)
	}
	l.current, l.open, l.queue, l.tail = j, true, l.queue[:0], nil
	fatal := l.fatal
	l.mu.Unlock()
	if fatal != nil {
		l.abandon(j)
		return l.error("send", l.orClosed(fatal))
	}
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		l.abandon(j)
		return l.error("send", ctx.Err())
	case <-l.done:
		l.net.Raise()
		return l.error("send", l.orClosed(link.ErrGone))
	case <-l.stop:
		return l.error("send", link.ErrClosed)
	}
	select {
	case err := <-j.ack:
		if err != nil {
			l.abandon(j)
			return l.error("send", l.orClosed(err))
		}
		return nil
	case <-l.done:
		l.net.Raise()
		return l.error("send", l.orClosed(link.ErrGone))
	case <-ctx.Done():
		l.abandon(j)
		return l.error("send", ctx.Err())
	case <-l.stop:
		return l.error("send", link.ErrClosed)
	}
}

// abandon ends the window of a job whose Send failed.
func (l *Link) abandon(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == j && l.open {
		l.open = false
		close(j.stop)
	}
}

// orClosed: after Close every fault is Close's.
func (l *Link) orClosed(err error) error {
	select {
	case <-l.stop:
		return link.ErrClosed
	default:
		return err
	}
}

// Recv yields the frames of the window, then what was wrong with it, then link.ErrQuiet.
func (l *Link) Recv(ctx context.Context) (frame.Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return frame.Frame{}, l.error("receive", err)
		}
		f, ok, err := l.next()
		if err != nil {
			return frame.Frame{}, l.error("receive", err)
		}
		if ok {
			return f, nil
		}
		select {
		case <-l.wake:
		case <-l.stop:
		case <-l.done:
			l.net.Raise()
		case <-ctx.Done():
		}
	}
}

func (l *Link) next() (frame.Frame, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.orClosed(nil); err != nil {
		return frame.Frame{}, false, err
	}
	switch {
	case l.open:
		return frame.Frame{}, false, nil
	case len(l.queue) > 0:
		f := l.queue[0]
		l.queue = l.queue[1:]
		return f, true, nil
	case l.fatal != nil:
		return frame.Frame{}, false, l.fatal
	case l.tail != nil:
		err := l.tail
		l.tail = nil
		return frame.Frame{}, false, err
	}
	return frame.Frame{}, false, link.ErrQuiet
}

// Caps tells the adapter's name and, once found, the protocol.
func (l *Link) Caps() link.Caps { return l.caps() }

func (l *Link) caps() link.Caps {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// setProtocol is the worker's.
func (l *Link) setProtocol(p protocol, old bool) {
	l.proto = p
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Protocol, l.now.Legacy, l.now.IDBits = p.String(), old, 0
	switch {
	case p == noProtocol || old:
	case p.kind() == can11:
		l.now.IDBits = 11
	case p.kind() == can29:
		l.now.IDBits = 29
	}
}

func (l *Link) setName(protocol string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Protocol = protocol
}

// Close breaks off what runs, gives the adapter back its defaults and its rate, and leaves it at its prompt.
func (l *Link) Close() error {
	l.once.Do(func() {
		l.mu.Lock()
		if l.current != nil && l.open {
			l.open = false
			close(l.current.stop)
		}
		close(l.stop)
		l.mu.Unlock()
	})
	<-l.done
	return nil
}

var (
	_ link.Link   = (*Link)(nil)
	_ link.Hinter = (*Link)(nil)
)
