package socketcan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"golang.org/x/sys/unix"
)

// Link is an open CAN interface. It is full duplex: Send and Recv may run at the same time, but no two of a kind.
type Link struct {
	address
	about   Interface
	file    *os.File // owns the socket; non-blocking, so waits are the runtime's and end with Close or a deadline
	raw     syscall.RawConn
	opened  time.Time
	closing chan struct{} // closed by Close
	gone    atomic.Pointer[link.Error]

	mu      sync.Mutex
	watched <-chan struct{} // Done of the context whose end interrupts Recv
	unwatch func() bool
	wake    func()
	closed  bool

	// Receive side: used by Recv and RecvBatch only.
	readOnce  func(fd uintptr) bool
	readMore  func(fd uintptr) bool
	pending   error            // what ended the batch before
	now       time.Time        // the clock when the frames that lie in the socket were first looked at
	fresh     int              // frames that may still be timed by it
	in        [fdSize + 1]byte // one more, so that a longer structure shows
	control   [128]byte
	inLen     int
	ctlLen    int
	inErr     error
	last      time.Duration
	overflows uint32
	clock     controllerClock

	// Send side: used by Send and SetHint only.
	writeOnce func(fd uintptr) bool
	out       [fdSize]byte
	outLen    int
	outErr    error
	accepted  []unix.CanFilter

	received, sent, lost, damaged, reports, waits, stamped atomic.Uint64
}

var (
	_ link.Link   = (*Link)(nil)
	_ link.Hinter = (*Link)(nil)
)

// Caps tells what the interface can carry. Identifiers are unknown: the vehicle has to be asked.
func (l *Link) Caps() link.Caps {
	adapter := l.name
	if l.about.Bitrate != 0 {
		adapter += ", " + rate(l.about.Bitrate)
	}
	if l.about.ListenOnly {
		adapter += ", listen-only"
	}
	return link.Caps{Adapter: adapter, FD: l.about.FD}
}

// Interface is what was known of the interface at Open.
func (l *Link) Interface() Interface { return l.about }

// Stats returns the counters. It may be called at any time from any goroutine.
func (l *Link) Stats() Stats {
	return Stats{Received: l.received.Load(), Sent: l.sent.Load(), Lost: l.lost.Load(), Damaged: l.damaged.Load(),
		Reports: l.reports.Load(), Waits: l.waits.Load(), Stamped: l.stamped.Load()}
}

// Close ends running calls with link.ErrClosed. It may be called at any time, more than once.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.closing)
	if l.unwatch != nil {
		l.unwatch()
	}
	return l.file.Close()
}

// usable reports why op cannot begin, or nil.
func (l *Link) usable(ctx context.Context, op string) error {
	select {
	case <-l.closing:
		return l.failed(op, link.ErrClosed, "")
	default:
	}
	if gone := l.gone.Load(); gone != nil {
		return l.failed(op, gone.Err, gone.Hint)
	}
	if err := ctx.Err(); err != nil {
		return l.failed(op, err, "")
	}
	return nil
}

// broken turns an error of the socket into what the caller sees. An interface that is down or removed stays gone for
// this link, also if another of that name comes up.
func (l *Link) broken(op string, err error) error {
	select {
	case <-l.closing:
		return l.failed(op, link.ErrClosed, "")
	default:
	}
	why, hint := "", ""
	switch {
	case errors.Is(err, unix.ENETDOWN):
		why, hint = l.name+" was switched off", upCommand(l.name)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		why, hint = l.name+" was removed or renamed", "plug the adapter in again, then: "+upCommand(l.name)
	default:
		return l.failed(op, err, "")
	}
	gone := &link.Error{Err: fmt.Errorf("%w: %s", link.ErrGone, why), Hint: hint}
	if l.gone.CompareAndSwap(nil, gone) {
		// The kernel tells a socket once; if Send heard it, a waiting Recv would not.
		l.interrupt()
	}
	return l.failed(op, gone.Err, hint)
}

// Send gives one frame to the kernel. A full transmit queue is waited for, up to one second; a queue that stays full is
// link.ErrBus: nobody on the bus takes the frames. Sending is not arrival: if nobody acknowledges, Recv reports it.
func (l *Link) Send(ctx context.Context, f frame.Frame) error {
	if err := l.usable(ctx, "send"); err != nil {
		return err
	}
	if err := f.Validate(); err != nil {
		return l.failed("send", fmt.Errorf("%w: %w", link.ErrUnsupported, err), "")
	}
	switch {
	case f.Is(frame.Legacy):
		return l.failed("send", fmt.Errorf("%w: a K-line or J1850 message on CAN", link.ErrUnsupported), "")
	case f.Is(frame.Error):
		return l.failed("send", fmt.Errorf("%w: an error report is not a frame", link.ErrUnsupported), "")
	case f.Is(frame.FD) && !l.about.FD:
		return l.failed("send", fmt.Errorf("%w: CAN FD is switched off on %s", link.ErrUnsupported, l.name), fdCommand(l.name))
	case l.about.ListenOnly:
		return l.failed("send", fmt.Errorf("%w: %s only listens", link.ErrUnsupported, l.name), "sudo ip link set "+l.name+
			" down && sudo ip link set "+l.name+" up type can bitrate 500000 listen-only off")
	}
	l.outLen = encode(l.out[:], &f)
	err := l.put()
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
		err = l.insist(ctx)
	} else if err != nil {
		err = l.broken("send", err)
	}
	if err == nil {
		l.sent.Add(1)
	}
	return err
}

// put tries once.
func (l *Link) put() error {
	if err := l.raw.Write(l.writeOnce); err != nil {
		return err
	}
	return l.outErr
}

func (l *Link) write(fd uintptr) bool {
	for {
		_, l.outErr = unix.Write(int(fd), l.out[:l.outLen])
		if l.outErr != unix.EINTR {
			return true
		}
	}
}

// insist goes on trying while the queue is full. The kernel offers nothing to wait on: a full device queue is ENOBUFS
// whether or not the socket is writable.
func (l *Link) insist(ctx context.Context) error {
	const first, longest = 250 * time.Microsecond, 8 * time.Millisecond
	l.waits.Add(1)
	end := time.NewTimer(sendPatience)
	defer end.Stop()
	pause := first
	retry := time.NewTimer(pause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.failed("send", ctx.Err(), "")
		case <-l.closing:
			return l.failed("send", link.ErrClosed, "")
		case <-end.C:
			return l.failed("send", fmt.Errorf("%w: the transmit queue of %s stays full", link.ErrBus, l.name),
				(&BusError{Fault: NoAck}).hint(l.name, l.about.Bitrate))
		case <-retry.C:
		}
		switch err := l.put(); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN):
			return l.broken("send", err)
		}
		pause = min(2*pause, longest)
		retry.Reset(pause)
	}
}
