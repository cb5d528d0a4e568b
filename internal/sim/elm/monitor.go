package elm

import (
	"time"

	"obdgate/internal/frame"
)

// monitorGrain bounds how fast a monitor may run when no modelled time is really waited: one frame per so much real time.
const monitorGrain = time.Millisecond

// monitorCommand is AT MA, MR, MT, MP and DM1: whatever passes on the bus is printed until the client sends a character. MR
// and MT take the second and the third header byte.
func (s *session) monitorCommand(arg string) string {
	p := s.current()
	if p == 0 {
		p = s.p.Search[0]
	}
	b := s.bus(p)
	x := exchange{session: s, bus: b}
	backlog := time.Duration(0) // when the UART will have sent everything
	for {
		due, ok := s.car.Due()
		if !ok || !s.reaches(b) {
			due = s.Modelled() + 100*time.Millisecond
		}
		if s.busy(max(0, due-s.Modelled())) || s.monitorPause() {
			s.say("STOPPED")
			s.prompt()
			return done
		}
		f, ok := s.car.Next(s.Modelled())
		if !ok || !s.reaches(b) || !x.monitored(&f, arg) {
			continue
		}
		before := s.Modelled()
		if b.kind == "can" {
			if lines, shown := s.canLines(&f, s.pci(), false); shown {
				x.emit(lines...)
			}
		} else {
			x.emit(s.legacyLine(&f))
		}
		// Printing overlaps with listening: the UART's time does not hold up the bus, it fills the buffer.
		spent := s.Modelled() - before
		s.now.Add(-int64(spent))
		backlog = max(backlog, before) + spent
		if s.Baud() > 0 && backlog-before > bufferChars*s.charTime() {
			s.say("BUFFER FULL")
			s.prompt()
			return done
		}
	}
}

// monitorPause keeps a monitor on an unscaled clock from running away.
func (s *session) monitorPause() (aborted bool) {
	if s.opt.Scale > 0 {
		return false
	}
	s.debt += monitorGrain
	return s.busy(0)
}

func (x *exchange) monitored(f *frame.Frame, arg string) bool {
	if x.bus.kind == "can" && f.Is(frame.Extended) != (x.bus.bits == 29) {
		return false
	}
	if x.accept != nil && !x.accept.takes(f.ID) {
		return false
	}
	return len(arg) != 2 || byte(f.ID>>8) == byteOf(arg) || byte(f.ID) == byteOf(arg)
}
