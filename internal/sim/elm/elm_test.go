package elm_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a raw text client: it writes a line and reads up to the prompt, nothing else.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	a    *elm.Adapter
	v    *sim.Vehicle
}

// plug puts an adapter in front of a vehicle; nothing is really waited for.
func plug(t *testing.T, vehicle, personality string) *client {
	t.Helper()
	v, err := sim.Load(vehicle)
	require.NoError(t, err)
	p, err := elm.ByName(personality)
	require.NoError(t, err)
	return serve(t, v, p, elm.Options{})
}

func serve(t *testing.T, v *sim.Vehicle, p elm.Personality, o elm.Options) *client {
	t.Helper()
	here, there := net.Pipe()
	a := elm.New(v, p, o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, there) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		_ = here.Close()
	})
	c := newClient(t, here)
	c.a, c.v = a, v
	return c
}

func newClient(t *testing.T, conn net.Conn) *client {
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// send writes text as it is and returns everything up to and including the prompt.
func (c *client) send(text string) string {
	c.t.Helper()
	go func() { _, _ = c.conn.Write([]byte(text)) }()
	return c.prompt()
}

func (c *client) prompt() string {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	got, err := c.r.ReadString('>')
	require.NoError(c.t, err, "no prompt after %q", got)
	return got
}

// do sends a command and returns the lines of its answer, without echo.
func (c *client) do(cmd string) []string {
	c.t.Helper()
	return strings.FieldsFunc(strings.TrimSuffix(c.send(cmd+"\r"), ">"), func(r rune) bool { return r == '\r' || r == '\n' })
}

func (c *client) setup(cmds ...string) {
	c.t.Helper()
	for _, cmd := range cmds {
		require.Contains(c.t, strings.Join(c.do(cmd), " "), "OK", cmd)
	}
}

// TestTranscripts plays testdata/*.txt: what a client types, and byte for byte what the chip says. The grammar is that of
// ELM327DSJ and of recorded sessions.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { transcript(t, file) })
	}
}

func transcript(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var c *client
	checked := 0
	got, at := "", 0
	for i, line := range strings.Split(string(data), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "", "#":
		case "car":
			f := strings.Fields(rest)
			c = plug(t, f[0], f[1])
		case ">":
			if rest, err = strconv.Unquote(`"` + rest + `"`); err == nil {
				got, at = c.send(rest+"\r"), i+1
			}
			require.NoError(t, err)
		case "<":
			if os.Getenv("ELM_TRANSCRIPT") == file { // to write a new one: leave the answers empty and take them from here
				t.Logf("< %s", strings.Trim(strconv.Quote(got), `"`))
			}
			want, err := strconv.Unquote(`"` + rest + `"`)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s:%d", file, at)
			checked++
		default:
			t.Fatalf("%s:%d: %q", file, i+1, line)
		}
	}
	require.NotZero(t, checked)
}
