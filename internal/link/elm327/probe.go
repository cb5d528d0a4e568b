package elm327

import (
	"context"
	"errors"
	"strings"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Probe finds out what the adapter can do: commands by its word, and what matters by effect where a vehicle answers. It
// asks that vehicle for its support maps and, to see a long answer, for its software numbers, of which it keeps nothing.
// It writes no programmable parameter and leaves nothing changed. It takes five seconds at most on a link that works.
// No request may be open; ctx ends it.
func (l *Link) Probe(ctx context.Context) (Record, error) {
	j := &job{stop: make(chan struct{}), ack: make(chan error, 1)}
	var rec Record
	j.task = func() error { return l.probe(j, &rec) }
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return Record{}, l.error("probe", ctx.Err())
	case <-l.done:
		l.net.Raise()
		return Record{}, l.error("probe", l.orClosed(link.ErrGone))
	}
	var err error
	select {
	case err = <-j.ack:
	case <-l.done:
		l.net.Raise()
		err = link.ErrGone
	case <-ctx.Done():
		close(j.stop)
		select {
		case <-j.ack:
		case <-l.done:
			l.net.Raise()
		}
		return Record{}, l.error("probe", ctx.Err())
	}
	if err != nil {
		return Record{}, l.error("probe", l.orClosed(err))
	}
	l.remember(rec)
	return rec, nil
}

func (l *Link) probe(j *job, rec *Record) (err error) {
	a := l.a
	a.stop = j.stop
	defer func() { a.stop, a.lost = nil, true }()
	*rec = Record{Adapter: a.banner, STN: a.stn, Baud: l.baud, Fast: l.Known().Fast, Raised: l.Known().Raised, Can: map[Ability]Answer{}}
	if a.dirty {
		if err := a.resync(); err != nil {
			return err
		}
	}
	if err := l.probeCommands(rec); err != nil {
		return err
	}
	rec.Volts, rec.Trip = a.volts(), a.trip
	a.lost = true
	frames, err := l.serve(&job{frame: frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0), stop: j.stop, ack: make(chan error, 1)})
	if errors.Is(err, link.ErrGone) || errors.Is(err, errStopped) {
		return err
	}
	if errors.Is(err, errRefused) {
		rec.Can[Requests] = No
		return nil
	}
	if len(frames) == 0 {
		return nil // no vehicle, or another bus: the adapter's word is all there is
	}
	return l.probeEffects(j, rec, frames)
}

// knows asks whether commands are taken, all of them. A "?" is asked twice, since noise makes one too.
func (a *adapter) knows(cmds ...string) (Answer, error) {
	for _, c := range cmds {
		st, err := a.at(c)
		switch {
		case errors.Is(err, link.ErrGarbled):
			return No, nil // not answered at all
		case err != nil:
			return Unknown, err
		case !st.has(OK):
			return No, nil
		}
	}
	return Yes, nil
}

// otherCommands do as well where the first are refused.
var otherCommands = map[Ability][]string{Filter: {"ATCF7E8", "ATCM7FF"}, Wide: {"ATSP7", "ATCP18"}}

func (l *Link) probeCommands(rec *Record) error {
	base, err := l.a.knows("ATCAF1", "ATCFC1", "ATM0", "ATR1")
	if err != nil {
		return err
	}
	if err := l.a.exec(l.a.stop, "VTI", limits{quiet: atLimit, total: atLimit}); err != nil && !errors.Is(err, errTimeout) {
		return err
	}
	rec.Gap = base == No || !l.a.rep.status.has(NotUnderstood) && l.a.rep.first() != ""
	missed := false
	for _, v := range versions {
		got, err := l.a.knows(v.command)
		switch {
		case err != nil:
			return err
		case v.kline && rec.canOnly():
			rec.Gap = rec.Gap || got == Yes // it has no pins for it
		case got == No:
			missed = true
		case missed:
			rec.Gap = true
		default:
			rec.Level = v.version
		}
	}
	for _, p := range []struct {
		ability Ability
		cmds    []string
	}{
		{Filter, []string{"ATCRA7E8", "ATAR"}}, {Flow, []string{"ATFCSH7E0", "ATFCSD300000", "ATFCSM1", "ATFCSM0"}},
		{Wide, []string{"ATTP7", "ATCP18"}}, {Extended, []string{"ATCEAF1", "ATCEA"}}, {Timeout, []string{"ATST32"}},
	} {
		got, err := l.a.knows(p.cmds...)
		if err != nil {
			return err
		}
		if rec.Can[p.ability] = got; got == Yes {
			continue
		}
		if other := otherCommands[p.ability]; other != nil {
			if rec.Can[p.ability], err = l.a.knows(other...); err != nil {
				return err
			}
		}
	}
	if l.a.can.stn {
		got, err := l.a.knows("STCSEGR1", "STCSEGR0")
		rec.Can[Segments] = got
		return err
	}
	return nil
}

