package vcan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"

	"github.com/stretchr/testify/require"
)

// lengths are the edges of ISO-TP: single frame, first frame, whole and broken last frames, sequence numbers that wrap
// at 15, the longest message.
var lengths = []int{4, 6, 7, 8, 13, 14, 20, 21, 62, 63, 111, 112, 256, 4095}

// timings are block sizes and separation times; slow ones go with the shorter messages only. The table of table_linux_test.go
// has them all, these go through the whole client.
var timings = []struct {
	bs    byte
	stmin isotp.STmin
	most  int // longest message tried
}{
	{0, 0, 4095}, {1, 0, 256}, {8, 0xF9, 256}, {4, 5, 112}, {0, 127, 21},
}

func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// What the kernel sends as an ECU, we put together, whatever pace we asked for.
func TestWeReceiveWhatTheKernelSends(t *testing.T) {
	for _, pair := range pairs {
		t.Run(pair.name, func(t *testing.T) {
			l := open(t)
			var answer []byte
			ecu(t, pair.end.socket(t), func([]byte) []byte { return answer })
			done, again := 0, uint64(0)
			for _, timing := range timings {
				conn := diag.New(l, diag.Options{BlockSize: timing.bs, STmin: timing.stmin, Gap: -1})
				for _, n := range lengths {
					if n > timing.most {
						continue
					}
					answer = append([]byte{0x62, 0xF1, 0x90}, noise(n-3, 1)...)
					name := fmt.Sprintf("%d bytes, block size %d, STmin %v", n, timing.bs, timing.stmin.Duration())
					got, err := conn.Request(within(t), diag.Request{To: diag.Physical(pair.ours), Payload: []byte{0x22, 0xF1, 0x90}})
					require.NoError(t, err, name)
					require.Len(t, got, 1, name)
					require.NoError(t, got[0].Err, name)
					require.Equal(t, answer, got[0].Payload, name)
					require.Zero(t, got[0].Repeats, name)
					done++
				}
				again += conn.Stats().Repeated
			}
			t.Logf("%d answers, %d questions put again", done, again)
			// An emulated machine on a busy host stands still for longer than an ECU may; a protocol that is got wrong fails
			// far more often.
			require.LessOrEqual(t, int(again), done/50, "too many questions had to be put again")
		})
	}
}

// What we send, the kernel puts together, whatever pace it asks for.
func TestTheKernelReceivesWhatWeSend(t *testing.T) {
	for _, pair := range pairs {
		t.Run(pair.name, func(t *testing.T) {
			l := open(t)
			done := 0
			for _, timing := range timings {
				end := pair.end
				end.bs, end.stmin = timing.bs, byte(timing.stmin)
				heard := make(chan []byte, 8)
				t.Run(fmt.Sprintf("block size %d, STmin %v", timing.bs, timing.stmin.Duration()), func(t *testing.T) {
					ecu(t, end.socket(t), func(b []byte) []byte {
						heard <- append([]byte(nil), b...)
						return []byte{0x62, b[1], b[2], 1}
					})
					conn := diag.New(l, diag.Options{Gap: -1, Pad: isotp.Padding{}})
					for _, n := range lengths {
						n |= 1 // a list of two-byte identifiers behind one service byte
						if n > timing.most {
							continue
						}
						question := append([]byte{0x22, 0xF1, 0x90}, noise(n-3, 2)...)
						got, err := conn.Request(within(t), diag.Request{To: diag.Physical(pair.ours), Payload: question})
						require.NoError(t, err, n)
						require.Len(t, got, 1, n)
						require.NoError(t, got[0].Err, n)
						require.Equal(t, []byte{0x62, 0xF1, 0x90, 1}, got[0].Payload, n)
						require.Equal(t, question, <-heard, n)
						done++
					}
				})
			}
			t.Logf("%d questions", done)
		})
	}
}

// Two ECUs whose long answers interleave on the bus, both by the kernel.
func TestTwoKernelECUsAtOnce(t *testing.T) {
	l := open(t)
	want := map[string][]byte{}
	for i, id := range []uint32{0x7E8, 0x7E9} {
		answer := append([]byte{0x49, 0x02, 0x01}, noise(200+i, uint64(id))...)
		want[fmt.Sprintf("%X", id)] = answer
		// Functional requests reach the ECU on an identifier of their own; flow control comes on its physical one.
		functional := kernelEnd{rx: isotp.Functional11, tx: id, pad: true}.socket(t)
		physical := kernelEnd{rx: id - 8, tx: id, pad: true}.socket(t)
		heard := make(chan struct{}, 1)
		ecu(t, functional, func([]byte) []byte {
			_, _ = physical.Write(answer)
			heard <- struct{}{}
			return nil
		})
	}
	conn := diag.New(l, diag.Options{BlockSize: 3})
	got, err := conn.Request(within(t), diag.Request{To: diag.Functional11, Payload: []byte{0x09, 0x02}, Expect: 2})
	require.NoError(t, err)
	require.Len(t, got, 2)
	for _, a := range got {
		require.NoError(t, a.Err)
		require.Equal(t, want[a.Addr.ECU()], a.Payload, a.Addr.ECU())
	}
}
