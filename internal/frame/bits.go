package frame

import "time"

// Bits is how long the frame occupies the bus, in bits of the nominal rate and of the data rate (0 where the frame does
// not switch), stuff bits of this very content and the three bits of interframe space included (ISO 11898-1, 10.4 and
// 10.5). Error reports and K-line messages take none.
func (f *Frame) Bits() (nominal, data int) {
	if f.Flags&(Error|Legacy) != 0 {
		return 0, 0
	}
	var s stuffing
	s.put(0, 1) // start of frame
	if f.Is(Extended) {
		s.put(f.ID>>18, 11)
		s.put(0b11, 2) // SRR, IDE
		s.put(f.ID, 18)
	} else {
		s.put(f.ID, 11)
	}
	if f.Is(FD) {
		return f.bitsFD(&s)
	}
	s.put(bit(f.Is(Remote)), 1)
	s.put(0, 2) // IDE and r0, or r1 and r0
	s.put(uint32(f.Len), 4)
	if !f.Is(Remote) {
		for _, b := range f.Bytes() {
			s.put(uint32(b), 8)
		}
	}
	crc := s.crc
	s.put(uint32(crc), 15)
	return s.bits + tail, 0
}

// tail is what follows the checksum: its delimiter, acknowledgement and its delimiter, end of frame, interframe space.
const tail = 1 + 2 + 7 + 3

func (f *Frame) bitsFD(s *stuffing) (nominal, data int) {
	s.put(0, 1) // RRS
	if !f.Is(Extended) {
		s.put(0, 1) // IDE
	}
	s.put(0b10, 2) // FDF, res
	s.put(bit(f.Is(BRS)), 1)
	before := s.bits // the rate changes at the sample point of BRS
	s.put(bit(f.Is(ESI)), 1)
	s.put(uint32(code(int(f.Len))), 4)
	for _, b := range f.Bytes() {
		s.put(uint32(b), 8)
	}
	// Stuff count and checksum have fixed stuff bits: one in front, one after every four.
	check := 4 + 17
	if f.Len > 16 {
		check = 4 + 21
	}
	check += 1 + (check-1)/4
	if f.Is(BRS) {
		return before + tail, s.bits - before + check
	}
	return s.bits + check + tail, 0
}

// Occupies is how long the frame takes on a bus of these bit rates, in bit/s; dataRate is for CAN FD with bit-rate switch.
func (f *Frame) Occupies(rate, dataRate int) time.Duration {
	nominal, data := f.Bits()
	d := time.Duration(nominal) * time.Second / time.Duration(max(rate, 1))
	if data > 0 {
		d += time.Duration(data) * time.Second / time.Duration(max(dataRate, 1))
	}
	return d
}

// code is the DLC of a length.
func code(n int) int {
	switch {
	case n <= 8:
		return n
	case n <= 24:
		return 9 + (n-9)/4
	}
	return 13 + (n-32)/16
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// stuffing counts bits as they go onto the bus: after five alike one of the other kind.
type stuffing struct {
	bits int
	run  int
	last uint32
	crc  uint16 // CRC-15 of ISO 11898-1, over what is not stuffed
}

func (s *stuffing) put(v uint32, n int) {
	for n--; n >= 0; n-- {
		b := v >> n & 1
		if next := uint32(s.crc>>14) & 1; next != b {
			s.crc = s.crc<<1&0x7FFF ^ 0x4599
		} else {
			s.crc = s.crc << 1 & 0x7FFF
		}
		if s.bits > 0 && b == s.last {
			s.run++
		} else {
			s.run = 1
		}
		s.last = b
		s.bits++
		if s.run == 5 {
			s.bits++
			s.last, s.run = b^1, 1
		}
	}
}
