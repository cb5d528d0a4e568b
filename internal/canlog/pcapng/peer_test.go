package pcapng_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// Wireshark sees in a capture of ours every frame as it is, and the comment beside it.
func TestAgainstWireshark(t *testing.T) {
	tshark := testtier.Require(t, testtier.TShark)
	path := filepath.Join(t.TempDir(), "a.pcapng")
	require.NoError(t, os.WriteFile(path, capture(t), 0o600))
	cmd := exec.Command(tshark, "-r", path, "-T", "fields", "-E", "separator=|",
		"-e", "can.id", "-e", "can.flags.xtd", "-e", "can.flags.rtr", "-e", "can.flags.err", "-e", "can.len", "-e", "data.data",
		"-e", "canfd.flags.brs", "-e", "canfd.flags.esi", "-e", "frame.comment", "-e", "frame.packet_flags_direction", "-e", "frame.time_epoch", "-e", "frame.interface_name")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, len(frames))
	bit := func(f frame.Frame, x frame.Flags) string {
		if f.Is(x) {
			return "1"
		}
		return "0"
	}
	for i, c := range frames {
		got := strings.Split(lines[i], "|")
		require.Len(t, got, 12)
		f := c.f
		if !f.Is(frame.Error) { // of which it shows the classes instead
			require.Equal(t, []string{fmt.Sprint(f.ID), bit(f, frame.Extended)}, got[:2], c.name)
		}
		require.Equal(t, f.Is(frame.Remote), got[2] == "1", c.name)
		require.Equal(t, f.Is(frame.Error), got[3] == "1", c.name)
		require.Equal(t, fmt.Sprint(f.Len), got[4], c.name)
		if !f.Is(frame.Remote) && !f.Is(frame.Error) {
			require.Equal(t, hex.EncodeToString(f.Bytes()), got[5], c.name)
		}
		if f.Is(frame.FD) {
			require.Equal(t, []string{bit(f, frame.BRS), bit(f, frame.ESI)}, got[6:8], c.name)
		} else {
			require.Equal(t, []string{"", ""}, got[6:8], "%s: not CAN FD", c.name)
		}
		require.Equal(t, c.comment, got[8], c.name)
		require.Equal(t, map[frame.Direction]string{frame.Received: "0x00000001", frame.Sent: "0x00000002"}[f.Dir], got[9], c.name)
		require.Equal(t, fmt.Sprintf("1690000000.%09d", i*1000001), got[10], c.name)
		require.Equal(t, []string{"can0", "vcan1"}[i%2], got[11], c.name)
	}
}
