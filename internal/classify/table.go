package classify

import (
	"math/bits"
	"slices"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// decision is what the policy says of a frame, in the form that costs least to carry out.
type decision struct {
	category  uint8 // index in table.categories
	technical bool
	sampled   bool      // holds for every frame like the one it was made of
	personal  uint64    // bytes, beyond the frame's end too
	keep      uint64    // bits of the first eight bytes that may be shown
	same      [2]uint64 // characters of their sixteen hex digits that stay as they were written
	show      [2]uint64 // keep, a nibble for each of the digits
	values    []value   // signals to write, of a frame as long as its message
	text      []byte    // the tag as JSON, up to the values
	tag       policy.Tag
}

// value is a signal with its name as JSON.
type value struct {
	key   []byte
	short [16]byte // key again, if it fits: copied as a whole, whatever its length
	field *dbc.Field
}

// verdict is how the frames of one identifier are decided.
type verdict struct {
	how      how
	length   uint8     // shorter frames are unknown
	number   int       // several: place in worker.known
	fixed    *decision // always
	switches []dbc.Field
	when     []*decision // switched: by value
	message  *dbc.Message
	plan     *dbc.Plan             // JSONL only, as keys
	keys     map[*dbc.Signal]value // all signals, for frames that are worked out one by one
}

type how uint8

const (
	always   how = iota
	switched     // by the value of one signal
	several      // by the values of several
	ask          // the Tagger works it out
	maybe        // part of a conversation if the first byte says so, else as always
	follow       // part of a conversation
)

// table has a verdict for every identifier, taken from the Tagger itself by asking it about sample frames: there is one
// opinion, and this is a copy of it. It is read-only.
type table struct {
	o         *Options
	tg        *policy.Tagger // has seen nothing; nil for a sieve
	std       [frame.MaxStandardID + 1]*verdict
	ext       extended
	unknown   *decision
	unknownAs *verdict
	several   int  // verdicts of that kind
	most      int  // signals of any message
	sieve     bool // lines pass as they are or not at all, whatever is in them: nothing needs to be decided
}

// tester is the first byte of BMW's extended addressing that makes a frame an answer.
const tester = 0xF1

func newTable(o *Options) *table {
	t := &table{o: o, ext: newExtended(o.DB), sieve: o.Sieves()}
	if o.IDs == nil {
		o.IDs = &canlog.IDs{}
	}
	if t.sieve {
		return t
	}
	t.tg = policy.NewTagger(o.Policy, o.DB, policy.WithMakers(o.Makers))
	t.unknown = t.decide(policy.FrameTag{Personal: ^uint64(0)})
	t.unknownAs = &verdict{fixed: t.unknown}
	tg := t.tg
	for id := range uint32(len(t.std)) {
		t.std[id] = t.verdict(tg, id, 0)
	}
	if o.DB != nil {
		for _, m := range o.DB.Messages() {
			t.most = max(t.most, len(m.Signals))
			if m.Extended {
				t.ext.put(m.ID, t.verdict(tg, m.ID, frame.Extended))
			}
		}
	}
	return t
}

// tagger makes one of the Taggers of a run, nil for a sieve: all of them know the same.
func (t *table) tagger() *policy.Tagger {
	if t.sieve {
		return nil
	}
	return t.tg.Fresh()
}

// find returns the verdict on an identifier, nil for a 29-bit one that no database names.
func (t *table) find(id uint32, flags frame.Flags) *verdict {
	if flags&frame.Extended == 0 {
		return t.std[id&frame.MaxStandardID]
	}
	return t.ext.find(id)
}

// extended has the verdicts on 29-bit identifiers, in a hash table that is at most half full. It is small enough for the
// nearest cache, and an identifier is nearly always found at the first look.
type extended struct {
	slots []slot
	shift uint8
}

type slot struct {
	id uint32
	v  *verdict // nil: free
}

func newExtended(db *dbc.Database) extended {
	n := 0
	if db != nil {
		n = len(db.Messages())
	}
	size := bits.Len(uint(n)) + 1
	return extended{make([]slot, 1<<size), uint8(32 - size)}
}

// slot returns the place of an identifier, or the free one where it would be.
func (x *extended) slot(id uint32) *slot {
	for at := id * 0x9E3779B1 >> x.shift; ; at++ { // Knuth's multiplicative hash
		if s := &x.slots[at&uint32(len(x.slots)-1)]; s.v == nil || s.id == id {
			return s
		}
	}
}

func (x *extended) find(id uint32) *verdict   { return x.slot(id).v }
func (x *extended) put(id uint32, v *verdict) { *x.slot(id) = slot{id, v} }

// category returns the index of a category; one nobody knows counts as unclassified.
func (t *table) category(c policy.Category) uint8 {
	for i, k := range categories {
		if k == c {
			return uint8(i)
		}
	}
	return uint8(len(categories) - 1)
}

// categories are those a frame can have, the technical ones first.
var categories = [...]policy.Category{policy.VehicleIdentity, policy.FaultMemory, policy.Condition, policy.LoadProfile, policy.Consumption,
	policy.Software, policy.Service, policy.WorkshopRecord, policy.Protocol, policy.Movement, policy.Location, policy.DriverProfile,
	policy.Infotainment, policy.Occupant, policy.Surroundings, policy.EventRecord, policy.Access, policy.Customer, policy.NoCategory}

// decide turns what the Tagger says of a frame into a decision.
func (t *table) decide(ft policy.FrameTag) *decision {
	d := t.weigh(ft)
	return &d
}

// weigh is decide for whoever may have the same decision already.
func (t *table) weigh(ft policy.FrameTag) decision {
	d := decision{tag: ft.Tag, category: t.category(ft.Tag.Category), technical: ft.Tag.Class == policy.Technical, personal: ft.Personal, sampled: true}
	if t.o.To == JSONL {
		d.text = tagText(nil, &d)
	}
	may := kept(ft)
	d.keep = le.Uint64(may[:8])
	for i := range 8 {
		b, at := d.keep>>(8*i)&0xFF, 16*(i%4)
		d.show[i/4] |= (b>>4 | b&15<<8) << at
		if d.personal>>i&1 == 0 {
			d.same[i/4] |= 0xFFFF << at
		}
	}
	return d
}

// kept returns the bits of the data that may be shown.
func kept(ft policy.FrameTag) [frame.MaxData]byte {
	f := frame.Frame{Len: frame.MaxData}
	for i := range f.Data {
		f.Data[i] = 0xFF
	}
	ft.Mask(&f)
	return f.Data
}

func (t *table) verdict(tg *policy.Tagger, id uint32, flags frame.Flags) *verdict {
	f := frame.Frame{ID: id, Flags: flags, Len: 8}
	how := always
	f.Data[0] = tester
	if _, ok := tg.Alone(&f); !ok {
		how = maybe
	}
	f.Data[0] = 0
	ft, ok := tg.Alone(&f)
	if !ok {
		return &verdict{how: follow}
	}
	var m *dbc.Message
	if t.o.DB != nil {
		m = t.o.DB.Lookup(id, flags != 0)
	}
	if m == nil {
		if how == always {
			return t.unknownAs // nearly all
		}
		return &verdict{how: how, fixed: t.unknown}
	}
	v := &verdict{how: how, message: m, length: uint8(min(m.Length, frame.MaxData))}
	if t.o.To == JSONL {
		v.plan, v.keys = m.Plan(), make(map[*dbc.Signal]value, len(m.Signals))
		for _, s := range m.Signals {
			v.keys[s] = value{key: jsonKey(s.Name)}
		}
	}
	if m.Length > 8 {
		v.fixed = t.unknown // of a classic frame; longer ones are worked out one by one
		v.length = 0
		return v
	}
	by := onlySwitch(m)
	switch {
	case !m.Multiplexed():
		v.fixed = t.sample(ft, v, &f)
	case v.how == maybe:
		v.how = ask
	case by == nil:
		v.how, v.number = several, t.several
		if v.switches = allSwitches(m); v.switches == nil {
			v.how = ask
		} else {
			t.several++
		}
	default:
		v.how, v.switches = switched, []dbc.Field{by.Field()}
		places := bitPlaces(by)
		for n := range 1 << by.Size {
			g := f
			for i, p := range places {
				g.Data[p/8] |= byte(n>>i&1) << (p % 8)
			}
			ft, _ := tg.Alone(&g)
			v.when = append(v.when, t.among(v.when, ft, v, &g))
		}
	}
	return v
}

// among is sample for one of many values of a switch. Most of them choose nothing and are decided alike: what all has is not
// made again.
func (t *table) among(all []*decision, ft policy.FrameTag, v *verdict, f *frame.Frame) *decision {
	if t.o.To == JSONL { // the values to write may differ
		return t.sample(ft, v, f)
	}
	d := t.weigh(ft)
	for _, k := range slices.Backward(all) {
		if k.tag == d.tag && k.category == d.category && k.technical == d.technical && k.personal == d.personal && k.keep == d.keep {
			return k
		}
	}
	made := d
	return &made
}

// sample is the decision on all frames that are like f, with the signals to write.
func (t *table) sample(ft policy.FrameTag, v *verdict, f *frame.Frame) *decision {
	d := t.decide(ft)
	if t.o.To != JSONL {
		return d
	}
	may := kept(ft)
	for _, field := range v.plan.Fields(f, nil) {
		if !t.o.safe() || shown(field.Signal, &may) {
			key := v.keys[field.Signal].key
			if len(d.values) > 0 {
				key = append([]byte{','}, key...)
			}
			x := value{key: key, field: &field}
			copy(x.short[:], key)
			d.values = append(d.values, x)
		}
	}
	return d
}

// shown reports whether every bit of the signal, and of the switches above it, may be shown.
func shown(s *dbc.Signal, may *[frame.MaxData]byte) bool {
	for ; s != nil; s = s.Under {
		first, last := s.Bytes()
		for b := first; b <= last; b++ {
			if s.Bits(b)&^may[b] != 0 {
				return false
			}
		}
	}
	return true
}

// onlySwitch returns the message's switch if it has exactly one of at most eight bits.
func onlySwitch(m *dbc.Message) *dbc.Signal {
	var by *dbc.Signal
	for _, s := range m.Signals {
		switch {
		case s.Under == nil:
		case by != nil && by != s.Under, s.Under.Under != nil, s.Under.Size > 8:
			return nil
		default:
			by = s.Under
		}
	}
	return by
}

// allSwitches returns the message's switches, nil when their values together need more than 64 bits.
func allSwitches(m *dbc.Message) (out []dbc.Field) {
	size := 0
	for _, s := range m.Signals {
		if s.Switch {
			out = append(out, s.Field())
			size += s.Size
		}
	}
	if size > 64 {
		return nil
	}
	return out
}

// bitPlaces returns where each bit of a signal is, the lowest first: byte times eight plus bit.
func bitPlaces(s *dbc.Signal) []int {
	out := make([]int, s.Size)
	first, last := s.Bytes()
	for b := first; b <= last; b++ {
		for k := range 8 {
			if s.Bits(b)>>k&1 == 0 {
				continue
			}
			f := frame.Frame{Len: frame.MaxData}
			f.Data[b] = 1 << k
			raw, _ := s.Raw(&f)
			for i := range out {
				if raw == 1<<i {
					out[i] = b*8 + k
				}
			}
		}
	}
	return out
}
