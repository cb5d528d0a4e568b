package elm

import "time"

// state are the settings AT commands change. The zero value is not useful; see defaults.
type state struct {
	echo, linefeed, spaces, headers bool
	format                          bool // CAF
	flow                            bool // CFC
	dlc, variable                   bool // D1, V1
	long                            bool // AL
	wait                            bool // R
	memory                          bool // M
	silent                          bool // CSM
	bypass                          bool // BI
	adaptive                        byte // AT0..2
	timeout                         byte // ST, units of 4.096 ms
	five                            bool // CTM5 or JTM5: units of 20.48 ms

	protocol byte // 1..C, 0 = to be searched
	auto     bool // a search may go on beyond protocol

	header   []byte // SH; nil = the protocol's own
	priority byte   // CP: top five bits of a 29-bit identifier
	accept   *match // CRA, CF/CM, SR, MR: what is received; nil = automatic
	cf, cm   *uint32

	flowMode   byte // FC SM
	flowHeader *uint32
	flowLong   bool // flowHeader has 29 bits
	flowData   []byte

	preset string        // STP as typed
	limit  time.Duration // STPTO; 0 = as ST says
	join   bool          // STCSEGR
	split  bool          // STCSEGT
	gapFC  time.Duration // STCTOR: wait for a flow control
	fixed  bool          // STN: a filter was set, so the automatic ones are off
	anchor uint32        // STN: the header that the flow control filter last followed
	pairs  [][2]partner  // STCFCPA: send, receive
	pass   []match       // STFPA
	block  []match       // STFBA
	flows  []match       // STFFCA
	window time.Duration // STBRT

	ext   *byte // CEA
	reply byte  // CER, TA: address byte answers must carry in extended addressing

	initAddress byte // IIA
	brt         byte // BRD window in units of 5 ms
	userB       [2]byte
	userC       [2]byte
}

// match is a receive filter.
type match struct{ id, mask uint32 }

func (m *match) takes(id uint32) bool { return (id^m.id)&m.mask == 0 }

// defaults are the settings after power-up, as the programmable parameters say (ELM327DSJ p. 27, FRPM 7.3).
func (a *Adapter) defaults() state {
	pp := func(n byte) byte { return a.params.value(n) }
	s := state{
		echo: pp(0x09) == 0 && !a.p.EchoOff, linefeed: a.p.LineFeed, spaces: true, headers: pp(0x01) == 0,
		format: pp(0x24) == 0, flow: pp(0x25) == 0, wait: true, memory: true,
		adaptive: pp(0x04), timeout: pp(0x03), priority: 0x18, reply: 0xF1, initAddress: 0x33, brt: 15,
		userB: [2]byte{pp(0x2C), pp(0x2D)}, userC: [2]byte{pp(0x2E), pp(0x2F)},
	}
	if a.p.STN != "" {
		s.gapFC, s.window = 75*time.Millisecond, 75*time.Millisecond
		if !a.params.on[0x03] {
			s.timeout = stnTimeout
		}
	}
	s.protocol, s.auto = a.stored, a.storedAuto
	return s
}

// params are the programmable parameters: a value, and whether it is in force.
type params struct {
	set [48]byte
	on  [48]bool
}

// factory are the values of the genuine chip (ELM327DSJ, programmable parameter summary).
var factory = [48]byte{
	0xFF, 0xFF, 0xFF, 0x32, 0x01, 0xFF, 0xF1, 0x09, 0xFF, 0x00, 0x0A, 0xFF, 0x68, 0x0D, 0x9A, 0xFF,
	0x0D, 0x00, 0x00, 0x32, 0xFF, 0x0A, 0xFF, 0x92, 0x00, 0x28, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
	0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0x38, 0x02, 0xE0, 0x04, 0x80, 0x0A,
}

func newParams() params { return params{set: factory} }

func (p *params) value(n byte) byte {
	if p.on[n] {
		return p.set[n]
	}
	return factory[n]
}
