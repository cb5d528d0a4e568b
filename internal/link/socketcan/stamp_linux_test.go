package socketcan

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// message builds a control message as recvmsg delivers it.
func message(kind int32, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	head := b[:unix.SizeofCmsghdr]
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(head, uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(head, uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(head[wordSize:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(head[wordSize+4:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// words are struct timespec values: seconds, nanoseconds, ...
func words(values ...int64) (b []byte) {
	for _, v := range values {
		if wordSize == 8 {
			b = binary.NativeEndian.AppendUint64(b, uint64(v))
		} else {
			b = binary.NativeEndian.AppendUint32(b, uint32(v))
		}
	}
	return b
}

// What a driver with a clock of its own hands up, which no virtual interface does: the controller's stamp is used, the
// kernel's where it is missing, and the count of lost frames beside either.
func TestTimesOfTheController(t *testing.T) {
	opened := time.Now().Add(-10 * time.Second)
	l := &Link{opened: opened}
	arrive := func(kind int32, kernel time.Duration, controller time.Duration) time.Duration {
		t.Helper()
		at := opened.Add(kernel)
		data := words(at.Unix(), int64(at.Nanosecond()))
		if kind == unix.SCM_TIMESTAMPING {
			data = append(data, words(0, 0, int64(controller/time.Second), int64(controller%time.Second))...)
		}
		control := append(message(kind, data...), message(unix.SO_RXQ_OVFL, 7, 0, 0, 0)...)
		l.ctlLen = copy(l.control[:], control)
		return l.arrival()
	}
	near := func(want, got time.Duration) {
		t.Helper()
		require.InDelta(t, want, got, float64(50*time.Millisecond)) // this machine may stand still in the middle of arrival
	}
	near(time.Second, arrive(unix.SCM_TIMESTAMPNS, time.Second, 0))
	require.Zero(t, l.Stats().Stamped)
	near(2*time.Second, arrive(unix.SCM_TIMESTAMPING, 2*time.Second, 0))
	require.Zero(t, l.Stats().Stamped, "a driver without stamps")
	near(3*time.Second, arrive(unix.SCM_TIMESTAMPING, 3*time.Second, 50*time.Second))
	near(3500*time.Millisecond, arrive(unix.SCM_TIMESTAMPING, 4*time.Second, 50*time.Second+500*time.Millisecond))
	require.EqualValues(t, 2, l.Stats().Stamped)
	require.EqualValues(t, 7, l.Stats().Lost&7)

	_, controller := stamps(words(1, 2))
	require.Zero(t, controller)
	kernel, controller := stamps(words(5, 6, 0, 0, 7, 8))
	require.Equal(t, time.Unix(5, 6), kernel)
	require.Equal(t, 7*time.Second+8, controller)
	kernel, _ = stamps([]byte{1, 2, 3})
	require.True(t, kernel.IsZero())
}
