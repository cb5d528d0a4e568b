package elm327

import (
	"strings"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// Adapter text as owners of cars recorded it (bytes from the test cases of the OBDb repositories named), line ends and
// the missing prompt put back.
func TestCapturedText(t *testing.T) {
	for _, c := range []struct {
		source, sent, text string
		kind               kind
		accept             func(uint32) bool
		frames             []string
		err                error
	}{
		{source: "OBDb/Ford-Escape 2012 7E0.010D: echo before the frame", sent: "010D", text: "010D\n7E803410D17",
			frames: []string{"7E8#03410D17"}},
		{source: "72E.222815: spaces on, echo", sent: "222815", text: "222815\n72E 05 62 28 15 02 A3 ",
			accept: func(id uint32) bool { return id == 0x72E }, frames: []string{"72E#0562281502A3"}},
		{source: "7E0.0105: a header damaged beyond recognition", sent: "0105", text: "0105\n00003410586\n7E903410586",
			frames: []string{"7E9#03410586"}, err: link.ErrGarbled},
		{source: "FC00.FE0076.22295A: ERR91 behind a whole frame", sent: "22295A", text: "17FE00760662295A01C106\n\nERR91", kind: can29,
			accept: func(id uint32) bool { return id == 0x17FE0076 }, frames: []string{"17FE0076#0662295A01C106"}, err: link.ErrBus},
	} {
		var r reply
		r.begin(c.sent)
		require.True(t, r.feed([]byte(strings.ReplaceAll(c.text, "\n", "\r")+"\r\r>"), 0), c.source)
		accept := c.accept
		if accept == nil {
			accept = accepted(&askSupport, link.Hint{})
		}
		o := judge(&r, expectation{kind: c.kind, seen: new(shapes), accept: accept}, nil)
		require.Equal(t, c.frames, ids(o.frames), c.source)
		if c.err == nil {
			require.NoError(t, o.err(), c.source)
			require.True(t, o.clean(), c.source)
		} else {
			require.ErrorIs(t, o.err(), c.err, c.source)
		}
		for _, f := range o.frames {
			require.False(t, f.Is(frame.Legacy))
		}
	}
}
