package decode

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"obdgate/internal/isotp"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// Record is one recorded question with everything that came back.
type Record struct {
	Request  string `json:"request"`  // hexadecimal, spaces and an identifier in front are allowed; empty = not recorded
	Response Lines  `json:"response"` // lines in order of arrival
}

// Lines is a list of lines; in JSON it may be one string with line breaks.
type Lines []string

// UnmarshalJSON accepts a string, a list of strings, or null.
func (l *Lines) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*l = nil
		if one != "" {
			*l = Lines{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return err
	}
	*l = many
	return nil
}

// Words makes a Record of command line words: the request, then the answer's lines. Lines that the shell has cut into
// bytes are put together again: a word of three or eight digits begins a line, words of two digits go on with it.
func Words(request string, response []string) Record {
	r := Record{Request: request}
	cut := false
	for _, w := range response {
		cut = cut || len(w) == 2
	}
	for _, w := range response {
		if n := len(r.Response); cut && n > 0 && len(w) <= 2 {
			r.Response[n-1] += " " + w
			continue
		}
		r.Response = append(r.Response, w)
	}
	return r
}

// Result is a Record understood.
type Result struct {
	Request []byte   // from the service byte on; nil when not recorded
	ECUs    []ECU    // in order of their first line
	Status  []string // what the adapter said instead of an answer: "NO DATA"
	Ignored int      // lines that are no answer: prompts, echoes, the tester's own frames, words
	Damaged int      // lines that were an answer and cannot be read
	Err     error    // the request is no hexadecimal text; or nobody answered (ErrNoAnswer)
}

// ECU is what one control unit answered. Lines without an identifier are an ECU each, labelled "".
type ECU struct {
	Label    string // "7E8", "18DAF110"; K-line: the source address, "10"
	Source   Source
	Payload  []byte // the message that was decoded, service byte first; nil when none arrived whole
	Readings []reading.Reading
	Negative *obd.Negative // a refusal; 78 when the ECU asked for patience and said nothing more
	Err      error         // why there are no readings, or fewer; readings may stand beside it
}

// Errors of a recording.
var (
	ErrRequest    = errors.New("the request is not hexadecimal text: write it like 0917 or 22 F1 90")
	ErrNoAnswer   = errors.New("no answer in the recording")
	ErrUnfinished = errors.New("answer not finished")
	ErrConflict   = errors.New("the ECU gave two different answers")
	ErrInterleave = errors.New("parts of several answers without identifiers cannot be told apart: switch headers on")
	ErrChecksum   = errors.New("a checksum does not fit: the bytes were changed after they were received, or damaged")
	ErrDamaged    = errors.New("the answer cannot be read: damaged line")
)

// Read understands a recording: per ECU the frames are put together (ISO 15765-2, extended addressing, K-line and
// J1850 messages, an ELM327's numbered parts), copies and "response pending" are dropped, what is left is decoded.
func Read(rec Record) Result {
	var res Result
	req, from, err := question(rec.Request)
	if err != nil {
		res.Err = err
		return res
	}
	res.Request = req
	g := gatherer{req: req, from: from}
	for _, text := range rec.Response {
		text = strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(text) // as some write line breaks down
		for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
			for _, frame := range apart(stamped(one), req) {
				g.line(understand(frame, req, g.running()), &res)
			}
		}
	}
	g.close()
	answered := false
	var others []ECU // in what they said nothing answers the question
	for _, p := range g.peers {
		e, ok := p.ecu(req)
		if !ok {
			continue
		}
		if p.stray && e.Err != p.err { // the answer is whole; a line that belongs to another is not
			res.Damaged++
		}
		if errors.Is(e.Err, obd.ErrMismatch) || e.Payload == nil && !p.answering(req) {
			others = append(others, e)
			continue
		}
		answered = answered || len(e.Payload) > 0
		res.ECUs = append(res.ECUs, e)
	}
	if answered { // what another tester was told, an answer to the question before, broadcast: nothing of this exchange
		res.Ignored += len(others)
	} else {
		res.ECUs = append(res.ECUs, others...)
	}
	if len(res.ECUs) == 0 {
		res.Err = ErrNoAnswer
		if res.Damaged > 0 {
			res.Err = ErrDamaged
		}
	}
	return res
}

