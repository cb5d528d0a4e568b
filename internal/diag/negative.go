package diag

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Negative response codes that diag itself acts on (ISO 14229-1, annex A.1).
const (
	nrcLength  = 0x13
	nrcBusy    = 0x21
	nrcPending = 0x78
)

// Negative is an ECU's refusal: 7F, the service it was asked for, the reason. Any code can occur, 00 included.
type Negative struct {
	Service, Code byte
}

func (n *Negative) Error() string {
	return fmt.Sprintf("service %02X refused: %s", n.Service, n.Name())
}

// Name is the code in words, "request out of range (NRC 0x31)"; a code that is not in the table is "NRC 0xXX".
func (n *Negative) Name() string {
	if row, ok := nrcTable()[n.Code]; ok {
		return fmt.Sprintf("%s (NRC 0x%02X)", row.name, n.Code)
	}
	return fmt.Sprintf("NRC 0x%02X", n.Code)
}

// Hint says what the technician can do about it, a sentence without a full stop; empty for an unknown code.
func (n *Negative) Hint() string { return nrcTable()[n.Code].advice }

// Ignorable reports whether an ECU that follows ISO 14229 would have kept silent instead, had it been asked
// functionally: it just does not have what was asked for (11, 12, 31, 7E, 7F). Such an answer says nothing about
// whether all ECUs that have it have answered.
func (n *Negative) Ignorable() bool {
	switch n.Code {
	case 0x11, 0x12, 0x31, 0x7E, 0x7F:
		return true
	}
	return false
}

type nrc struct{ name, advice string }

//go:embed nrc.csv
var nrcFile string

// nrcTable reads the embedded table once. A damaged table is found by the package's tests.
var nrcTable = sync.OnceValue(func() map[byte]nrc {
	table := map[byte]nrc{}
	rows, err := csv.NewReader(strings.NewReader(nrcFile)).ReadAll()
	if err != nil || len(rows) == 0 {
		return table
	}
	for _, row := range rows[1:] {
		if code, err := strconv.ParseUint(row[0], 16, 8); err == nil {
			table[byte(code)] = nrc{name: row[1], advice: row[2]}
		}
	}
	return table
})
