package elm327

import (
	"encoding/hex"
	"errors"
	"strings"
)

// Characters on their way to the adapter get lost as well, and what is left of a question may be another one: "0141" without
// its second character is the order to clear the fault memory, "0105" with one bit of its first changed one to restart. Where
// that could happen (the request has no count to put behind it, it is one bit from an order, or characters are known to get lost
// on this way) the echo is switched on and a command gets its carriage return only when what has come back is what was sent. It
// costs a round trip, so a sound line does without.

// echoTries is how often a command is written anew whose echo is another.
const echoTries = 6

// guard brings the echo to what a command needs. An adapter without echo, as some behind a network, is talked to without.
func (a *adapter) guard(on bool) error {
	if on == a.echo || on && a.can.noEcho {
		return nil
	}
	cmd := "ATE0"
	if on {
		cmd = "ATE1"
	}
	st, err := a.at(cmd)
	if err != nil {
		return err
	}
	if st.has(OK) && !a.lost {
		a.echo = on
	}
	a.can.noEcho = a.can.noEcho || on && st.has(NotUnderstood)
	return nil
}

// spell writes cmd without its end until its echo is right, and then its end.
func (a *adapter) spell(stop <-chan struct{}, cmd string) error {
	for try := range echoTries {
		a.typed = a.typed || try == 2
		track := a.rep.track
		a.rep.begin(cmd)
		a.rep.track = track
		if err := a.write(cmd); err != nil {
			return err
		}
		heard, err := a.hears(stop)
		if err != nil {
			return err
		}
		switch {
		case heard:
			return a.write("\r")
		case !a.rep.any:
			a.echo, a.can.noEcho = false, true
			return a.write("\r")
		}
		a.noisy, a.deaf = true, true
		// No command and no hexadecimal digits: it is refused, whatever stands before it.
		a.rep.begin("ZZ")
		if err := a.write("ZZ\r"); err != nil {
			return err
		}
		if err := a.listen(stop, limits{quiet: a.breakWait(), total: 2 * breakLimit}); err != nil && !errors.Is(err, errTimeout) {
			return err
		}
	}
	return errTimeout
}

// hears takes what comes until it is the echo of what was sent, or there is a pause in it.
func (a *adapter) hears(stop <-chan struct{}) (bool, error) {
	end := a.now() + 2*breakLimit
	for {
		due := min(end, a.now()+a.breakWait())
		a.timer.Reset(max(0, due-a.now()))
		select {
		case b, ok := <-a.pump.rx:
			if !ok {
				return false, a.pump.lost()
			}
			a.heard = true
			a.rep.feed(b, a.now())
			if a.rep.echoed() {
				a.timer.Stop()
				return true, nil
			}
		case <-a.timer.C:
			return false, nil
		case <-stop:
			a.timer.Stop()
			return false, errStopped
		}
		if a.now() >= end {
			return false, nil
		}
	}
}

// echoed: the line under way is what was sent, and nothing came before it.
func (r *reply) echoed() bool {
	return len(r.ends) == 0 && !r.split.old && isEcho(r.split.buf[:r.split.n], r.sent)
}

// harmless: no single character of the question can get lost so that an order is left, with a count of answers behind it or
// without. "0142" is not: without its second character it is the order to clear the fault memory, with a count of two; nor is
// "034". Of "01429", "0429" is left, an order of a length that no control unit obeys (SAE J1979).
func harmless(text string) bool {
	var b [16]byte
	for i := range text {
		left := text[:i] + text[i+1:]
		left = left[:len(left)&^1]
		if n := len(left) / 2; n <= len(b) {
			if _, err := hex.Decode(b[:n], []byte(left)); err == nil && obeyed(b[:n]) {
				return false
			}
		}
	}
	return true
}

// turned: one bit of one character of the question changed makes an order of it. "0101" to "0105" and "0181" to "0185" are such. A
// character that is no digit any more is refused, or ignored and thereby lost, see harmless.
func turned(digits string) bool {
	var text [16]byte
	var b [8]byte
	n := copy(text[:], digits) &^ 1
	for i := range n {
		for bit := range 8 {
			was := text[i]
			text[i] ^= 1 << bit
			m, err := hex.Decode(b[:], text[:n])
			text[i] = was
			if err == nil && obeyed(b[:m]) {
				return true
			}
		}
	}
	return false
}

// digitsOf is what of a question goes to the vehicle, with STPX between its D: and the next comma.
func digitsOf(text string) string {
	if _, data, in := strings.Cut(text, "D:"); in {
		text, _, _ = strings.Cut(data, ",")
	}
	return text
}

// obeyed reports whether a control unit may do something on a message of this length: SAE J1979 services 04 (clear) and 08
// (control), ISO 14229-1 services 10, 11, 14, 27, 28, 2E, 2F, 31 and 85, ISO 14230-3 service 14. Other
// lengths are refused, as are sub-functions that the standards do not name.
func obeyed(m []byte) bool {
	if len(m) == 0 {
		return false
	}
	second := byte(0)
	if len(m) > 1 {
		second = m[1] & 0x7F // without "no answer, please"
	}
	switch n := len(m); m[0] {
	case 0x04:
		return n == 1
	case 0x08:
		return n == 7 && m[1] == 1
	case 0x10:
		return n == 2 && second >= 2 && second <= 4
	case 0x11:
		return n == 2 && second >= 1 && second <= 5
	case 0x27, 0x85:
		return n == 2 && second >= 1 && second <= 2
	case 0x28:
		return n == 3 && second <= 3
	case 0x14:
		return n == 3 || n == 4
	case 0x2E:
		return n > 3
	case 0x2F:
		return n > 3 && m[3] <= 3
	case 0x31:
		return n > 3 && second >= 1 && second <= 3
	}
	return false
}
