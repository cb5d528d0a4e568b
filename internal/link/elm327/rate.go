package elm327

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/link"
)

// On a wired port most of a scan at 38400 bit/s is characters on their way. Adapters can be told another rate, by a
// handshake that leaves the old one in force unless both ends have read each other at the new (ELM327DSJ p. 51 for AT BRD,
// FRPM 8.3 for STBR; adapter and port are changed, and changed back before the link is closed):
//
//	host: AT BRD hh                      adapter: OK, no prompt; it takes the new rate and waits for the host to do so
//	host takes the new rate              adapter: its id, after 75 ms
//	host: CR, if it has read the id      adapter: OK and prompt; the old rate where no CR comes within 75 ms
//
// Both ways cost some 0.2 s. A scan at 57600 and below wins more than that, one at 115200 about as much (testdata/speed.txt);
// values that are watched for longer come twice as fast at 500000 (testdata/toy.txt).
const (
	raiseBelow  = 115200                 // a rate from which raising pays
	raiseAfter  = 400                    // characters passed: whoever asks one thing gains nothing
	raiseLate   = 30_000                 // characters passed at raiseBelow and above: no scan but a long watching wins its cost back
	shiftWindow = 75 * time.Millisecond  // AT BRT and STBRT after a reset or AT D
	shiftAnswer = 300 * time.Millisecond // for the OK before the wait
	maxDivisor  = 0xFF
	brdClock    = 4_000_000 // rate × divisor of AT BRD
)

// ladder are the rates worth having, the best first. Common USB bridges and tarm/serial know all of them.
var ladder = []int{500000, 230400, 115200}

// cannotRaise is the Fast of an adapter, or a cable, that takes none of the ladder.
const cannotRaise = -1

// tuner is a port on a cable whose rate can be changed while it is open. A radio or a network has no such rate.
type tuner interface {
	port
	// Tune changes the rate for what is sent and received from now on; on an error the old one is still in force.
	Tune(baud int) error
}

var (
	errNoShift  = errors.New("the adapter changes no rate")
	errNotTaken = errors.New("the new rate is not agreed on")
)

// shiftCommand is the command that asks for a rate, and the id that comes at it; "" where the adapter has no way to.
func (a *adapter) shiftCommand(to int) (cmd, id string) {
	if a.can.stn {
		return fmt.Sprintf("STBR%d", to), a.stn
	}
	if d := (brdClock + to/2) / to; d <= maxDivisor {
		return fmt.Sprintf("ATBRD%02X", d), a.banner
	}
	return "", ""
}

// shift takes adapter and port to another rate. errNoShift: it was not even tried; errNotTaken: the old rate is in force again.
// After both, and after success, the adapter is at its prompt. Other errors wrap link.ErrGone. It is not broken off, because half
// of it is worse than all: it takes 0.2 s, with an adapter that does not go along half a second.
func (a *adapter) shift(to int) error {
	line, ok := a.pump.port.(tuner)
	cmd, id := a.shiftCommand(to)
	if !ok || cmd == "" {
		return errNoShift
	}
	if a.dirty {
		if err := a.resync(); err != nil {
			return err
		}
	}
	a.discard()
	from := a.baud
	if err := a.write(cmd + "\r"); err != nil {
		return err
	}
	got, err := a.await(shiftAnswer, func(b []byte) bool { return bytes.Contains(b, []byte("OK\r")) || bytes.IndexByte(b, '>') >= 0 })
	switch {
	case err != nil:
		return err
	case bytes.IndexByte(got, '>') >= 0:
		return errNoShift
	case !bytes.Contains(got, []byte("OK\r")):
		// Its OK may have been lost, and then the old rate is back after both windows.
		return a.settle(line, from, to, 3*shiftWindow)
	}
	began := a.now()
	if line.Tune(to) != nil {
		return a.settle(line, from, to, 3*shiftWindow)
	}
	a.baud = to
	agreed := false
	got, err = a.await(shiftWindow*9/5, func(b []byte) bool { return bytes.Contains(b, []byte(id+"\r")) })
	if err == nil && bytes.Contains(got, []byte(id+"\r")) {
		if err = a.write("\r"); err == nil {
			got, err = a.await(2*shiftWindow, func(b []byte) bool { return bytes.IndexByte(b, '>') >= 0 })
			agreed = bytes.Contains(got, []byte("OK")) && bytes.IndexByte(got, '>') >= 0
		}
	}
	if err != nil {
		return err
	}
	if agreed {
		a.trip, a.tails, a.tail = 0, 0, 0 // measured with the characters of the old rate
		return nil
	}
	return a.settle(line, from, to, 3*shiftWindow-(a.now()-began))
}

