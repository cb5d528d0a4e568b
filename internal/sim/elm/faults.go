package elm

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"obdgate/internal/frame"

	"github.com/goccy/go-yaml"
)

// Fault is something that goes wrong, as data. Several may be at work at once.
type Fault struct {
	Name string `yaml:"name"` // "dropped"
	What string `yaml:"what"` // for people

	// Chances per character sent to the client.
	Drop   float64 `yaml:"drop"`
	Double float64 `yaml:"double"`
	Damage float64 `yaml:"damage"` // bit 4 is flipped
	Flip   float64 `yaml:"flip"`   // one bit of the seven is flipped, whichever: a digit may become another, or a prompt
	NUL    float64 `yaml:"nul"`    // a NUL comes first
	High   float64 `yaml:"high"`   // a byte from 80 on comes first

	Deaf float64 `yaml:"deaf"` // chance per character of the client that it is lost

	PromptLost    float64 `yaml:"prompt_lost"`    // chance per prompt
	PromptDoubled float64 `yaml:"prompt_doubled"` // chance per prompt
	Split         bool    `yaml:"split"`          // output goes out in pieces of one to five characters
	Echo          bool    `yaml:"echo"`           // E0 does nothing
	Chatter       float64 `yaml:"chatter"`        // chance, per command, of a line of the Bluetooth module

	// When faults of requests strike: at the request of number From (0 = the first), then at every Every-th (0 = never
	// again, unless From is 0 as well: then at all of them), at most Times times (0 = without end).
	From  int `yaml:"from"`
	Every int `yaml:"every"`
	Times int `yaml:"times"`

	Instead    string        `yaml:"instead"`    // this status comes in place of the answer
	Reset      bool          `yaml:"reset"`      // and the settings are those after power-up
	Mark       string        `yaml:"mark"`       // the first line is damaged and ends with this mark
	Line       string        `yaml:"line"`       // this line comes behind the answer
	Cut        int           `yaml:"cut"`        // BUFFER FULL after so many characters of the reply
	Late       time.Duration `yaml:"late"`       // the reply is held back so long
	Merge      bool          `yaml:"merge"`      // a second prompt follows the first at once
	Mute       bool          `yaml:"mute"`       // silence, for For
	Babble     bool          `yaml:"babble"`     // hex digits without end, for For
	For        time.Duration `yaml:"for"`        // 0 = for good
	Unplug     bool          `yaml:"unplug"`     // the link closes
	Midline    bool          `yaml:"midline"`    // in the middle of a line
	Back       time.Duration `yaml:"back"`       // and can be opened again after so long; 0 = never
	Stray      bool          `yaml:"stray"`      // a frame of an ECU that was not asked comes first
	Interleave bool          `yaml:"interleave"` // the lines of several ECUs take turns
	Pending    int           `yaml:"pending"`    // so many 7F xx 78 come first
}

//go:embed faults.yaml
var faultFile []byte

var faults = sync.OnceValues(func() ([]Fault, error) {
	var all []Fault
	if err := yaml.UnmarshalWithOptions(faultFile, &all, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("faults.yaml: %w", err)
	}
	return all, nil
})

// FaultNames lists the faults.
func FaultNames() []string {
	var names []string
	all, _ := faults()
	for _, f := range all {
		names = append(names, f.Name)
	}
	return names
}

