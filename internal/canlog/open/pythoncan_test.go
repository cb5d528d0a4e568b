package open_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"obdgate/internal/canlog/open"
	"obdgate/internal/frame"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// pyFrame is a frame as python-can and this test tell each other.
type pyFrame struct {
	Time                                  float64
	ID                                    uint32
	Extended, Remote, Error, FD, BRS, ESI bool
	Rx                                    bool
	DLC                                   int // in bytes
	Data                                  string
	Channel                               int
}

// peer writes files of the frames on stdin with python-can's writers, and prints what its readers make of each.
const peer = `
import sys, json, can
writers = {'.log': can.CanutilsLogWriter, '.asc': can.ASCWriter, '.blf': can.BLFWriter}
readers = {'.log': can.CanutilsLogReader, '.asc': can.ASCReader, '.blf': can.BLFReader}
frames = json.load(sys.stdin)
files = {}
for path, options in json.loads(sys.argv[1]).items():
    writer = writers[path[-4:]](path, **options)
    for f in frames:
        writer.on_message_received(can.Message(timestamp=f['Time'], arbitration_id=f['ID'], is_extended_id=f['Extended'],
            is_remote_frame=f['Remote'], is_error_frame=f['Error'], is_fd=f['FD'], bitrate_switch=f['BRS'], error_state_indicator=f['ESI'],
            is_rx=f['Rx'], dlc=f['DLC'], data=bytes.fromhex(f['Data']), channel=f['Channel']))
    writer.stop()
    files[path] = [dict(Time=m.timestamp, ID=m.arbitration_id, Extended=m.is_extended_id, Remote=m.is_remote_frame, Error=m.is_error_frame,
        FD=m.is_fd, BRS=m.bitrate_switch, ESI=m.error_state_indicator, DLC=m.dlc, Data=bytes(m.data).hex()) for m in readers[path[-4:]](path)]
print(json.dumps(files))
`

func pythonFrames() (out []pyFrame) {
	at := 1690000000.25
	add := func(f pyFrame) {
		at += 0.0125
		f.Time = at
		if f.DLC == 0 {
			f.DLC = len(f.Data) / 2
		}
		out = append(out, f)
	}
	add(pyFrame{ID: 0x7E8, Rx: true, Data: "064100be3eb81100"})
	add(pyFrame{ID: 0x18DB33F1, Extended: true, Data: "020100"})
	add(pyFrame{ID: 0x12, Extended: true, Rx: true, Data: "ff"})
	add(pyFrame{ID: 0, Rx: true})
	add(pyFrame{ID: 0x123, Remote: true, Rx: true})
	add(pyFrame{Error: true, Rx: true})
	add(pyFrame{ID: 0x7FF, Rx: true, Data: "00", Channel: 1})
	for _, n := range []int{0, 1, 8} {
		add(pyFrame{ID: 0x100, FD: true, Rx: true, Data: hex.EncodeToString(bytes.Repeat([]byte{0xA5}, n))})
	}
	for _, n := range []int{12, 16, 20, 24, 32, 48, 64} {
		add(pyFrame{ID: 0x1ABCDEF0, Extended: true, FD: true, BRS: true, ESI: n == 20, Rx: n != 32, Data: hex.EncodeToString(bytes.Repeat([]byte{byte(n)}, n))})
	}
	return out
}

// What python-can writes as candump log, ASC and BLF (packed and not), we read as the frames it was given, and what its own
// reader makes of the same file is what we make of it.
func TestAgainstPythonCAN(t *testing.T) {
	python := testtier.Require(t, testtier.PythonCAN)
	given := pythonFrames()
	in, err := json.Marshal(given)
	require.NoError(t, err)
	dir := t.TempDir()
	cases := []struct {
		name, file, options string
		format              open.Format
	}{
		{"candump log", "a.log", `{}`, open.Candump},
		{"ASC", "a.asc", `{}`, open.ASC},
		{"BLF packed", "a.blf", `{}`, open.BLF},
		{"BLF not packed", "b.blf", `{"compression_level":0}`, open.BLF},
	}
	wanted := map[string]json.RawMessage{}
	for _, c := range cases {
		wanted[filepath.Join(dir, c.file)] = json.RawMessage(c.options)
	}
	files, err := json.Marshal(wanted)
	require.NoError(t, err)
	cmd := exec.Command(python, "-c", peer, string(files))
	cmd.Env = append(os.Environ(), "TZ=UTC")
	cmd.Stdin = bytes.NewReader(in)
	var told bytes.Buffer
	cmd.Stderr = &told
	out, err := cmd.Output()
	require.NoError(t, err, "%s", told.String())
	var read map[string][]pyFrame
	require.NoError(t, json.Unmarshal(out, &read))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			theirs := read[path]
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			src, format, err := open.Reader(bytes.NewReader(file))
			require.NoError(t, err)
			require.Equal(t, c.format, format)
			var ours []frame.Frame
			for {
				var f frame.Frame
				err := src.Next(&f)
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				ours = append(ours, f)
			}
			require.Zero(t, src.Damaged(), "%v", src.Faults())
			require.Len(t, ours, len(given))
			require.Len(t, theirs, len(given))
			for i := range ours {
				compare(t, i, given[i], given[0].Time, &ours[i])
				theirs[i].Channel = given[i].Channel
				if theirs[i].FD && theirs[i].Remote { // its ASC reader takes an FD frame without data for a remote one
					theirs[i].Remote = false
				}
				theirs[i].Rx = given[i].Rx // its older readers do not say
				compare(t, i, theirs[i], theirs[0].Time, &ours[i])
			}
			require.InDelta(t, given[0].Time, src.Start().Seconds(), 0.002, "the first frame's own time of day")
		})
	}
}

func compare(t *testing.T, i int, want pyFrame, first float64, got *frame.Frame) {
	t.Helper()
	require.Equal(t, want.Error, got.Is(frame.Error), "frame %d", i)
	require.InDelta(t, want.Time-first, got.Time.Seconds(), (20 * time.Microsecond).Seconds(), "frame %d", i)
	if want.Error {
		return // what an error was the formats do not keep
	}
	require.Equal(t, want.ID, got.ID, "frame %d", i)
	require.Equal(t, [...]bool{want.Extended, want.Remote, want.FD, want.BRS, want.ESI},
		[...]bool{got.Is(frame.Extended), got.Is(frame.Remote), got.Is(frame.FD), got.Is(frame.BRS), got.Is(frame.ESI)}, "frame %d", i)
	require.Equal(t, want.Data, hex.EncodeToString(got.Bytes()), "frame %d", i)
	require.Equal(t, want.Channel, int(got.Bus), "frame %d", i)
	if got.Dir != frame.Unknown {
		require.Equal(t, want.Rx, got.Dir == frame.Received, "frame %d", i)
	}
}
