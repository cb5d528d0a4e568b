package policy_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
)

func defaultPolicy(t testing.TB) *policy.Policy {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	return p
}

func database(t testing.TB) *dbc.Database {
	t.Helper()
	d, err := dbc.Embedded()
	require.NoError(t, err)
	return d
}

func hexBytes(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// parseFrame reads "7E8#0641…"; eight digits make a 29-bit identifier, ## an FD frame.
func parseFrame(t testing.TB, s string) frame.Frame {
	t.Helper()
	id, data, _ := strings.Cut(s, "#")
	flags := frame.Flags(0)
	if len(id) == 8 {
		flags = frame.Extended
	}
	if strings.HasPrefix(data, "#") {
		flags, data = flags|frame.FD, data[2:]
	}
	n := hexBytes(t, strings.Repeat("0", 8-len(id))+id)
	return frame.New(uint32(n[0])<<24|uint32(n[1])<<16|uint32(n[2])<<8|uint32(n[3]), flags, hexBytes(t, data)...)
}

// segment cuts a message into the frames of a sender, padded with pad.
func segment(id uint32, ext bool, addr byte, msg []byte, pad byte) []frame.Frame {
	var out []frame.Frame
	add := func(p isotp.PDU) {
		p.Ext, p.Target = ext, addr
		b, err := isotp.Append(nil, p)
		if err != nil {
			panic(err)
		}
		out = append(out, frame.New(id, 0, isotp.Padding{Byte: pad}.Append(b, 0)...))
	}
	room := 7
	if ext {
		room = 6
	}
	if len(msg) <= room {
		add(isotp.PDU{Kind: isotp.Single, Length: len(msg), Data: msg})
		return out
	}
	add(isotp.PDU{Kind: isotp.First, Length: len(msg), Data: msg[:room-1]})
	for at, seq := room-1, byte(1); at < len(msg); seq++ {
		n := min(room, len(msg)-at)
		add(isotp.PDU{Kind: isotp.Consecutive, Seq: seq & 0xF, Data: msg[at : at+n]})
		at += n
	}
	return out
}

// tagged is a frame as a Tagger gave it out.
type tagged struct {
	f  frame.Frame
	ft policy.FrameTag
}

// masked is the frame with everything not technical set to zero.
func (x tagged) masked() frame.Frame {
	f := x.f
	x.ft.Mask(&f)
	return f
}

// run pushes all frames and flushes.
func run(tg *policy.Tagger, frames []frame.Frame) []tagged {
	var out []tagged
	emit := func(f *frame.Frame, ft policy.FrameTag) { out = append(out, tagged{*f, ft}) }
	for i := range frames {
		tg.Push(&frames[i], emit)
	}
	tg.Flush(emit)
	return out
}

// number gives frames their place and a time a millisecond apart.
func number(frames []frame.Frame) []frame.Frame {
	for i := range frames {
		frames[i].Seq, frames[i].Time = uint64(i+1), time.Duration(i)*time.Millisecond
	}
	return frames
}