// Faults returns faults by their names.
func Faults(names ...string) ([]Fault, error) {
	all, err := faults()
	if err != nil {
		return nil, err
	}
	var out []Fault
	for _, n := range names {
		i := slices.IndexFunc(all, func(f Fault) bool { return f.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("fault %q: %w; there are %s", n, ErrUnknown, strings.Join(FaultNames(), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// faulty is what is wrong with one adapter and how far it has come.
type faulty struct {
	list     []Fault
	struck   []int // by fault
	requests int
	rnd      *rand.Rand

	muted time.Duration // silent until then
	gone  bool          // pulled out for good
	held  bool          // output waits
	also  []*Fault      // strike the request under way
}

func newFaulty(list []Fault, seed uint64) faulty {
	return faulty{list: list, struck: make([]int, len(list)), rnd: rand.New(rand.NewPCG(seed, 0x0BD))}
}

// any reports whether a fault passes.
func (f *faulty) any(pass func(*Fault) bool) bool {
	for i := range f.list {
		if pass(&f.list[i]) {
			return true
		}
	}
	return false
}

// next begins a request and returns the faults that strike it.
func (f *faulty) next() (strike []*Fault) {
	f.requests++
	for i := range f.list {
		x := &f.list[i]
		n := f.requests - max(x.From, 1)
		due := n == 0 || n > 0 && (x.Every > 0 && n%x.Every == 0 || x.From == 0 && x.Every == 0)
		if !due || x.Times > 0 && f.struck[i] >= x.Times {
			continue
		}
		f.struck[i]++
		strike = append(strike, x)
	}
	return strike
}

func (f *faulty) chance(p float64) bool { return p > 0 && f.rnd.Float64() < p }

// spoil passes output through the faults of characters and cuts it into the pieces that are written one by one.
func (f *faulty) spoil(b []byte) (pieces [][]byte) {
	if len(f.list) == 0 {
		return [][]byte{b}
	}
	out := make([]byte, 0, len(b)+8)
	split := false
	for _, c := range b {
		lost, doubled := false, false
		for i := range f.list {
			x := &f.list[i]
			split = split || x.Split
			if f.chance(x.NUL) {
				out = append(out, 0)
			}
			if f.chance(x.High) {
				out = append(out, 0x80|byte(f.rnd.IntN(0x80)))
				for out[len(out)-1]&0x3F == '>' { // that would be a prompt with its upper bits damaged
					out[len(out)-1] ^= 1
				}
			}
			if f.chance(x.Damage) && c > ' ' && c != '>' {
				c ^= 0x10
			}
			if f.chance(x.Flip) {
				c ^= 1 << f.rnd.IntN(7)
			}
			lost = lost || f.chance(x.Drop) || c == '>' && f.chance(x.PromptLost)
			doubled = doubled || f.chance(x.Double) || c == '>' && f.chance(x.PromptDoubled)
		}
		if lost {
			continue
		}
		if out = append(out, c); doubled {
			out = append(out, c)
		}
	}
	if !split {
		return [][]byte{out}
	}
	for len(out) > 0 {
		n := min(len(out), 1+f.rnd.IntN(5))
		pieces, out = append(pieces, out[:n]), out[n:]
	}
	return pieces
}

// hear passes what the client sent through the faults of characters.
func (f *faulty) hear(b []byte) []byte {
	if !f.any(func(x *Fault) bool { return x.Deaf > 0 }) {
		return b
	}
	return slices.DeleteFunc(b, func(byte) bool {
		return f.any(func(x *Fault) bool { return f.chance(x.Deaf) })
	})
}

// muted reports whether the adapter says nothing at the moment.
func (s *session) mutedNow() bool { return s.faults.muted != 0 && s.Modelled() < s.faults.muted }

// forGood is longer than any session.
const forGood = 1 << 62

func lasting(now, d time.Duration) time.Duration {
	if d == 0 {
		return forGood
	}
	return now + d
}

// respond puts a request on the bus and prints what comes of it, prompt included. count is of lines or, with replies, of
// whole answers; -1 = not given.
func (s *session) respond(req []byte, count int, replies bool) {
	strike := s.faults.next()
	s.faults.also = strike
	var late time.Duration
	merge := false
	for _, x := range strike {
		switch {
		case x.Mute:
			s.faults.muted = lasting(s.Modelled(), x.For)
			return
		case x.Babble:
			if s.babble(lasting(s.Modelled(), x.For)); s.err != nil {
				return
			}
			s.eol()
			s.prompt()
			return
		case x.Unplug:
			s.unplug(x, req)
			return
		case x.Instead != "":
			s.insteadOf(x)
			return
		}
		late, merge = max(late, x.Late), merge || x.Merge
	}
	if late > 0 {
		s.faults.held = true
	}
	if status := s.ask(req, count, replies); status != "" {
		s.say(status)
	}
	for _, x := range strike {
		if x.Line != "" {
			s.say(x.Line)
		}
	}
	s.prompt()
	if merge {
		s.print(">")
	}
	if late > 0 {
		s.rest(late)
		s.faults.held = false
	}
}

// insteadOf prints a status in place of an answer.
func (s *session) insteadOf(x *Fault) {
	if s.busy(20 * time.Millisecond) {
		s.say("STOPPED")
		s.prompt()
		return
	}
	if x.Reset {
		s.reset(0, true)
		s.eol()
		s.eol()
	}
	s.say(x.Instead)
	s.prompt()
}

// babble prints nonsense until then, whatever the client sends.
func (s *session) babble(until time.Duration) {
	for s.Modelled() < until && s.ctx.Err() == nil && s.err == nil {
		for range 16 {
			s.print(fmt.Sprintf("%X", s.faults.rnd.IntN(16)))
		}
		s.eol()
		s.now.Add(int64(5 * time.Millisecond))
		s.debt += max(monitorGrain, time.Duration(float64(5*time.Millisecond)*s.opt.Scale))
		s.flush()
		s.rest(0)
		for len(s.in) > 0 {
			if _, open := <-s.in; !open {
				s.err = errDone
				return
			}
		}
	}
}

// unplug ends the link, with half a line on the way if the fault says so.
func (s *session) unplug(x *Fault, req []byte) {
	if x.Midline {
		s.faults.held = true
		s.ask(req, -1, false)
		s.out.Truncate(min(s.out.Len(), 7))
		s.faults.held = false
		s.flush()
	}
	s.out.Reset()
	s.reset(0, false)
	s.err, s.down, s.faults.gone = errDone, x.Back, x.Back == 0
}

// strikes returns the first fault of this request that passes.
func (s *session) strikes(pass func(*Fault) bool) *Fault {
	for _, x := range s.faults.also {
		if pass(x) {
			return x
		}
	}
	return nil
}

// stray prints a frame of an ECU that nobody asked, of another service than the question's.
func (x *exchange) stray(req []byte) {
	data := []byte{0x49, 0x00, 0x55, 0x40, 0x00, 0x00}
	if req[0] == 0x09 {
		data = []byte{0x41, 0x0D, 0x37}
	}
	switch {
	case x.bus.kind != "can":
		f := frame.New(0x486B99, frame.Legacy, data...)
		x.emit(x.legacyLine(&f))
		return
	case x.ext != nil:
		return
	}
	f := frame.New(0x7EF, 0, append([]byte{byte(len(data))}, data...)...)
	if x.bus.bits == 29 {
		f = frame.New(0x18DAF1EE, frame.Extended, f.Bytes()...)
	}
	if lines, shown := x.canLines(&f, 0, x.format && x.bus.iso); shown {
		x.emit(lines...)
	}
}

// patience prints 7F xx 78 of the ECU that is about to answer. It reports whether the exchange is over: stopped, or the
// count of lines reached.
func (x *exchange) patience(answer *frame.Frame, sid byte, times int) (over, stopped bool) {
	for range times {
		if x.busy(30 * time.Millisecond) {
			return true, true
		}
		f := *answer
		if f.Is(frame.Legacy) {
			id := f.ID
			if id&0x800000 != 0 { // ISO 14230 has the length in the header; ISO 9141-2 and J1850 have the answer's own
				id = 0x830000 | id&0xFFFF
			}
			f = frame.New(id, frame.Legacy, 0x7F, sid, 0x78)
			x.emit(x.legacyLine(&f))
		} else {
			o := x.pci()
			b := append(slices.Clone(f.Bytes()[:o]), 3, 0x7F, sid, 0x78)
			f = frame.New(f.ID, f.Flags, b...)
			lines, _ := x.canLines(&f, o, x.format && x.bus.iso)
			x.emit(lines...)
		}
		if x.count > 0 && x.heard >= x.count {
			return true, false
		}
	}
	return false, false
}

// takeTurns prints what was kept of several ECUs, one line of each at a time.
func (x *exchange) takeTurns() {
	var ids []uint32
	of := map[uint32][]string{}
	for _, k := range x.kept {
		if _, known := of[k.id]; !known {
			ids = append(ids, k.id)
		}
		of[k.id] = append(of[k.id], k.text)
	}
	for left := true; left; {
		left = false
		for _, id := range ids {
			if l := of[id]; len(l) > 0 {
				x.say(l[0])
				of[id], left = l[1:], true
			}
		}
	}
	x.kept = nil
}

// keptLine waits for its turn.
type keptLine struct {
	id   uint32
	text string
}
