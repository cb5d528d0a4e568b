// Package isotp is ISO 15765-2: the codec of its frames, receiver and sender as values stepped with time passed in, and
// the addresses both use.
package isotp

import "fmt"

// Address is one request/response pair. Pairs come from data, never from arithmetic: only 7E0..7E7 are known to answer
// on +8 (facts: 29-bit ISO 15765-4 pairs, and the makers' own). Address is comparable.
type Address struct {
	Tx, Rx     uint32 // identifier we send on, identifier the ECU answers on
	Extended29 bool   // both are 29-bit
	Ext        bool   // extended addressing (ISO 15765-2, BMW/MINI): one address byte before the PCI
	TxTarget   byte   // with Ext: first byte of what we send (the ECU)
	RxTarget   byte   // with Ext: first byte of what we receive (the tester, F1)
	Legacy     bool   // K-line/J1850: Tx and Rx are three-byte headers; no ISO-TP
}

// ECU is the label of the answering ECU as the user sees it: "7E8", "18DAF110", "612"; a legacy header gives its source
// address, "10".
func (a Address) ECU() string {
	switch {
	case a.Legacy:
		return fmt.Sprintf("%02X", a.Rx&0xFF)
	case a.Extended29:
		return fmt.Sprintf("%08X", a.Rx)
	}
	return fmt.Sprintf("%03X", a.Rx)
}

// Functional request identifiers of ISO 15765-4 (facts: obd.md 1.1).
const (
	Functional11 = 0x7DF
	Functional29 = 0x18DB33F1
)

// OBDResponder returns the pair of the ECU that answered an OBD functional request on id, and whether id is one that
// ISO 15765-4 allows: 7E8..7EF pair with 7E0..7E7, 18DAF1xx with 18DAxxF1.
func OBDResponder(id uint32, extended bool) (Address, bool) {
	switch {
	case !extended && id >= 0x7E8 && id <= 0x7EF:
		return Address{Tx: id - 8, Rx: id}, true
	case extended && id&0x1FFFFF00 == 0x18DAF100:
		return Address{Tx: 0x18DA00F1 | id&0xFF<<8, Rx: id, Extended29: true}, true
	}
	return Address{}, false
}
