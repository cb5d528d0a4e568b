package scan_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/policy"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
)

// logger keeps every frame as it was on the bus, nothing masked: what a logger of somebody else records beside a scan.
type logger struct {
	link.Link
	mu     sync.Mutex
	frames []frame.Frame
}

func (l *logger) keep(f frame.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.frames); n > 0 {
		f.Time = max(f.Time, l.frames[n-1].Time)
	}
	f.Seq = uint64(len(l.frames) + 1)
	l.frames = append(l.frames, f)
}

func (l *logger) Send(ctx context.Context, f frame.Frame) error {
	l.keep(f)
	return l.Link.Send(ctx, f)
}

func (l *logger) Recv(ctx context.Context) (frame.Frame, error) {
	f, err := l.Link.Recv(ctx)
	if err == nil {
		l.keep(f)
	}
	return f, err
}

// Whoever classifies a log of the bus afterwards shows exactly what the scan itself showed: for each vehicle, whatever its
// maker's identifiers.
func TestLogIsTaggedAsTheScanWas(t *testing.T) {
	beyond := 0
	for _, name := range []string{"golf8", "mini", "phev", "bev", "e350", "suv29", "diesel", "tahoe", "obdonuds"} {
		t.Run(name, func(t *testing.T) {
			o := options(t, scan.Full, consent.Granted)
			var record bytes.Buffer
			o.Record = &record
			inner, _ := car(t, name)
			bus := &logger{Link: inner}
			_, err := scan.Run(t.Context(), bus, o)
			require.NoError(t, err)
			var live, later []string
			for l := range strings.Lines(record.String()) {
				live = append(live, strings.Fields(l)[2])
			}
			tg := policy.NewTagger(o.Policy, o.DBC, policy.WithMakers(scan.Makers()))
			emit := func(f *frame.Frame, ft policy.FrameTag) {
				m := *f
				ft.Mask(&m)
				later = append(later, fmt.Sprintf("%s#%X", m.IDString(), m.Bytes()))
				if ft.Class == policy.Technical && f.Flags&frame.Extended == 0 && f.ID > 0x6F1 && (f.ID < 0x7DF || f.ID > 0x7EF) {
					beyond++
				}
			}
			for i := range bus.frames {
				tg.Push(&bus.frames[i], emit)
			}
			tg.Flush(emit)
			slices.Sort(live) // what is sent while something arrives has no order
			slices.Sort(later)
			require.Equal(t, live, later)
		})
	}
	require.Positive(t, beyond, "no vehicle has a maker's pairs: nothing was tested")
}
