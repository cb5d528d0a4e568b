package isotp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"obdgate/internal/isotp"
	_ "obdgate/internal/pinned"
)

// talk lets a Sender send payload to a Receiver on stepped time. disturb may change the list of the sender's frames that
// reach the receiver: it gets each frame and returns what arrives in its place.
type talk struct {
	send    isotp.SendConfig
	receive isotp.Config
	waits   int // wait frames that the receiving side puts before every go-on
}

type outcome struct {
	message []byte
	errs    []error
	sendErr error
	frames  [][]byte
	times   []time.Duration
	flows   int
}

func (k talk) run(t require.TestingT, payload []byte, disturb func(i int, frame []byte) [][]byte) outcome {
	s, r := isotp.NewSender(k.send), isotp.NewReceiver(k.receive, nil)
	require.NoError(t, s.Start(payload))
	var o outcome
	now := time.Duration(0)
	event := func(e isotp.Event) {
		if e.Err != nil {
			o.errs = append(o.errs, e.Err)
		}
		if e.Message != nil {
			o.message = bytes.Clone(e.Message)
		}
		if !e.Reply {
			return
		}
		o.flows++
		flows := make([]isotp.Flow, k.waits, k.waits+1)
		for i := range flows {
			flows[i].Status = isotp.Wait
		}
		for _, flow := range append(flows, e.Flow) {
			fc, err := isotp.Append(nil, isotp.PDU{Kind: isotp.FlowControl, Ext: k.send.Ext, Target: k.send.Source, Flow: flow})
			require.NoError(t, err)
			if err := s.Push(k.send.Pad.Append(fc, 0), now); err != nil && err != isotp.ErrUnexpected {
				o.sendErr = err
			}
		}
	}
	for step := 0; s.Active(); step++ {
		require.Less(t, step, 200000, "the conversation does not end")
		if out, ok := s.Next(nil, now); ok {
			i := len(o.frames)
			o.frames, o.times = append(o.frames, out), append(o.times, now)
			arrived := [][]byte{out}
			if disturb != nil {
				arrived = disturb(i, out)
			}
			for _, f := range arrived {
				event(r.Push(f, now))
			}
			continue
		}
		next, ok := s.Deadline()
		require.True(t, ok)
		if d, running := r.Deadline(); running && d < next {
			next = d
		}
		require.GreaterOrEqual(t, next, now)
		now = next
		event(r.Tick(now))
		if err := s.Tick(now); err != nil {
			o.sendErr = err
		}
	}
	if d, running := r.Deadline(); running {
		event(r.Tick(d))
	}
	return o
}

func talks(t *rapid.T) talk {
	ext := rapid.Bool().Draw(t, "ext")
	target, source := rapid.Byte().Draw(t, "target"), rapid.Byte().Draw(t, "source")
	pad := rapid.SampledFrom([]isotp.Padding{{}, {Byte: 0x55}, {Byte: 0xAA}, {Byte: 0xCC}, {Off: true}}).Draw(t, "pad")
	return talk{
		send: isotp.SendConfig{Ext: ext, Target: target, Source: source, FD: rapid.Bool().Draw(t, "fd"), Pad: pad},
		receive: isotp.Config{Ext: ext, Target: target, Max: 1 << 15, BlockSize: rapid.Byte().Draw(t, "bs"),
			STmin: isotp.STmin(rapid.Byte().Draw(t, "stmin"))},
		waits: rapid.IntRange(0, 3).Draw(t, "waits"),
	}
}

func payloads(t *rapid.T, fd bool) []byte {
	most := isotp.MaxClassic
	if fd && rapid.Bool().Draw(t, "long") {
		most = 1 << 14
	}
	n := rapid.OneOf(rapid.IntRange(1, 70), rapid.IntRange(1, most), rapid.SampledFrom([]int{4095, most})).Draw(t, "length")
	p := make([]byte, n)
	seed := rapid.Uint32().Draw(t, "seed")
	for i := range p { // not through rapid byte by byte: long payloads would eat its randomness
		seed = seed*1664525 + 1013904223
		p[i] = byte(seed >> 24)
	}
	return p
}

func TestWhatIsSentIsReceived(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := talks(t)
		payload := payloads(t, k.send.FD)
		o := k.run(t, payload, nil)
		require.NoError(t, o.sendErr)
		require.Empty(t, o.errs)
		if !bytes.Equal(payload, o.message) {
			t.Fatalf("%d bytes sent, %d other bytes received", len(payload), len(o.message))
		}
		for i, f := range o.frames {
			_, err := isotp.Decode(f, k.send.Ext)
			require.NoError(t, err)
			if !k.send.Pad.Off {
				require.GreaterOrEqual(t, len(f), 8, "an ECU may ignore short frames")
			}
			if i >= 2 && (k.receive.BlockSize == 0 || (i-1)%int(k.receive.BlockSize) != 0) {
				require.GreaterOrEqual(t, o.times[i]-o.times[i-1], k.receive.STmin.Duration())
			}
		}
		if bs := int(k.receive.BlockSize); bs > 0 && len(o.frames) > 1 {
			require.Equal(t, 1+(len(o.frames)-2)/bs, o.flows)
		}
	})
}

