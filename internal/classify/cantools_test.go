package classify

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/classify/loggen"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

// Every value decoded is cantools', bit for bit, and no signal more or less. OBDGATE_CANTOOLS names the Python that has
// cantools (default python3; without it the test is skipped), OBDGATE_CANTOOLS_FRAMES how many frames (default 20,000;
// five million take some minutes).
func TestValuesAreThoseOfCantools(t *testing.T) {
	python := peerPython()
	if python == "" {
		t.Skip("no Python with cantools here")
	}
	n := 20_000
	if s := os.Getenv("OBDGATE_CANTOOLS_FRAMES"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for name, bus := range map[string]loggen.Bus{"classic": loggen.Classic, "fd": loggen.FD} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "gen.dbc")
			require.NoError(t, os.WriteFile(file, bus.DBC(), 0o600))
			db, err := dbc.Parse(file, bus.DBC())
			require.NoError(t, err)
			peer := exec.CommandContext(t.Context(), python, "testdata/values.py", file)
			peer.Stdin = stream(bus, n)
			var trouble strings.Builder
			peer.Stderr = &trouble
			out, err := peer.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, peer.Start())
			frames, values := compare(t, db, stream(bus, n), bufio.NewReaderSize(out, 1<<20))
			require.NoError(t, peer.Wait(), trouble.String())
			require.Equal(t, n, frames)
			t.Logf("%d frames, %d values, all equal", frames, values)
		})
	}
}

// peerPython is a Python that has cantools, "" if there is none.
func peerPython() string {
	python := "python3"
	if s := os.Getenv("OBDGATE_CANTOOLS"); s != "" {
		python = s
	}
	if exec.Command(python, "-c", "import cantools").Run() != nil {
		return ""
	}
	return python
}

// stream is the log, made while it is read.
func stream(bus loggen.Bus, n int) io.Reader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(bus.Log(w, n, 1)) }()
	return r
}

// compare decodes the log, through the plan and signal by signal, and reads what cantools says of each frame.
func compare(t *testing.T, db *dbc.Database, log io.Reader, theirs *bufio.Reader) (frames, values int) {
	plans, number := map[*dbc.Message]*dbc.Plan{}, map[*dbc.Signal]int{}
	for _, m := range db.Messages() {
		plans[m] = m.Plan()
		for i, s := range m.Signals {
			number[s] = i
		}
	}
	lines := bufio.NewScanner(log)
	var f frame.Frame
	var fields []dbc.Field
	var floats []float64
	scratch := make([]dbc.Field, 0, 64)
	var entry [10]byte
	want := map[int]float64{}
	for lines.Scan() {
		frames++
		_, err := canlog.Parse(bytes.TrimSpace(lines.Bytes()), &f)
		require.NoError(t, err)
		count, err := theirs.ReadByte()
		require.NoError(t, err)
		m := db.Lookup(f.ID, f.Is(frame.Extended))
		if m == nil {
			require.EqualValues(t, 255, count)
			continue
		}
		fields, floats = plans[m].Floats(&f, floats, scratch)
		if len(fields) != int(count) {
			t.Fatalf("frame %d, %s: %d signals, cantools has %d", frames, m.Name, len(fields), count)
		}
		clear(want)
		for range count {
			_, err := io.ReadFull(theirs, entry[:])
			require.NoError(t, err)
			want[int(binary.LittleEndian.Uint16(entry[:]))] = math.Float64frombits(binary.LittleEndian.Uint64(entry[2:]))
		}
		for i := range fields {
			s := fields[i].Signal
			w, there := want[number[s]]
			alone, _ := s.Float64(&f)
			if !there || !s.Active(&f) || !same(floats[i], w) || !same(alone, w) {
				t.Fatalf("frame %d, %s: %v by the plan, %v alone, cantools %v (%v)", frames, s.Key(), floats[i], alone, w, there)
			}
			values++
		}
	}
	require.NoError(t, lines.Err())
	_, err := theirs.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	return frames, values
}

// same: equal, or both not a number.
func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
