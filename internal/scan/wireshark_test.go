package scan_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/consent"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/policy"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// tapped keeps every frame that passes a link, both ways.
type tapped struct {
	link.Link
	frames []frame.Frame
}

func (l *tapped) Send(ctx context.Context, f frame.Frame) error {
	err := l.Link.Send(ctx, f)
	if err == nil {
		f.Dir = frame.Sent
		l.frames = append(l.frames, f)
	}
	return err
}

func (l *tapped) Recv(ctx context.Context) (frame.Frame, error) {
	f, err := l.Link.Recv(ctx)
	if err == nil {
		l.frames = append(l.frames, f)
	}
	return f, err
}

// said is one whole message: the number of the frame that ended it, from 1, and its bytes.
type said struct {
	frame   int
	payload string
}

func (s said) String() string { return fmt.Sprintf("%d:%s", s.frame, s.payload) }

// ours puts the messages together with our own machines.
func ours(frames []frame.Frame, ext bool) (out []said) {
	receivers := map[string]*isotp.Receiver{}
	for i, f := range frames {
		key, target := f.IDString(), byte(0)
		if ext {
			target = f.Data[0]
			key += fmt.Sprintf("/%02X", target)
		}
		r := receivers[key]
		if r == nil {
			fresh := isotp.NewReceiver(isotp.Config{Ext: ext, Target: target, Passive: true}, nil)
			r = &fresh
			receivers[key] = r
		}
		if e := r.Push(f.Bytes(), time.Duration(i)*time.Microsecond); e.Message != nil {
			out = append(out, said{i + 1, hex.EncodeToString(e.Message)})
		}
	}
	return out
}

// dissect asks Wireshark about a capture and returns a row of fields per frame.
func dissect(t *testing.T, tshark string, frames []frame.Frame, args []string, fields ...string) [][]string {
	var b bytes.Buffer
	w, err := pcapng.NewWriter(&b)
	require.NoError(t, err)
	for i := range frames {
		f := frames[i]
		f.Bus = 0
		require.NoError(t, w.Write(&f, time.Duration(i)*time.Microsecond, ""))
	}
	require.NoError(t, w.Flush())
	path := filepath.Join(t.TempDir(), "scan.pcapng")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	args = append([]string{"-r", path, "-d", "can.subdissector,iso15765", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"}, args...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(tshark, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimRight(line, "\n"), "|"))
	}
	require.Len(t, rows, len(frames))
	return rows
}

// theirs are the messages Wireshark puts together.
func theirs(t *testing.T, tshark string, frames []frame.Frame, ext bool) (out []said) {
	var args []string
	if ext {
		args = []string{"-o", "iso15765.addressing:Extended addressing"}
	}
	for i, row := range dissect(t, tshark, frames, args, "iso15765.message_type", "iso15765.reassembled.length", "data.data") {
		if row[0] == "0x00" && row[2] != "" || row[1] != "" {
			out = append(out, said{i + 1, row[2]})
		}
	}
	return out
}

// same names the first difference only: there are hundreds of messages.
func same(t *testing.T, ours, theirs []said) {
	t.Helper()
	for i := range min(len(ours), len(theirs)) {
		require.Equal(t, ours[i].String(), theirs[i].String(), "message %d", i)
	}
	require.Len(t, theirs, len(ours))
}

// A full scan of every virtual vehicle on CAN, put into a capture: Wireshark's ISO-TP sees the same messages as ours, byte
// for byte and at the same frame, and its UDS the same services, identifiers and refusals.
func TestWiresharkSeesTheSameMessages(t *testing.T) {
	tshark := testtier.Require(t, testtier.TShark)
	rules, err := policy.Default()
	require.NoError(t, err)
	total, services := 0, 0
	for _, name := range sim.Names() {
		if strings.HasPrefix(name, "broken-") {
			continue // their messages break off: what then counts as one is a matter of taste, and never a value of ours
		}
		t.Run(name, func(t *testing.T) {
			l, v, err := sim.OpenVehicle(t.Context(), "sim:"+name)
			require.NoError(t, err)
			if v.Legacy() {
				t.Skip("no CAN bus")
			}
			tap := &tapped{Link: l}
			_, err = scan.Run(t.Context(), tap, scan.Options{Plan: scan.NewPlan(scan.Full, consent.Granted), Policy: rules})
			require.NoError(t, err)
			require.NoError(t, l.Close())
			// Wireshark 4.0 mixes up long answers that two ECUs send at the same time, which cars do; so each identifier's frames
			// are shown to it in one go.
			slices.SortStableFunc(tap.frames, func(a, b frame.Frame) int { return cmp.Compare(a.ID, b.ID) })
			var normal, extended []frame.Frame
			for _, f := range tap.frames {
				if f.ID&0x700 == 0x600 && !f.Is(frame.Extended) { // BMW: an address byte in front
					extended = append(extended, f)
				} else {
					normal = append(normal, f)
				}
			}
			want := ours(normal, false)
			require.Greater(t, len(want), 20)
			same(t, want, theirs(t, tshark, normal, false))
			total += len(want)
			if len(extended) > 0 {
				more := ours(extended, true)
				require.NotEmpty(t, more)
				same(t, more, theirs(t, tshark, extended, true))
				total += len(more)
			}
			rows := dissect(t, tshark, normal, []string{"-d", "iso15765.subdissector,uds"}, "uds.sid", "uds.reply", "uds.rdbi.data_identifier", "uds.err.code")
			for _, m := range want {
				msg, err := hex.DecodeString(m.payload)
				require.NoError(t, err)
				if msg[0] < 0x10 || msg[0] >= 0x41 && msg[0] < 0x50 {
					continue // OBD, which Wireshark's UDS does not read
				}
				row := rows[m.frame-1]
				sid, err := strconv.ParseUint(row[0], 0, 8)
				require.NoError(t, err, m)
				if row[1] == "0x01" {
					sid |= 0x40
				}
				require.EqualValues(t, msg[0], sid, m)
				services++
				switch msg[0] {
				case 0x22:
					var ids []string
					for i := 1; i+1 < len(msg); i += 2 {
						ids = append(ids, fmt.Sprintf("0x%02x%02x", msg[i], msg[i+1]))
					}
					require.Equal(t, strings.Join(ids, ","), row[2], m)
				case 0x7F:
					require.Equal(t, fmt.Sprintf("0x%02x", msg[2]), row[3], m)
				}
			}
		})
	}
	if !t.Failed() {
		require.Greater(t, total, 300)
		require.Greater(t, services, 50)
		t.Logf("%d messages, %d of them UDS", total, services)
	}
}