func padding(b []byte) bool {
	for _, c := range b {
		if c != b[0] || c != 0x00 && c != 0x55 && c != 0xAA && c != 0xCC && c != 0xFF {
			return false
		}
	}
	return true
}

// gatherer puts the messages of one recording together.
type gatherer struct {
	req   []byte
	from  uint32 // identifier the question's address is answered on, 0 = not known
	peers []*peer
	parts []*parts // ELM327 messages without headers, in the order they began
	clock time.Duration
	next  int // length announced for the next numbered message
}

// peer is one ECU of the recording.
type peer struct {
	label    string
	src      Source
	ext      bool
	rx       *isotp.Receiver
	frames   [][]byte // as they came, for a message that did not come in order
	messages [][]byte
	err      error
	stray    bool // err is of a single frame of its own
	target   byte // with extended addressing: the address in front of the first frame
	anon     bool
}

type parts struct {
	p         *peer
	want, seq int
	data      []byte
	half      bool
}

// running reports whether a message without identifiers is under way.
func (g *gatherer) running() bool {
	return slices.ContainsFunc(g.peers, func(p *peer) bool { return p.anon && p.rx != nil && p.rx.Running() })
}

func (g *gatherer) line(l line, res *Result) {
	switch l.form {
	case nothing, sent:
		res.Ignored++
	case status:
		res.Status = append(res.Status, l.text)
	case damaged:
		res.Damaged++
		if l.text != "" {
			res.Status = append(res.Status, l.text)
		}
	case length:
		g.next = l.n
	case numbered:
		g.part(l)
	case payload:
		p := g.peer(l, l.name)
		p.messages = append(p.messages, l.data)
	case legacy:
		p := g.peer(l, fmt.Sprintf("%02X", l.id))
		p.src.Legacy = true
		p.messages = append(p.messages, l.data)
		if l.doubt {
			p.fail(ErrChecksum)
		}
	case frame:
		g.frame(l)
	}
}

// peer finds or makes the ECU of a line. A whole message without an identifier is an ECU of its own, unless the one before
// it asked for patience.
func (g *gatherer) peer(l line, label string) *peer {
	if label == "" && l.ids {
		if label = fmt.Sprintf("%03X", l.id); l.wide {
			label = fmt.Sprintf("%08X", l.id)
		}
	}
	for _, p := range g.peers {
		if label != "" && p.label == label {
			if l.ext && p.ext && p.target != l.data[0] { // several ECUs behind one identifier, told apart by their address
				continue
			}
			return p
		}
		if n := len(p.messages); label == "" && p.anon && l.form == payload && n > 0 && pending(p.messages[n-1]) {
			return p
		}
		if label == "" && p.anon && l.form == frame && p.rx != nil {
			return p
		}
	}
	p := &peer{label: label, anon: label == "", ext: l.ext}
	if l.ext {
		p.target = l.data[0]
	}
	switch {
	case l.ids && l.form != legacy:
		p.src.ID = l.id
	case p.anon:
		p.src.ID = g.from
	}
	g.peers = append(g.peers, p)
	return p
}

func pending(m []byte) bool { return len(m) >= 3 && m[0] == 0x7F && m[2] == 0x78 }

func (g *gatherer) frame(l line) {
	p := g.peer(l, "")
	if p.rx == nil {
		cfg := isotp.Config{Ext: l.ext, Passive: true}
		if l.ext {
			cfg.Target = l.data[0]
		}
		r := isotp.NewReceiver(cfg, nil)
		p.rx = &r
	}
	l.ext = l.ext || p.ext && l.data[0] == p.target
	g.clock += time.Millisecond
	p.frames = append(p.frames, l.data)
	e := p.rx.Push(l.data, g.clock)
	if e.Lost || e.Err != nil && !errors.Is(e.Err, isotp.ErrDuplicate) {
		p.stray = p.stray || p.err == nil && !e.Lost && l.single()
		p.fail(e.Err)
	}
	if e.Message != nil {
		p.messages = append(p.messages, append([]byte(nil), e.Message...))
	}
}