// settle waits d for the adapter to go back to its rate and finds its prompt; where there is none it has agreed to the other rate,
// and only its word for that was lost.
func (a *adapter) settle(line tuner, from, to int, d time.Duration) error {
	if err := a.tune(line, from); err != nil {
		return err
	}
	if _, err := a.await(d, func([]byte) bool { return false }); err != nil {
		return err
	}
	a.dirty = true
	err := a.resync()
	switch {
	case err == nil:
		return errNotTaken
	case !errors.Is(err, errMute):
		return err
	}
	if err := a.tune(line, to); err != nil {
		return err
	}
	a.trip, a.tails, a.tail = 0, 0, 0
	return a.resync()
}

func (a *adapter) tune(line tuner, baud int) error {
	if a.baud == baud {
		return nil
	}
	if err := line.Tune(baud); err != nil {
		return fmt.Errorf("%w: %w", link.ErrGone, err)
	}
	a.baud = baud
	return nil
}

// await gathers what comes until enough says so, d at most.
func (a *adapter) await(d time.Duration, enough func([]byte) bool) ([]byte, error) {
	const most = 512 // more than any id; a line that babbles is none
	var got []byte
	end := a.now() + d
	for !enough(got) {
		left := end - a.now()
		if left <= 0 {
			break
		}
		a.timer.Reset(left)
		select {
		case b, ok := <-a.pump.rx:
			if !ok {
				return nil, a.pump.lost()
			}
			for _, c := range b {
				if c != 0 && len(got) < most { // some chips make up NULs, see Splitter
					got = append(got, c)
				}
			}
		case <-a.timer.C:
		}
	}
	a.timer.Stop()
	return got, nil
}

// raise changes to a higher rate when that has begun to pay, once: a vehicle answers on a CAN bus, enough has passed to
// expect more, and the line is sound. What comes of it is remembered, and before it begins that the adapter may be left there:
// a program that is killed takes nothing back. The error is one that ends the link.
func (l *Link) raise() error {
	a := l.a
	if l.raised || a.baud == 0 || a.baud >= ladder[0] || a.passed < raiseAfter || a.baud >= raiseBelow && a.passed < raiseLate || l.proto == noProtocol || l.proto.kind() == legacy {
		return nil
	}
	l.raised = true
	known := l.Known()
	if _, wired := a.pump.port.(tuner); !wired || a.noisy || known.Fast == cannotRaise {
		return nil
	}
	fast := cannotRaise
	for _, to := range ladder {
		if known.Fast > 0 && to > known.Fast || to <= l.baud {
			continue // refused before
		}
		l.fast = to // wherever it ends, it is one of the two
		known.Raised = to
		l.remember(known)
		err := a.shift(to)
		if err == nil {
			var st statusSet
			if st, err = a.at("ATE0"); err == nil && st.has(OK) && !a.noisy {
				fast = to
				break
			}
			if l.lower() != nil {
				return errMute
			}
			continue
		}
		if errors.Is(err, link.ErrGone) {
			return err
		}
		if errors.Is(err, errNoShift) {
			break
		}
	}
	if fast == cannotRaise {
		l.fast, known.Raised = 0, 0
	}
	known.Fast = fast
	l.remember(known)
	return nil
}

// lower takes the rate back to what it was, and the note that it is another.
func (l *Link) lower() error {
	if l.a.baud != l.baud {
		if err := l.takeBack(); err != nil {
			return err
		}
	}
	if known := l.Known(); known.Raised > 0 {
		known.Raised = 0
		l.remember(known)
	}
	return nil
}

// takeBack does so by the handshake, else by a reset, which every adapter answers at its own rate.
func (l *Link) takeBack() error {
	a := l.a
	for range 2 {
		err := a.shift(l.baud)
		if err == nil {
			return nil
		}
		if errors.Is(err, link.ErrGone) {
			return err
		}
		if errors.Is(err, errNoShift) {
			break
		}
	}
	if err := a.write("ATZ\r"); err != nil {
		return err
	}
	line, ok := a.pump.port.(tuner)
	if !ok || line.Tune(l.baud) != nil {
		return errMute
	}
	a.baud, a.lost = l.baud, true
	if _, err := a.await(coldLimit, func(b []byte) bool { return looksLikeBanner(string(b)) && b[len(b)-1] == '>' }); err != nil {
		return err
	}
	a.dirty = true
	return a.resync()
}