// One fault per conversation. A message that arrives nevertheless must be the one that was sent.
func TestFaultsNeverMakeAWrongMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := talks(t)
		payload := payloads(t, k.send.FD)
		s := isotp.NewSender(k.send)
		if s.Fits(len(payload)) {
			payload = append(payload, make([]byte, 100)...)
		}
		fault := rapid.SampledFrom([]string{"loss", "duplicate", "swap", "burst", "cut"}).Draw(t, "fault")
		per := 6
		if k.send.FD {
			per = 62
		}
		at := rapid.IntRange(0, len(payload)/per+1).Draw(t, "at")
		width := rapid.IntRange(1, 40).Draw(t, "width")
		var held []byte
		hit := false
		o := k.run(t, payload, func(i int, f []byte) [][]byte {
			if held != nil {
				out := [][]byte{f, held}
				held = nil
				return out
			}
			switch {
			case fault == "burst" && i >= at && i < at+width, fault == "loss" && i == at:
				hit = true
				return nil
			case i != at:
			case fault == "duplicate":
				return [][]byte{f, f}
			case fault == "swap":
				hit, held = true, bytes.Clone(f)
				return nil
			case fault == "cut":
				hit = true
				return [][]byte{f[:len(f)/2]}
			}
			return [][]byte{f}
		})
		if o.message != nil && !bytes.Equal(o.message, payload) {
			t.Fatalf("%s at %d: a wrong message of %d bytes instead of %d", fault, at, len(o.message), len(payload))
		}
		switch {
		case fault == "duplicate":
			require.Equal(t, payload, o.message, "a frame that came twice did no harm")
			if at < len(o.frames) {
				require.Contains(t, o.errs, isotp.ErrDuplicate, "but it is told")
			}
		case hit && at < len(o.frames) && o.message == nil && o.sendErr == nil:
			require.NotEmpty(t, o.errs, "%s at %d was swallowed", fault, at)
		}
	})
}

// The reassembler meets anything: it must not invent bytes. Every message is made of bytes of frames pushed, in order.
func FuzzReceiver(f *testing.F) {
	f.Add(unhex("08 10134904014F5345 08 2156423638323252 08 22000000000000AA"), uint8(0), false)
	f.Add(unhex("08 F1100B62D10D0002 08 F12186B3000286B3"), uint8(0), true)
	f.Add(unhex("03 0160FF 08 1008410D000C1AF8 08 21053C0000000000 08 21053C0000000000"), uint8(1), false)
	f.Add(unhex("08 1008303030303030 08 0030303030303030 03 213030"), uint8(1), false)
	f.Add(unhex("0C 10000000100062F190414141 0C 21AAAAAAAAAAAAAAAAAAAAAA"), uint8(3), false)
	f.Fuzz(func(t *testing.T, stream []byte, bs uint8, ext bool) {
		r := isotp.NewReceiver(isotp.Config{Ext: ext, Target: 0xF1, BlockSize: bs, Max: 1 << 14}, nil)
		var pushed []byte
		now := time.Duration(0)
		for len(stream) > 0 {
			n := min(int(stream[0]), len(stream)-1, 70)
			b := stream[1 : 1+n]
			stream = stream[1+n:]
			now += time.Duration(n) * 10 * time.Millisecond
			e := r.Push(b, now)
			if e.Used && (e.Kind == isotp.Single || e.Kind == isotp.First) { // an unreadable one ends nothing
				pushed = pushed[:0]
			}
			if p, err := isotp.Decode(b, ext); err == nil && e.Used {
				pushed = append(pushed, p.Data...)
			}
			if e.Message != nil && !bytes.HasPrefix(pushed, e.Message) {
				t.Fatalf("%X is not what came in, %X", e.Message, pushed)
			}
			if e.Message != nil && (len(e.Message) != e.Want || r.Running()) {
				t.Fatalf("message of %d bytes, %d announced, still running: %v", len(e.Message), e.Want, r.Running())
			}
			if e.Lost && e.Err == nil {
				t.Fatal("lost without a reason")
			}
			if len(e.Message) > 1<<14 {
				t.Fatal("longer than allowed")
			}
		}
	})
}
