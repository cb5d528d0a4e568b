package socketcan

import (
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

func TestReports(t *testing.T) {
	for _, c := range []struct {
		name  string
		class uint32
		data  []byte
		want  BusError
		grave bool
		hint  string // part of it
	}{
		{"bus off", 0x40, nil, BusError{Fault: BusOff}, true, "restart it: sudo ip link set can0 down && sudo ip link set can0 up type can bitrate 500000"},
		{"no ack", 0x20, nil, BusError{Fault: NoAck}, true, "is the ignition on"},
		{"send passive with counters", 0x204, []byte{0, 0x20, 0, 0, 0, 0, 128, 3}, BusError{Fault: TxPassive, TxErrors: 128, RxErrors: 3}, true, "is the ignition on"},
		{"receive passive", 0x04, []byte{0, 0x10}, BusError{Fault: RxPassive}, true, "bitrate 500000"},
		{"counters that are not declared are not read", 0x04, []byte{0, 0x10, 0, 0, 0, 0, 7, 7}, BusError{Fault: RxPassive}, true, "bitrate 500000"},
		{"wire", 0x10, []byte{0, 0, 0, 0, 0x04}, BusError{Fault: Transceiver}, true, "wire"},
		{"warning", 0x04, []byte{0, 0x0C}, BusError{Fault: Warning}, false, ""},
		{"lost arbitration", 0x02, []byte{5}, BusError{Fault: Arbitration}, false, ""},
		{"restarted", 0x100, nil, BusError{Fault: Restarted}, false, ""},
		{"two at once", 0x60, nil, BusError{Fault: BusOff | NoAck}, true, "has left the bus"},
		{"something newer than this program", 0x1000, nil, BusError{Fault: Unknown}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := frame.New(c.class, frame.Error, append(c.data, make([]byte, 8-len(c.data))...)...)
			f.Flags = frame.Error
			got := report(&f)
			require.Equal(t, c.want, *got)
			require.ErrorIs(t, got, link.ErrBus)
			require.Equal(t, c.grave, got.Fault&grave != 0)
			if hint := got.hint("can0", 0); c.hint == "" {
				require.Empty(t, hint)
			} else {
				require.Contains(t, hint, c.hint)
			}
		})
	}
}

// Every fault has a word; a new one without would print as nothing.
func TestFaultWords(t *testing.T) {
	for f := BusOff; f <= Unknown; f <<= 1 {
		require.NotEmpty(t, f.String())
	}
	require.Len(t, faultWords, 13)
	require.Equal(t, "bus off, no acknowledgement", (BusOff | NoAck).String())
}

func TestHintTellsAWrongBitRate(t *testing.T) {
	e := &BusError{Fault: NoAck}
	require.Contains(t, e.hint("can0", 125000), "can0 runs at 125 kbit/s; most cars need 500 kbit/s")
}
