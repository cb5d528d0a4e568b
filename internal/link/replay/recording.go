package replay

import (
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// question is what makes two requests the same: where to, what kind, and the bytes that count. Padding does not.
type question struct {
	id    uint32
	flags frame.Flags
	data  string
}

// draw is one recorded sending of a question and what the vehicle said to it.
type draw struct {
	request frame.Frame
	service byte // first payload byte of a single or first frame, 0 where there is none
	answers []frame.Frame
}

// recording is a log cut into questions and what they drew.
type recording struct {
	draws    map[question][]*draw
	requests int
	frames   uint64
	loose    uint64              // frames of the vehicle before the first question
	bits     int                 // 11 or 29 where every question has that, else 0
	legacy   bool                // every question is K-line or J1850
	old      bool                // some question is
	fd       bool                // some question is a CAN FD frame
	flow     map[address]address // by ECU that sent a first frame: where the tester's flow control went
}

// address is an identifier as it stands on the bus.
type address struct {
	id       uint32
	extended bool
}

func addressOf(f *frame.Frame) address { return address{f.ID, f.Is(frame.Extended)} }

// cutter makes a recording from frames in order.
type cutter struct {
	recording
	hinted bool     // the log marks what the tester sent
	first  *address // who sent the first frame last
	keys   keyer
	order  []*draw          // in recorded order
	talks  map[uint32]*draw // by responder: the draw its last single or first frame belongs to
	begun  map[uint32]byte  // by tester identifier: service of the request begun last
	has11  bool
	has29  bool
}

// fromTester says whether a frame is the tester's. A log that marks directions (candump -x, our own recordings) is
// believed; else the identifiers of ISO 15765-4 and BMW's 6F1 decide (facts: obd.md 1.1), and for K-line and J1850 the
// source address F1.
func fromTester(f *frame.Frame, hinted bool) bool {
	if hinted && f.Dir != frame.Unknown {
		return f.Dir == frame.Sent
	}
	switch {
	case f.Is(frame.Error):
		return false
	case f.Is(frame.Legacy):
		return f.ID&0xFF == 0xF1
	case f.Is(frame.Extended):
		kind := f.ID & 0x1FFF0000
		return f.ID&0xFF == 0xF1 && (kind == 0x18DA0000 || kind == 0x18DB0000)
	}
	return f.ID == isotp.Functional11 || f.ID >= 0x7E0 && f.ID <= 0x7E7 || f.ID == 0x6F1
}

// pci returns the index of the ISO-TP control byte: 1 behind BMW's address byte, else 0; -1 when there is none.
func pci(f *frame.Frame) int {
	i := 0
	if f.ID == 0x6F1 && !f.Is(frame.Extended) || f.ID&0x700 == 0x600 && !f.Is(frame.Extended) && f.Len > 1 && f.Data[0] == 0xF1 {
		i = 1
	}
	if f.Is(frame.Legacy) || f.Is(frame.Remote) || f.Is(frame.Error) || int(f.Len) <= i {
		return -1
	}
	return i
}

// isFlowControl: its bytes are the tester's own choice, so a client's need not be those of the recording.
func isFlowControl(f *frame.Frame) bool {
	i := pci(f)
	return i >= 0 && f.Data[i]>>4 == 3
}

// service is the first payload byte of a single or first frame (or of a legacy message), else 0.
func service(f *frame.Frame) byte {
	i := pci(f)
	switch {
	case f.Is(frame.Legacy) && f.Len > 0:
		return f.Data[0]
	case i < 0:
		return 0
	}
	switch c := f.Data[i]; {
	case c > 0 && c < 0x10:
		i++
	case c == 0 && f.Is(frame.FD), c>>4 == 1:
		i += 2
	default:
		return 0
	}
	if i < int(f.Len) {
		return f.Data[i]
	}
	return 0
}

// keyer makes questions of a tester's frames. It remembers how much of a long request is still to come, so that padding
// behind the last piece of it does not count.
type keyer struct{ left map[uint32]int }

func (k *keyer) question(f *frame.Frame) question {
	return question{f.ID, f.Flags &^ (frame.BRS | frame.ESI), string(f.Data[:k.significant(f)])}
}

func (k *keyer) significant(f *frame.Frame) int {
	i, n := pci(f), int(f.Len)
	if i < 0 {
		return n
	}
	room := n - i - 1
	switch c := f.Data[i]; {
	case c > 0 && c < 0x10:
		return i + 1 + min(int(c), room)
	case c == 0 && room > 0 && f.Is(frame.FD):
		return i + 2 + min(int(f.Data[i+1]), room-1)
	case c>>4 == 1 && room > 0:
		if k.left == nil {
			k.left = make(map[uint32]int)
		}
		k.left[f.ID] = (int(c&15)<<8 | int(f.Data[i+1])) - (room - 1)
	case c>>4 == 2 && k.left[f.ID] > 0:
		take := min(k.left[f.ID], room)
		k.left[f.ID] -= take
		return i + 1 + take
	}
	return n
}

func (c *cutter) add(f frame.Frame) {
	c.frames++
	if fromTester(&f, c.hinted) {
		c.addQuestion(f)
		return
	}
	if f.Dir = frame.Received; len(c.order) == 0 {
		c.loose++
		return
	}
	if i := pci(&f); i >= 0 && f.Data[i]>>4 == 1 {
		a := addressOf(&f)
		c.first = &a
	}
	d := c.owner(&f)
	d.answers = append(d.answers, f)
}

func (c *cutter) addQuestion(f frame.Frame) {
	if isFlowControl(&f) {
		if c.first != nil {
			if c.flow == nil {
				c.flow = make(map[address]address)
			}
			c.flow[*c.first] = addressOf(&f)
		}
		return
	}
	switch {
	case f.Is(frame.Legacy):
		c.old = true
	case f.Is(frame.Extended):
		c.has29 = true
	default:
		c.has11 = true
	}
	c.fd = c.fd || f.Is(frame.FD)
	if c.draws == nil {
		c.draws, c.talks, c.begun = make(map[question][]*draw), make(map[uint32]*draw), make(map[uint32]byte)
	}
	d := &draw{request: f, service: service(&f)}
	if i := pci(&f); i >= 0 && f.Data[i]>>4 == 2 {
		d.service = c.begun[f.ID] // the last piece of a long request draws its answer
	}
	c.begun[f.ID] = d.service
	q := c.keys.question(&f)
	c.draws[q] = append(c.draws[q], d)
	c.order = append(c.order, d)
	c.requests++
}

// lookBack is how many questions an answer may come after the one that drew it: testers that ask several ECUs at once,
// and answers after "response pending".
const lookBack = 16

// owner finds the question that a frame of the vehicle answers: the latest one that can have drawn it and whose service
// it echoes, else the latest one that can have drawn it, else the latest one.
func (c *cutter) owner(f *frame.Frame) *draw {
	i := pci(f)
	if i >= 0 && f.Data[i]>>4 == 2 { // a piece of a long answer belongs where its beginning belongs
		if d := c.talks[f.ID]; d != nil {
			return d
		}
	}
	asked := service(f)
	if asked == 0x7F {
		asked = negativeService(f)
	} else {
		asked &^= 0x40
	}
	latest := c.order[len(c.order)-1]
	var able *draw
	for n := len(c.order) - 1; n >= 0 && n >= len(c.order)-lookBack; n-- {
		d := c.order[n]
		if !canDraw(&d.request, f) {
			continue
		}
		if d.service == asked && asked != 0 {
			c.talks[f.ID] = d
			return d
		}
		if able == nil {
			able = d
		}
	}
	if able == nil {
		able = latest
	}
	c.talks[f.ID] = able
	return able
}

// negativeService is the service that a negative response (7F, service, code) refuses.
func negativeService(f *frame.Frame) byte {
	i := 0
	if !f.Is(frame.Legacy) {
		i = pci(f) + 1
	}
	if i+1 < int(f.Len) {
		return f.Data[i+1]
	}
	return 0
}

// canDraw says whether the ECU that sent answer hears request, where the standards say so.
func canDraw(request, answer *frame.Frame) bool {
	if request.Is(frame.Legacy) != answer.Is(frame.Legacy) || request.Is(frame.Extended) != answer.Is(frame.Extended) {
		return false
	}
	if request.Is(frame.Legacy) {
		return answer.ID>>8&0xFF == 0xF1 || answer.ID>>8&0xFF == 0x6B
	}
	ext := answer.Is(frame.Extended)
	if a, ok := isotp.OBDResponder(answer.ID, ext); ok {
		return request.ID == a.Tx || !ext && request.ID == isotp.Functional11 || ext && request.ID&0x1FFF00FF == 0x18DB00F1
	}
	if request.ID == 0x6F1 {
		return answer.ID&0x700 == 0x600 && request.Len > 0 && (answer.ID&0xFF == uint32(request.Data[0]) || request.Data[0] >= 0xDF)
	}
	return false
}

func (c *cutter) done() recording {
	r := c.recording
	switch {
	case c.has11 && !c.has29 && !c.old:
		r.bits = 11
	case c.has29 && !c.has11 && !c.old:
		r.bits = 29
	}
	r.legacy = c.old && !c.has11 && !c.has29
	return r
}
