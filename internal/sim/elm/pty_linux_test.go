package elm_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
	"github.com/tarm/serial"
)

// The simulated adapter is a serial port to programs that know nothing of it: opened twice with the serial library, closed in
// between, gone in the end.
func TestPTY(t *testing.T) {
	path := filepath.Join(t.TempDir(), "elm")
	require.NoError(t, os.Symlink("/dev/pts/gone", path), "a link left behind is replaced")
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	p, err := elm.ByName("")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- elm.Serve(ctx, "elm+pty:"+path, v, p, elm.Options{Ready: func(a string) { ready <- a }})
	}()
	require.Equal(t, "elm:"+path, <-ready)
	for i := range 2 {
		port, err := serial.OpenPort(&serial.Config{Name: path, Baud: 38400, ReadTimeout: 100 * time.Millisecond})
		require.NoError(t, err)
		talk := func(cmd string) string {
			_, err := port.Write([]byte(cmd + "\r"))
			require.NoError(t, err)
			got := ""
			buf := make([]byte, 64)
			for deadline := time.Now().Add(5 * time.Second); !strings.HasSuffix(got, ">") && time.Now().Before(deadline); {
				n, err := port.Read(buf)
				if err != nil && err != io.EOF { //nolint:errorlint // the library returns it bare: nothing yet
					require.NoError(t, err)
				}
				got += string(buf[:n])
			}
			return got
		}
		if i == 0 {
			require.Equal(t, "ATZ\r\r\rELM327 v1.4b\r\r>", talk("ATZ"))
			require.Equal(t, "ATE0\rOK\r\r>", talk("ATE0"))
			require.Equal(t, "OK\r\r>", talk("ATSP6"))
		}
		require.Equal(t, "014\r0: 49 02 01 57 56 57 \r1: 5A 5A 5A 43 44 30 4E \r2: 57 30 30 30 30 30 31 \r\r>", ask(talk))
		require.NoError(t, port.Close())
	}
	cancel()
	require.NoError(t, <-ended)
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "the link is taken away")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, elm.ServePTY(t.Context(), file, v, p, elm.Options{}), "in the way")
}

// ask reads the VIN of the engine.
func ask(talk func(string) string) string {
	if got := talk("ATSH7E0"); got != "OK\r\r>" {
		return got
	}
	return talk("0902")
}