// answering reports whether a peer of which nothing whole arrived may have been answering: it has an identifier of ISO
// 15765-4, or one of its frames begins an answer to the question.
func (p *peer) answering(req []byte) bool {
	if id := p.src.ID; len(req) == 0 || id == 0 || id >= 0x7E8 && id <= 0x7EF || id&^0xFF == 0x18DAF100 {
		return true
	}
	return slices.ContainsFunc(p.frames, func(f []byte) bool {
		if p.ext {
			f = f[min(1, len(f)):]
		}
		if len(f) > 2 && f[0]>>4 == 1 {
			f = f[1:]
		}
		return len(f) > 1 && (f[1] == req[0]|0x40 || f[1] == 0x7F)
	})
}

func (p *peer) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// part is one numbered line "1: 41 42 43" of an ELM327 that shows no headers.
func (g *gatherer) part(l line) {
	if l.n == 0 {
		if last := len(g.parts) - 1; last < 0 || g.parts[last].seq > 0 && g.parts[last].seq&0xF != 0 || g.parts[last].done() || g.next > 0 {
			p := &peer{anon: true, src: Source{ID: g.from}}
			g.peers = append(g.peers, p)
			g.parts = append(g.parts, &parts{p: p, want: g.next, seq: 1, data: l.data, half: l.doubt})
			g.next = 0
			return
		}
	}
	var at *parts
	for _, m := range g.parts {
		if m.seq&0xF != l.n || m.done() {
			continue
		}
		if at != nil {
			at.p.fail(ErrInterleave)
			m.p.fail(ErrInterleave)
			return
		}
		at = m
	}
	if at == nil {
		if len(g.parts) > 0 {
			g.parts[len(g.parts)-1].p.fail(isotp.ErrSequence)
		}
		return
	}
	at.data, at.half = append(at.data, l.data...), at.half || l.doubt
	at.seq++
}

func (m *parts) done() bool { return m.want > 0 && len(m.data) >= m.want }

// close ends what is unfinished.
func (g *gatherer) close() {
	for _, m := range g.parts {
		switch {
		case m.p.err != nil:
		case m.want > 0 && len(m.data) < m.want:
			m.p.fail(fmt.Errorf("%w: %d of %d bytes", ErrUnfinished, len(m.data), m.want))
		case m.half && m.want == 0:
			m.p.fail(ErrDamaged)
		case m.want > 0:
			m.p.messages = append(m.p.messages, m.data[:m.want])
		default:
			m.p.messages = append(m.p.messages, m.data)
		}
	}
	for _, p := range g.peers {
		if p.rx != nil && (p.err != nil || p.rx.Running()) && !p.stray {
			if m := reordered(p.frames, p.ext); m != nil { // or copies of its frames behind it
				if p.err = nil; !contains(p.messages, m) {
					p.messages = append(p.messages, m)
				}
				continue
			}
		}
		if p.rx != nil && p.rx.Running() {
			e := p.rx.Tick(g.clock + time.Hour)
			p.stray = p.stray || p.err == nil && len(p.messages) > 0 && !pending(p.messages[len(p.messages)-1])
			p.fail(fmt.Errorf("%w: %d of %d bytes", ErrUnfinished, e.Got, e.Want))
		}
		if p.src.Legacy {
			p.messages = joinLegacy(inOrder(p.messages))
		}
	}
	g.numberedAnonymous()
}

// numberedAnonymous joins K-line answers to service 09 that were recorded without headers: whole messages of seven bytes
// that number themselves 1, 2, 3.
func (g *gatherer) numberedAnonymous() {
	var run []*peer
	for _, p := range g.peers {
		if p.anon && len(p.messages) == 1 && len(p.messages[0]) == 7 && p.messages[0][0] == 0x49 {
			run = append(run, p)
		}
	}
	slices.SortStableFunc(run, func(a, b *peer) int { return cmp.Compare(a.messages[0][2], b.messages[0][2]) })
	for i, p := range run {
		if int(p.messages[0][2]) != i+1 || p.messages[0][1] != run[0].messages[0][1] {
			return
		}
	}
	if len(run) < 2 {
		return
	}
	first := run[0]
	for _, p := range run[1:] {
		first.messages = append(first.messages, p.messages...)
		p.messages = nil
	}
	first.src.Legacy = true
	first.messages = joinLegacy(first.messages)
}

