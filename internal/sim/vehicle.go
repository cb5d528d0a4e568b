// Package sim holds virtual vehicles: described in YAML, run by a pure engine that is stepped with time passed in. Frames go
// in with Handle, come out with Next; Serve runs a vehicle on any link in real time, Open attaches one in process.
//
// The engine has its own ISO-TP and its own tables: it shares no code with the reader it is there to test.
package sim

import (
	"container/heap"
	"sync"
	"time"

	"obdgate/internal/frame"
)

// Vehicle is a virtual vehicle. Its methods may be called from any goroutine; time passed to them must not go backwards.
type Vehicle struct {
	mu        sync.Mutex
	spec      Spec
	ecus      []*ecu
	broadcast []*periodic
	queued    events
	seq       uint64
	traffic   bool
	log       requestLog
}

// Name is the vehicle's short name, "golf8".
func (v *Vehicle) Name() string { return v.spec.Name }

// Spec is the description the vehicle was made from. It must not be changed.
func (v *Vehicle) Spec() *Spec { return &v.spec }

// Bus says what the OBD connector carries.
func (v *Vehicle) Bus() Bus { return v.spec.Bus }

// Legacy reports whether the bus is a K-line or J1850 (frames then carry frame.Legacy).
func (v *Vehicle) Legacy() bool { return v.spec.Bus.Protocol != "can" }

// event is a frame on its way out. A cancelled one has no frame to send any more.
type event struct {
	at    time.Duration
	seq   uint64
	frame frame.Frame
	from  *ecu
	path  *path
	again *periodic
}

type events []*event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (v *Vehicle) push(e *event) {
	v.seq++
	e.seq = v.seq
	heap.Push(&v.queued, e)
}

func (v *Vehicle) queue(e *ecu, p *path, when time.Duration, f frame.Frame, twice bool) {
	v.push(&event{at: when, frame: f, from: e, path: p})
	if twice {
		v.push(&event{at: when + frameTime, frame: f, from: e, path: p})
	}
}

// cancel drops what a path still wanted to say; a new request ends the old answer.
func (v *Vehicle) cancel(p *path) {
	p.out = sender{}
	v.keep(func(e *event) bool { return e.path == nil || e.path != p })
}

// continues reports whether f carries on a message under way (flow control, consecutive frame) instead of asking anew.
func (v *Vehicle) continues(f *frame.Frame) bool {
	for _, e := range v.ecus {
		for _, p := range e.paths {
			if b, _, ok := p.hears(f); ok && (b[0]>>4 == 2 || b[0]>>4 == 3) {
				return true
			}
		}
	}
	return false
}

// hush drops every answer under way, as a tester that has stopped listening would find it.
func (v *Vehicle) hush() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep(func(e *event) bool { return e.again != nil })
}

// keep drops the queued frames that are not wanted.
func (v *Vehicle) keep(wanted func(*event) bool) {
	kept := v.queued[:0]
	for _, e := range v.queued {
		if wanted(e) {
			kept = append(kept, e)
		}
	}
	clear(v.queued[len(kept):])
	v.queued = kept
	heap.Init(&v.queued)
}

// SetTraffic switches the vehicle's broadcast frames on or off, from now on.
func (v *Vehicle) SetTraffic(on bool, now time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.traffic == on {
		return
	}
	v.traffic = on
	if on {
		for _, b := range v.broadcast {
			v.push(&event{at: now + b.every, frame: b.frame, again: b})
		}
		return
	}
	v.keep(func(e *event) bool { return e.again == nil })
}

// Next returns the next frame due at or before now, with Time set to the moment it was due, and false when there is none.
func (v *Vehicle) Next(now time.Duration) (frame.Frame, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queued) == 0 || v.queued[0].at > now {
		return frame.Frame{}, false
	}
	e := heap.Pop(&v.queued).(*event)
	f := e.frame
	f.Time = e.at
	if e.again != nil {
		// After a long silence of the caller the missed periods are not made up for.
		late := max(0, now-e.at)
		e.at += e.again.every + late/e.again.every*e.again.every
		v.push(e)
	}
	return f, true
}

// Due is the moment of the next frame, and false when the vehicle has nothing to say until it is asked.
func (v *Vehicle) Due() (time.Duration, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queued) == 0 {
		return 0, false
	}
	return v.queued[0].at, true
}

// answering reports when the next frame is due that is not mere traffic.
func (v *Vehicle) answering() (due time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.queued {
		if e.again == nil && (!ok || e.at < due) {
			due, ok = e.at, true
		}
	}
	return due, ok
}

// expecting reports whether an ECU waits for the tester's flow control or next frame, and until when.
func (v *Vehicle) expecting(now time.Duration) (until time.Duration, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.ecus {
		for _, p := range e.paths {
			if p.out.waiting {
				until = max(until, p.out.until)
			}
			if p.in.active {
				until = max(until, p.in.until)
			}
		}
	}
	return until, until > now
}

// Handle is a frame that reaches the vehicle at now. Frames that are for nobody are ignored.
func (v *Vehicle) Handle(f frame.Frame, now time.Duration) {
	if f.Flags&(frame.Remote|frame.Error) != 0 || f.Is(frame.Legacy) != v.Legacy() || f.Validate() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Legacy() {
		v.handleLegacy(&f, now)
		return
	}
	type asked struct {
		e          *ecu
		p          *path
		req        []byte
		functional bool
	}
	var put []asked
	for _, e := range v.ecus {
		for _, p := range e.paths {
			b, functional, ok := p.hears(&f)
			if !ok || e.dead {
				continue
			}
			switch b[0] >> 4 {
			case 0:
				if n := int(b[0]); n > 0 && n < len(b) {
					put = append(put, asked{e, p, b[1 : 1+n], functional})
				}
			case 1:
				if !functional && len(b) > 2 {
					v.cancel(p)
					v.first(e, p, b, now)
				}
			case 2:
				if req := v.consecutive(e, p, b, now); req != nil && !functional {
					put = append(put, asked{e, p, req, false})
				}
			case 3:
				if !functional {
					v.flow(e, p, b, now)
				}
			}
		}
	}
	if len(put) == 0 {
		v.log.unheard(&f, now)
		return
	}
	names := make([]string, len(put))
	for i, a := range put {
		names[i] = a.e.spec.Name
	}
	v.log.add(Request{At: now, ID: f.IDString(), ECUs: names, Bytes: append([]byte(nil), put[0].req...)})
	for _, a := range put {
		if len(a.p.only) > 0 && !matchAny(a.p.only, a.req) {
			continue
		}
		v.cancel(a.p)
		a.p.in = receiver{}
		v.respond(a.e, a.p, a.req, a.functional, now)
	}
}

// hears returns the bytes from the PCI on when a frame is for this path.
func (p *path) hears(f *frame.Frame) (b []byte, functional, ok bool) {
	match := func(a address) bool {
		return f.ID == a.id && f.Is(frame.Extended) == a.extended &&
			(!a.ext || f.Len > 0 && f.Data[0] == a.extByte)
	}
	b = f.Bytes()
	if p.rx.ext && len(b) > 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return nil, false, false
	}
	if match(p.rx) {
		return b, false, true
	}
	for _, a := range p.functional {
		if match(a) {
			return b, true, true
		}
	}
	return nil, false, false
}