// probeEffects looks at what commands do, on the bus that was found.
func (l *Link) probeEffects(j *job, rec *Record, first []frame.Frame) error {
	a := l.a
	say := func(text string) (n int, tail time.Duration, err error) {
		err = a.exec(j.stop, text, limits{quiet: 1500 * time.Millisecond, total: 4 * time.Second})
		if errors.Is(err, errTimeout) {
			err = nil
		}
		a.rep.lines(func(line []byte, _ time.Duration) {
			if _, data := Classify(line); len(data) > 0 {
				n++
			}
		})
		return n, a.rep.end - a.rep.last, err
	}
	plain, wait, err := say("0100")
	if err != nil {
		return err
	}
	counted, short, err := say("01001")
	if err != nil {
		return err
	}
	switch {
	case a.rep.status.has(NotUnderstood), counted > 1:
		rec.Can[Count] = No
	case counted == 1 && (plain > 1 || short < wait/2):
		rec.Can[Count] = Yes
	case counted == 1 && wait > 20*time.Millisecond:
		rec.Can[Count] = No
	}
	if a.can.stn {
		n, _, err := say("STPXH:7DF,D:0100,R:1")
		if err != nil {
			return err
		}
		rec.Can[STPX] = No
		if n > 0 {
			rec.Can[STPX] = Yes
		}
	}
	if err := l.probeLong(rec, first, say); err != nil {
		return err
	}
	return l.probeTime(rec, say)
}

// probeLong: a question of seven bytes must draw more than one of two does, where the vehicle says it has more, and an
// answer of several frames must come whole.
func (l *Link) probeLong(rec *Record, first []frame.Frame, say func(string) (int, time.Duration, error)) error {
	more := false
	for _, f := range first {
		b := f.Bytes()
		more = more || len(b) >= 7 && b[1] == 0x41 && b[2] == 0 && b[6]&1 != 0 // 01 20 is supported
	}
	judged := func() outcome {
		x := expectation{kind: can11, seen: new(shapes), accept: accepted(&frame.Frame{ID: 0x7DF}, link.Hint{})}
		return judge(&l.a.rep, x, nil)
	}
	n, _, err := say("0100204060" + "80A0")
	if err != nil {
		return err
	}
	o := judged()
	switch {
	case l.a.rep.status.has(NotUnderstood):
		rec.Can[LongRequest] = No
	case more && n > 0 && len(o.frames) > 0:
		rec.Can[LongRequest] = Yes
		if o.frames[0].Data[0]>>4 == 0 && !o.flow {
			rec.Can[LongRequest] = No
		}
	}
	if _, _, err = say("0904"); err != nil {
		return err
	}
	for _, o := range []outcome{o, judged()} {
		switch {
		case has(o.frames, 2):
			rec.Can[LongAnswer] = Yes
		case has(o.frames, 1) && o.flow && rec.Can[LongAnswer] == Unknown:
			rec.Can[LongAnswer] = No
		}
	}
	return nil
}

// has reports whether a frame of this kind is among frames: 1 begins a long answer, 2 continues it.
func has(frames []frame.Frame, kind byte) bool {
	for i := range frames {
		if frames[i].Data[0]>>4 == kind {
			return true
		}
	}
	return false
}

// probeTime: behind a filter that lets nobody through, a question takes as long as AT ST says, and no longer; and the
// number of the protocol follows the protocol.
func (l *Link) probeTime(rec *Record, say func(string) (int, time.Duration, error)) error {
	a := l.a
	var took [2]time.Duration
	if rec.Can[Filter] == Yes && rec.Can[Timeout] == Yes {
		filter, err := a.knows("ATCRA6FF", "ATAT0")
		if err != nil {
			return err
		}
		for i, st := range []string{"ATST10", "ATST40"} { // 66 and 262 ms
			if filter == No {
				break
			}
			if _, err := a.at(st); err != nil {
				return err
			}
			began := a.now()
			n, _, err := say("0100")
			if err != nil {
				return err
			}
			if took[i] = a.now() - began; n > 0 {
				rec.Can[Filter] = No
			}
		}
		if filter == Yes && rec.Can[Filter] == Yes && took[1]-took[0] < 100*time.Millisecond {
			rec.Can[Timeout] = No
		}
	}
	rec.Can[Number] = Yes
	for _, p := range []string{"6", "8"} {
		if _, err := a.knows("ATTP" + p); err != nil {
			return err
		}
		if _, _, err := say("ATDPN"); err != nil {
			return err
		}
		if !strings.HasSuffix(a.rep.first(), p) {
			rec.Can[Number] = No
		}
	}
	return nil
}
