package elm327

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"obdgate/internal/link"
)

// rates are tried in this order when none is given: the factory rates of the chips first.
var rates = []int{38400, 115200, 9600, 500000, 230400, 57600}

// Bounds of Open: with a given rate about two seconds for a silent port, three when the rate is hunted; a link that
// works may take the time of two resets on top.
const (
	openLimit  = 12 * time.Second
	drainQuiet = 20 * time.Millisecond
	drainLimit = 500 * time.Millisecond
	huntFirst  = 300 * time.Millisecond // the first rate: behind a radio, slow to wake, any rate does
	huntLimit  = 150 * time.Millisecond
	tryLimit   = 700 * time.Millisecond
)

var (
	errSilent   = fmt.Errorf("%w: nothing answers", link.ErrNoAdapter)
	errForeign  = fmt.Errorf("%w: something answers, but not as an ELM327 does", link.ErrNoAdapter)
	errNoHeader = fmt.Errorf("%w: this adapter cannot show who answered (AT H1), so its answers cannot be told apart", link.ErrUnsupported)
)

// opener makes a fresh port at a baud rate; 0 where there is none to choose.
type opener func(ctx context.Context, baud int) (port, error)

// find is connect for an adapter of which something is remembered. One whose session ended without taking the rate back (the
// program was killed, the computer lost its power) has kept it for as long as it had power itself.
func find(ctx context.Context, open opener, bauds []int, old Record, start time.Time) (*adapter, error) {
	if old.Raised > 0 && bauds[0] != 0 {
		if a, err := connect(ctx, open, []int{old.Raised, old.home(bauds)}, start); err == nil || ctx.Err() != nil {
			return a, err
		}
	}
	return connect(ctx, open, bauds, start)
}

// home is the rate that the adapter has when nobody raised it: the one that was given, else the one remembered.
func (r *Record) home(bauds []int) int {
	if len(bauds) == 1 || r.Baud == 0 {
		return bauds[0]
	}
	return r.Baud
}

