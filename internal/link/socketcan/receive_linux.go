package socketcan

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"obdgate/internal/frame"

	"golang.org/x/sys/unix"
)

// Recv returns the next frame. A grave report of the controller (bus off, nobody acknowledges, wrong bit rate) is a
// *BusError, wrapping link.ErrBus; a frame no bus could carry is link.ErrGarbled. Both may be followed by good frames.
// An interface that is down or removed is link.ErrGone for good.
func (l *Link) Recv(ctx context.Context) (frame.Frame, error) {
	var f frame.Frame
	err := l.next(ctx, &f)
	if err != nil {
		return frame.Frame{}, err
	}
	return f, nil
}

// RecvBatch waits for a frame like Recv and takes with it those that have come already, up to len(into). What Recv would
// return as an error ends a batch and is returned by the next call. It is for listeners that come rarely on a busy bus: a
// batch costs one wake-up, and no look at an empty socket for each frame.
func (l *Link) RecvBatch(ctx context.Context, into []frame.Frame) (n int, err error) {
	if err := l.pending; err != nil {
		l.pending = nil
		return 0, err
	}
	if len(into) == 0 {
		return 0, nil
	}
	if err := l.next(ctx, &into[0]); err != nil {
		return 0, err
	}
	for n = 1; n < len(into); n++ {
		if l.raw.Read(l.readMore) != nil || errors.Is(l.inErr, unix.EAGAIN) {
			break // the next call meets what is wrong, if anything is
		}
		switch ok, err := l.taken(&into[n]); {
		case err != nil:
			l.pending = err
			return n, nil
		case !ok:
			n--
		}
	}
	return n, nil
}

// next waits for the next frame.
func (l *Link) next(ctx context.Context, f *frame.Frame) error {
	if err := l.usable(ctx, "receive"); err != nil {
		return err
	}
	l.watch(ctx)
	for {
		err := l.raw.Read(l.readOnce)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// This context's end, an interface gone, or a late wake-up for an earlier context. Clear first, then look: what
			// happens after the look sets the deadline again.
			if err := l.file.SetReadDeadline(time.Time{}); err != nil {
				return l.broken("receive", err)
			}
			if err := l.usable(ctx, "receive"); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return l.broken("receive", err)
		}
		if ok, err := l.taken(f); ok || err != nil {
			return err
		}
	}
}

// taken makes a frame of the structure just read, or the error that Recv returns for it; neither when it is a report that
// nobody needs to act on.
func (l *Link) taken(f *frame.Frame) (bool, error) {
	if l.inErr != nil {
		return false, l.broken("receive", l.inErr)
	}
	at := l.arrival()
	if err := decode(l.in[:l.inLen], f); err != nil {
		l.damaged.Add(1)
		return false, l.failed("receive", err, "")
	}
	f.Time = at
	if !f.Is(frame.Error) || l.frames {
		if f.Is(frame.Error) {
			l.reports.Add(1)
		}
		l.received.Add(1)
		return true, nil
	}
	l.reports.Add(1)
	if e := report(f); e.Fault&grave != 0 {
		return false, l.failed("receive", e, e.hint(l.name, l.about.Bitrate))
	}
	return false, nil
}

// watch arranges that the end of ctx interrupts a waiting read. The arrangement is kept while callers come with the same
// context, so that a busy reader pays nothing per frame.
func (l *Link) watch(ctx context.Context) {
	done := ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	if done == l.watched || l.closed {
		return
	}
	if l.unwatch != nil {
		l.unwatch()
		l.unwatch = nil
	}
	l.watched = done
	if done != nil {
		l.unwatch = context.AfterFunc(ctx, l.wake)
	}
}

// interrupt wakes a waiting read. On a closed file it does nothing, and nothing is needed then.
func (l *Link) interrupt() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) }

// read takes one structure off the socket; false makes the runtime wait until there is one.
//
// syscall.Recvmsg instead of the one in x/sys/unix, which looks up the socket's protocol and allocates the sender's
// address for every frame. This one does not know CAN addresses: it fills the buffers, then reports EAFNOSUPPORT.
func (l *Link) read(fd uintptr) bool {
	for {
		n, ctl, flags, _, err := syscall.Recvmsg(int(fd), l.in[:], l.control[:], 0)
		if n > 0 && err == syscall.EAFNOSUPPORT {
			err = nil
		}
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			l.inErr, l.fresh = err, 0 // the next one comes at another time
			return false
		case err == nil && flags&unix.MSG_TRUNC != 0:
			n = len(l.in)
		}
		l.inLen, l.ctlLen, l.inErr = max(n, 0), max(ctl, 0), err
		return true
	}
}

// more takes one structure off the socket, or leaves EAGAIN.
func (l *Link) more(fd uintptr) bool {
	l.read(fd)
	return true
}

// clockFor is how many frames that lay in the socket together are timed by one look at the clock.
const clockFor = 64

// arrival reads the control messages of the structure just taken: the time stamps, as time since Open, and the count of
// frames lost before it. Times never run backwards, also when somebody sets the machine's clock.
func (l *Link) arrival() time.Duration {
	if l.fresh == 0 {
		l.now, l.fresh = time.Now(), clockFor
	}
	l.fresh--
	now := l.now
	at := now.Sub(l.opened)
	var controller time.Duration
	for rest := l.control[:l.ctlLen]; len(rest) >= unix.SizeofCmsghdr; {
		head, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		rest = next
		switch {
		case head.Level != unix.SOL_SOCKET:
		case head.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			// A running total that wraps; the first frame after a loss carries it.
			total := binary.NativeEndian.Uint32(data)
			l.lost.Add(uint64(total - l.overflows))
			l.overflows = total
		case head.Type == unix.SCM_TIMESTAMPING || head.Type == unix.SCM_TIMESTAMPNS:
			var stamp time.Time
			stamp, controller = stamps(data)
			// The kernel's stamp is wall clock; its age carries over to the clock frames are timed by. It is negative for a
			// frame that came while others were read.
			if age := now.Sub(stamp); !stamp.IsZero() && age > -clockSlack {
				at -= age
			}
		}
	}
	at = max(at, 0)
	if controller > 0 {
		l.stamped.Add(1)
		at = l.clock.at(controller, at)
	}
	l.last = max(l.last, at)
	return l.last
}

// clockSlack: a stamp further ahead is of a clock that somebody set.
const clockSlack = 100 * time.Millisecond

// stamps reads the content of SCM_TIMESTAMPNS, the kernel's stamp, or of SCM_TIMESTAMPING: the kernel's, one that is
// history, the controller's (linux/errqueue.h, struct scm_timestamping). A stamp that is not there is zero.
func stamps(data []byte) (kernel time.Time, controller time.Duration) {
	const word = 2 * wordSize
	if sec, nsec := timespec(data); sec|nsec != 0 {
		kernel = time.Unix(sec, nsec)
	}
	if len(data) >= 3*word {
		sec, nsec := timespec(data[2*word:])
		controller = time.Duration(sec)*time.Second + time.Duration(nsec)
	}
	return kernel, controller
}

// wordSize is the machine's, in bytes; struct timespec is two of them.
const wordSize = 4 << (^uintptr(0) >> 63)

func timespec(b []byte) (sec, nsec int64) {
	switch {
	case wordSize == 8 && len(b) >= 16:
		return int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
	case wordSize == 4 && len(b) >= 8:
		return int64(int32(binary.NativeEndian.Uint32(b))), int64(int32(binary.NativeEndian.Uint32(b[4:])))
	}
	return 0, 0
}
