package elm327

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A terminal's rate changes under the port that has it open, nothing that was received before is lost, and the port goes on.
func TestTune(t *testing.T) {
	master, slave, err := pty.Open()
	require.NoError(t, err)
	defer master.Close() //nolint:errcheck // the test is over
	defer slave.Close()  //nolint:errcheck // the test is over
	opened, err := openSerial(slave.Name(), 38400)
	require.NoError(t, err)
	p := &wiredPort{opened.(*serialPort), slave.Name()}
	rate := func() uint32 {
		s, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		require.NoError(t, err)
		return s.Cflag & unix.CBAUD
	}
	heard := func(want string) {
		got := ""
		buf := make([]byte, 64)
		for end := time.Now().Add(5 * time.Second); len(got) < len(want) && time.Now().Before(end); {
			n, err := p.Read(buf)
			require.NoError(t, err)
			got += string(buf[:n])
		}
		require.Equal(t, want, got)
	}
	require.EqualValues(t, unix.B38400, rate())
	for _, c := range []struct {
		baud int
		want uint32
	}{{500000, unix.B500000}, {230400, unix.B230400}, {115200, unix.B115200}, {38400, unix.B38400}} {
		_, err := master.WriteString("OK\r")
		require.NoError(t, err)
		require.NoError(t, p.Tune(c.baud))
		require.Equal(t, c.want, rate())
		_, err = master.WriteString("ELM327 v2.2\r")
		require.NoError(t, err)
		heard("OK\rELM327 v2.2\r")
		_, err = p.Write([]byte("\r"))
		require.NoError(t, err)
		buf := make([]byte, 8)
		n, err := master.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "\r", string(buf[:n]))
	}
	require.Error(t, p.Tune(123457), "no rate of this system's")
	require.EqualValues(t, unix.B38400, rate())
	require.NoError(t, p.Close())
}

// Only a UART at the end of a cable is worth it: no radio, no pseudo terminal, nothing that is not there.
func TestWired(t *testing.T) {
	for name, want := range map[string]bool{"/dev/ttyUSB0": true, "/dev/ttyUSB12": true, "/dev/ttyS0": true, "/dev/ttyAMA0": true,
		"/dev/rfcomm0": false, "/dev/ttyACM0": false, "/dev/pts/3": false, "/dev/ttyUSB": false, "/dev/tty": false} {
		require.Equal(t, want, uartNames().MatchString(name), name)
	}
	require.False(t, wired("/dev/ttyUSB-none"))
	link := filepath.Join(t.TempDir(), "ttyUSB0")
	require.NoError(t, os.Symlink("/dev/null", link))
	require.False(t, wired(link), "a name says nothing, the port behind it does")
}
