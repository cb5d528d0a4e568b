package isotp_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.einride.tech/can"

	"obdgate/internal/isotp"
)

// A VIN answer, frame by frame, as an engine ECU sends it.
var vinAnswer = [][]byte{
	unhex("10 14 49 02 01 57 56 57"), unhex("21 5A 5A 5A 43 44 30 4E"), unhex("22 57 30 30 30 30 30 31"),
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := isotp.Decode(vinAnswer[i%3], false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceiver is one frame of a three-frame message, with the message put together.
func BenchmarkReceiver(b *testing.B) {
	b.ReportAllocs()
	r := isotp.NewReceiver(isotp.Config{}, make([]byte, 0, 64))
	n := 0
	for i := 0; b.Loop(); i++ {
		if e := r.Push(vinAnswer[i%3], 0); e.Message != nil {
			n += len(e.Message)
		}
	}
	if n == 0 {
		b.Fatal("no message")
	}
}

func BenchmarkSender(b *testing.B) {
	b.ReportAllocs()
	payload := make([]byte, 4095)
	out, cts := make([]byte, 0, 8), unhex("30 00 00")
	s := isotp.NewSender(isotp.SendConfig{})
	for b.Loop() {
		if !s.Active() {
			if err := s.Start(payload); err != nil {
				b.Fatal(err)
			}
			s.Next(out, 0)
			if err := s.Push(cts, 0); err != nil {
				b.Fatal(err)
			}
		}
		if _, ok := s.Next(out, 0); !ok {
			b.Fatal("nothing to send")
		}
	}
}

// Yardsticks: what a frame costs that is only copied, or only taken apart into one signal.
func BenchmarkYardstickCopy(b *testing.B) {
	b.ReportAllocs()
	var buf [64]byte
	n := 0
	for i := 0; b.Loop(); i++ {
		n += copy(buf[:], vinAnswer[i%3])
	}
	_ = n
}

func BenchmarkYardstickCanGoSignal(b *testing.B) {
	b.ReportAllocs()
	var d can.Data
	var sum uint64
	for i := 0; b.Loop(); i++ {
		copy(d[:], vinAnswer[i%3])
		sum += d.UnsignedBitsBigEndian(7, 16)
	}
	_ = sum
}

func TestReceiveAndSendAllocateNothing(t *testing.T) {
	r := isotp.NewReceiver(isotp.Config{}, make([]byte, 0, 64))
	s := isotp.NewSender(isotp.SendConfig{})
	out := make([]byte, 0, 8)
	question, cts := unhex("22 F1 90 F1 87 F1 8C F1 89"), unhex("30 00 00")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, f := range vinAnswer {
			r.Push(f, 0)
		}
		r.Push(vinAnswer[0], 0)
		r.Push(vinAnswer[2], 0) // errors too
		_ = s.Start(question)
		s.Next(out, 0)
		_ = s.Push(cts, 0)
		s.Next(out, 0)
	}))
	require.False(t, s.Active())
}