// joinLegacy joins the messages of one ECU as obd.DecodeLegacy wants them. Refusals stay messages of their own.
func joinLegacy(in [][]byte) [][]byte {
	var out [][]byte
	var cur []byte
	for _, m := range in {
		switch {
		case len(m) == 0:
		case m[0] == 0x7F:
			out = append(out, m)
		case cur == nil:
			cur = append([]byte(nil), m...)
		case m[0] == 0x49 && len(m) > 3 && len(cur) > 2 && m[1] == cur[1]:
			cur = append(cur, m[3:]...)
		case m[0] == cur[0] && (m[0] == 0x46 && len(m) > 1 && len(cur) > 1 && m[1] == cur[1] || m[0] == 0x43 || m[0] == 0x47 || m[0] == 0x4A):
			cur = append(cur, m[1:]...)
		default:
			out = append(out, m)
		}
	}
	if cur != nil {
		out = append(out, cur)
	}
	return out
}

// ecu decodes what one peer said. ok is false when it said nothing but the question itself.
func (p *peer) ecu(req []byte) (ECU, bool) {
	e := ECU{Label: p.label, Source: p.src}
	var answers, refusals [][]byte
	for _, m := range p.messages {
		switch {
		case len(m) == 0 || m[0]&0x40 == 0:
		case m[0] == 0x7F:
			refusals = append(refusals, m)
		case !contains(answers, m):
			answers = append(answers, m)
		}
	}
	if len(answers) == 0 && len(refusals) == 0 && p.err == nil {
		return e, false
	}
	if len(answers) == 0 && len(refusals) > 0 {
		last := refusals[len(refusals)-1]
		e.Payload, e.Negative = last, obd.AsNegative(last)
		switch {
		case e.Negative == nil:
			e.Err = obd.ErrShort
		case len(req) > 0 && e.Negative.Service != req[0]:
			e.Negative, e.Err = nil, &obd.Error{Kind: obd.ErrMismatch, Service: req[0], ID: -1}
		}
		return e, true
	}
	matched := 0
	for _, m := range answers {
		got, err := Answer(req, m, p.source(m))
		if errors.Is(err, obd.ErrMismatch) && len(answers) > 1 {
			continue // another tester's
		}
		if matched++; matched > 1 {
			e.Err = ErrConflict
		} else {
			e.Payload, e.Err = m, err
		}
		e.Readings = append(e.Readings, got...)
	}
	if matched == 0 {
		switch {
		case p.err != nil:
			e.Err = p.err
		default:
			e.Err = &obd.Error{Kind: obd.ErrMismatch, Service: first(req), ID: -1}
		}
	} else if p.err != nil && e.Err == nil && !errors.Is(p.err, isotp.ErrUnexpected) && !p.stray {
		e.Err = p.err
	}
	for i := range e.Readings {
		e.Readings[i].ECU = p.label
	}
	return e, true
}

// source is where a message came from. Without headers the length tells a legacy message: of odd length where it lists trouble
// codes, since a list on CAN has a count byte and is even.
func (p *peer) source(m []byte) Source {
	s := p.src
	if p.anon && len(m)%2 == 1 && len(m) > 1 && (m[0] == 0x43 || m[0] == 0x47 || m[0] == 0x4A) {
		s.Legacy = true
	}
	if n := len(m) - 1; p.anon && n > 0 && m[0] == 0x46 && n%6 == 0 && n%9 != 0 { // tests of six bytes, where CAN's have nine
		s.Legacy = true
	}
	return s
}

func first(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func contains(list [][]byte, m []byte) bool {
	for _, x := range list {
		if bytes.Equal(x, m) {
			return true
		}
	}
	return false
}