// connect opens the port, finds the rate, and brings the adapter to a known state.
func connect(ctx context.Context, open opener, bauds []int, start time.Time) (*adapter, error) {
	var heard bool
	for i, baud := range bauds {
		p, err := open(ctx, baud)
		if err != nil {
			return nil, err
		}
		a := newAdapter(p, start)
		a.rate(baud)
		limit := huntLimit
		switch {
		case len(bauds) == 1:
			limit = tryLimit
		case i == 0:
			limit = huntFirst
		}
		ok, err := a.hail(ctx, limit, len(bauds) == 1)
		heard = heard || a.rep.any
		if ok && err == nil {
			err = a.initialise(ctx)
			if errors.Is(err, errMute) && !a.typed { // it said something, but to another text than was sent
				a.typed, a.dirty = true, true
				err = a.initialise(ctx)
			}
			if errors.Is(err, link.ErrGone) && ctx.Err() == nil {
				return reconnect(ctx, open, baud, start, a)
			}
			if err == nil {
				return a, nil
			}
		}
		a.leave(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	if heard {
		return nil, errForeign
	}
	return nil, errSilent
}

// reconnect comes back to a link that dropped when the adapter was reset, as cheap radio links do, and this time leaves
// the reset out.
func reconnect(ctx context.Context, open opener, baud int, start time.Time, old *adapter) (*adapter, error) {
	_ = old.pump.close()
	p, err := open(ctx, baud)
	if err != nil {
		return nil, err
	}
	a := newAdapter(p, start)
	a.rate(baud)
	a.can.noReset = true
	ok, err := a.hail(ctx, tryLimit, true)
	if ok && err == nil {
		a.stop = ctx.Done()
		if err = a.defaults(ctx.Done()); err == nil {
			err = a.identify(ctx.Done())
		}
		a.stop = nil
		if err == nil {
			return a, nil
		}
		err = ended(ctx, err)
	}
	a.leave(ctx)
	if err == nil {
		err = errMute
	}
	return nil, err
}

// hail waits for the line to be quiet and asks for the prompt, first with ATI, whose answer is nobody else's and is needed
// anyway; then two nonsense characters, because the first may be lost, and ATE0. A bare CR is never sent: it would repeat
// whatever command came last. patient tries again, with a character first that ends whatever runs.
func (a *adapter) hail(ctx context.Context, limit time.Duration, patient bool) (bool, error) {
	if err := a.drain(ctx); err != nil {
		return false, err
	}
	for try := range 4 {
		if try == 3 { // it said something to what came at once; now as a person would type it
			if !patient || !a.heard {
				break
			}
			a.typed = true
		}
		if try == 1 && !patient && !a.rep.ended() && len(a.rep.ends) == 0 {
			return false, nil // silence, or the noise of another rate
		}
		if try == 1 && patient || try >= 2 {
			a.rep.begin("")
			if err := a.write(" "); err != nil {
				return false, err
			}
			if err := a.listen(ctx.Done(), limits{quiet: limit / 2, total: limit}); err != nil && !errors.Is(err, errTimeout) {
				return false, ended(ctx, err)
			}
		}
		text := "ATI"
		if try == 0 {
			a.rep.begin(text)
		} else {
			text = "\x7F\x7FATE0"
			a.rep.begin("ATE0") // the splitter drops the nonsense from its echo
		}
		if err := a.write(text + "\r"); err != nil {
			return false, err
		}
		err := a.listen(ctx.Done(), limits{quiet: limit, total: 2 * limit})
		if err != nil && !errors.Is(err, errTimeout) {
			return false, ended(ctx, err)
		}
		named := try == 0 && looksLikeBanner(a.rep.first())
		if err == nil && (named || a.rep.status.any(OK, NotUnderstood, Stopped)) {
			a.blankEnd = a.rep.blank()
			a.dirty = try > 0 || a.rep.status.has(OK) // the replies to the tries before, or its own, may come yet
			if named {
				a.banner = a.rep.first()
			}
			return true, nil
		}
	}
	return false, nil
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// drain reads until nothing has come for a moment.
func (a *adapter) drain(ctx context.Context) error {
	end := a.now() + drainLimit
	for a.now() < end {
		a.timer.Reset(drainQuiet)
		select {
		case _, ok := <-a.pump.rx:
			if !ok {
				return a.pump.lost()
			}
		case <-a.timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a.timer.Stop()
	return nil
}

// initialise brings the adapter to its defaults (by command, else by a warm reset, else by a cold one) and sets it up.
func (a *adapter) initialise(ctx context.Context) error {
	stop := ctx.Done()
	a.stop = stop
	defer func() { a.stop = nil }()
	// Defaults without a reset first: it costs one round trip instead of a second, and drops no link.
	err := a.exec(stop, "ATD", limits{quiet: atLimit, total: atLimit})
	if (err == nil || errors.Is(err, errTimeout)) && a.rep.status.has(OK) { // or its prompt alone is lost
		if err = a.begin(stop); err == nil || errors.Is(err, errNoHeader) || errors.Is(err, link.ErrGone) || ctx.Err() != nil {
			return ended(ctx, err)
		}
	}
	if err != nil && !errors.Is(err, errTimeout) && !errors.Is(err, link.ErrGarbled) && !errors.Is(err, errForeign) {
		return ended(ctx, err)
	}
	done := false
	for _, r := range []struct {
		cmd string
		lim time.Duration
	}{{"ATWS", warmLimit}, {"ATZ", coldLimit}} {
		err := a.exec(stop, r.cmd, limits{quiet: r.lim, total: r.lim})
		if err != nil && !errors.Is(err, errTimeout) {
			return ended(ctx, err)
		}
		if err == nil && looksLikeBanner(a.rep.first()) {
			done = true
			break
		}
	}
	if !done {
		if err := a.exec(stop, "ATD", limits{quiet: atLimit, total: atLimit}); err != nil && !errors.Is(err, errTimeout) {
			return ended(ctx, err)
		}
	}
	return ended(ctx, a.begin(stop))
}

// begin sets up an adapter that has its defaults, and asks who it is.
func (a *adapter) begin(stop <-chan struct{}) error {
	a.forget()
	if err := a.setUp(); err != nil {
		return err
	}
	return a.identify(stop)
}

// defaults is the reset for links that drop, or adapters that hang, on a real one.
func (a *adapter) defaults(stop <-chan struct{}) error {
	for _, c := range []struct {
		cmd string
		lim time.Duration
	}{{"ATD", atLimit}, {"ATWS", warmLimit}} {
		err := a.exec(stop, c.cmd, limits{quiet: c.lim, total: c.lim})
		if err != nil && !errors.Is(err, errTimeout) {
			return err
		}
		if err == nil && !a.rep.status.has(NotUnderstood) || a.can.noReset {
			break // some boards know only the reset
		}
	}
	a.forget()
	return a.setUp()
}

// setUp sends what holds for every request: no echo, no line feeds where there are any, no spaces, headers shown, nothing
// stored. That PCI is made by the adapter is the default, which the first answer shows to hold or not, see prepare. PCI stays
// visible in answers because headers are on; requests go without it because single frames then work on every chip and copy,
// whereas raw sending (AT CAF0) leaves flow control to chance on copies.
func (a *adapter) setUp() error {
	for _, c := range []struct {
		cmd  string
		must error
	}{{"ATE0", nil}, {"ATL0", nil}, {"ATS0", nil}, {"ATH1", errNoHeader}, {"ATM0", nil}} {
		if c.cmd == "ATL0" && !a.rep.split.lf {
			continue
		}
		st, err := a.at(c.cmd)
		if err != nil {
			return err
		}
		if st.has(NotUnderstood) && c.must != nil {
			return c.must
		}
	}
	a.have.format = true
	return nil
}

// identify asks for the names. Nothing is decided by them but what to show, and whether ST commands exist.
func (a *adapter) identify(stop <-chan struct{}) error {
	ask := func(cmd string) (string, error) {
		err := a.exec(stop, cmd, limits{quiet: atLimit, total: atLimit})
		if err != nil && !errors.Is(err, errTimeout) {
			return "", err
		}
		if err != nil || a.rep.status.has(NotUnderstood) {
			return "", nil
		}
		return a.rep.first(), nil
	}
	banner := a.banner
	for try := 0; banner == "" && try < 2; try++ {
		var err error
		if banner, err = ask("ATI"); err != nil {
			return err
		}
	}
	if banner == "" {
		return errForeign
	}
	stn, err := ask("STI")
	if err != nil {
		return err
	}
	a.banner = banner
	if strings.HasPrefix(stn, "STN") {
		a.stn, a.can.stn = stn, true
	}
	return nil
}

// name is what people see: the banner, and the STN chip behind it.
func (a *adapter) name() string {
	n := cut(a.banner)
	if a.stn != "" {
		n += " (" + cut(a.stn) + ")"
	}
	return n
}

func cut(s string) string { return s[:min(len(s), 40)] }

// restore leaves the adapter at its prompt with its defaults, for the next program. It takes a second at most where the
// adapter is at its prompt, else as long as resync besides.
func (a *adapter) restore() {
	if a.dirty {
		if a.resync() != nil {
			return
		}
	}
	a.reset()
}

// reset is restore at the prompt.
func (a *adapter) reset() {
	if a.have.proto != noProtocol {
		_ = a.talk(nil, "ATPC", limits{quiet: breakLimit, total: breakLimit})
	}
	if !a.dirty {
		_ = a.talk(nil, "ATD", limits{quiet: breakLimit, total: breakLimit})
	}
}

// leave closes a port whose adapter could not be opened. Where somebody stopped the opening of one that answers, its settings
// are put back first.
func (a *adapter) leave(ctx context.Context) {
	if ctx.Err() != nil && !a.heard { // its answer to what was just written may be on the way
		a.rep.begin("")
		_ = a.listen(nil, limits{quiet: huntLimit, total: huntLimit})
	}
	if ctx.Err() != nil && a.heard {
		if _, err := a.prompt(); err == nil && !a.dirty { // it may be in the middle of something
			a.reset()
		}
	}
	_ = a.pump.close()
}

// volts asks for the supply voltage, for advice; "" when it is not known.
func (a *adapter) volts() string {
	if err := a.exec(nil, "ATRV", limits{quiet: atLimit, total: atLimit}); err != nil {
		return ""
	}
	v := strings.TrimSuffix(a.rep.first(), "V")
	if len(v) == 0 || len(v) > 5 || strings.Trim(v, "0123456789.") != "" {
		return ""
	}
	return v
}

// slowLine is the rate up to which the characters of STPX cost more than they save.
const slowLine = 19200

func (a *adapter) rate(baud int) {
	a.baud = baud
	a.can.noPX = baud > 0 && baud <= slowLine
}
