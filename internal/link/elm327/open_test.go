package elm327

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// opening opens a Link on a chip in a bubble and tells how long it took.
func opening(t *testing.T, c *chip, bauds []int) (l *Link, took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	l, err = start(t.Context(), address{uri: "elm:test"}, c.open, bauds, Options{}, Record{})
	return l, time.Since(began), err
}

// slowReset is a chip whose defaults cannot be had without a reset that takes its time.
func slowReset(d time.Duration) func(string, int) (say, bool) {
	return func(cmd string, _ int) (say, bool) {
		if cmd == "ATD" {
			return say{text: "?\r\r>"}, true
		}
		return say{banner, d}, cmd == "ATWS"
	}
}

func TestOpening(t *testing.T) {
	reset := func(f func(cmd string) (string, bool)) func(string, int) (say, bool) {
		return func(cmd string, _ int) (say, bool) {
			text, ok := f(cmd)
			return say{text: text}, ok
		}
	}
	for _, c := range []struct {
		name   string
		chip   *chip
		bauds  []int
		want   string // Caps().Adapter
		is     error
		hint   string
		within time.Duration
		check  func(t *testing.T, c *chip)
	}{
		{name: "genuine", chip: newChip(on(nil)), bauds: []int{38400}, want: "ELM327 v1.4b", within: time.Second,
			check: func(t *testing.T, c *chip) {
				for _, bad := range c.said() {
					require.NotEmpty(t, bad, "a bare CR repeats the last command")
					require.NotContains(t, bad, "ATPP", "programmable parameters belong to the owner")
					require.NotContains(t, bad, "ATSP", "no protocol is stored")
				}
			}},
		{name: "rate found", chip: &chip{script: on(nil), count: map[string]int{}, baud: 500000}, bauds: rates, want: "ELM327 v1.4b", within: 5 * time.Second},
		{name: "STN behind an old name", chip: newChip(on(map[string]string{"STI": "STN1110 v4.2.0\r\r>"})), bauds: []int{115200},
			want: "ELM327 v1.4b (STN1110 v4.2.0)", within: time.Second},
		{name: "junk and NULs around the banner", chip: newChip(on(map[string]string{"ATD": "?\r\r>", "ATWS": "\x00\x00\xFC\r\rELM327 v1.5\r\r>", "ATI": "ELM327 v1.5\r\r>"})),
			bauds: []int{38400}, want: "ELM327 v1.5", within: time.Second},
		{name: "no warm start", chip: newChip(on(map[string]string{"ATD": "?\r\r>", "ATWS": "?\r\r>"})), bauds: []int{38400}, want: "ELM327 v1.4b", within: time.Second,
			check: func(t *testing.T, c *chip) { require.Contains(t, c.said(), "ATZ") }},
		{name: "no reset at all", chip: newChip(on(map[string]string{"ATD": "?\r\r>", "ATWS": "?\r\r>", "ATZ": "?\r\r>"})), bauds: []int{38400}, want: "ELM327 v1.4b",
			within: 2 * time.Second, check: func(t *testing.T, c *chip) { require.Contains(t, c.said(), "ATD") }},
		{name: "slow to restart", chip: newChip(slowReset(1200 * time.Millisecond)),
			bauds: []int{38400}, want: "ELM327 v1.4b", within: 2 * time.Second},
		{name: "busy with another program's question", chip: func() *chip {
			c := newChip(on(nil))
			c.busy = time.NewTimer(time.Hour)
			return c
		}(), bauds: []int{38400}, want: "ELM327 v1.4b", within: 3 * time.Second},
		{name: "not everything is known", chip: newChip(on(map[string]string{"ATAL": "?\r\r>", "ATM0": "?\r\r>", "ATL0": "?\r\r>", "ATS0": "?\r\r>", "ATAT1": "?\r\r>"})),
			bauds: []int{38400}, want: "ELM327 v1.4b", within: time.Second},
		{name: "silent", chip: &chip{script: func(string, int) (say, bool) { return say{}, true }, count: map[string]int{}}, bauds: []int{38400}, is: link.ErrNoAdapter,
			hint: "plugged into the vehicle", within: 3 * time.Second},
		{name: "silent at every rate", chip: func() *chip {
			c := newChip(func(string, int) (say, bool) { return say{}, true })
			c.echo = false
			return c
		}(), bauds: rates, is: link.ErrNoAdapter, hint: "right port", within: 3 * time.Second},
		{name: "a modem", chip: newChip(func(string, int) (say, bool) { return say{text: "OK\r\n"}, true }), bauds: []int{38400},
			is: link.ErrNoAdapter, hint: "another kind of device", within: 6 * time.Second},
		{name: "a GPS that talks by itself", chip: newChip(func(string, int) (say, bool) { return say{text: "$GPGGA,1*4F\r\n"}, true }), bauds: []int{9600},
			is: link.ErrNoAdapter, hint: "another kind of device", within: 6 * time.Second},
		{name: "wrong rate given", chip: &chip{script: on(nil), count: map[string]int{}, baud: 500000}, bauds: []int{9600}, is: link.ErrNoAdapter,
			hint: "leave ?baud= out", within: 6 * time.Second},
		{name: "no headers", chip: newChip(on(map[string]string{"ATH1": "?\r\r>"})), bauds: []int{38400}, is: link.ErrUnsupported, within: time.Second},
		{name: "prompt but no name", chip: newChip(reset(func(cmd string) (string, bool) { return "?\r\r>", true })), bauds: []int{38400},
			is: link.ErrUnsupported, within: 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.chip.busy != nil {
					c.chip.busy = time.AfterFunc(time.Hour, func() {}) // a timer of this bubble
				}
				l, took, err := opening(t, c.chip, c.bauds)
				require.LessOrEqual(t, took, c.within, "%q", c.chip.heard)
				if c.is != nil {
					require.ErrorIs(t, err, c.is)
					var le *link.Error
					require.ErrorAs(t, err, &le)
					require.Equal(t, "open", le.Op)
					require.Contains(t, le.Hint, c.hint)
					return
				}
				require.NoError(t, err)
				defer func() { require.NoError(t, l.Close()) }()
				require.Equal(t, c.want, l.Caps().Adapter)
				if c.check != nil {
					c.check(t, c.chip)
				}
			})
		})
	}
}

// Cheap radio adapters drop the link when they are reset: come back and leave the reset out.
func TestALinkThatDropsOnReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *chip
		c = newChip(func(cmd string, _ int) (say, bool) {
			if cmd == "ATWS" || cmd == "ATZ" {
				c.unplug()
				return say{}, true
			}
			return say{text: "?\r\r>"}, cmd == "ATD" && c.opened == 1
		})
		l, _, err := opening(t, c, []int{38400})
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		require.Equal(t, 2, c.opened)
		require.Equal(t, "ELM327 v1.4b", l.Caps().Adapter)
	})
}

func TestOpeningEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(700*time.Millisecond, cancel)
		c := newChip(slowReset(time.Minute))
		began := time.Now()
		_, err := start(ctx, address{uri: "elm:test"}, c.open, []int{38400}, Options{}, Record{})
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, time.Since(began), time.Second)
	})
}

func TestParseURI(t *testing.T) {
	for uri, want := range map[string]address{
		"elm:///dev/ttyUSB0":             {port: "/dev/ttyUSB0"},
		"elm:///dev/ttyUSB0?baud=115200": {port: "/dev/ttyUSB0", baud: 115200},
		"elm:/dev/ttyUSB0":               {port: "/dev/ttyUSB0"},
		"elm:COM5":                       {port: "COM5"},
		"elm:COM12?baud=38400":           {port: "COM12", baud: 38400},
		"elm+tcp://192.168.0.10:35000":   {host: "192.168.0.10:35000"},
		"elm+tcp://192.168.0.10":         {host: "192.168.0.10:35000"},
		"elm+tcp:192.168.0.10:23":        {host: "192.168.0.10:23"},
		"elm+tcp://adapter.local:35000/": {host: "adapter.local:35000"},
		"elm+tcp://[fe80::1]:35000":      {host: "[fe80::1]:35000"},
		"elm+tcp://[fe80::1]":            {host: "[fe80::1]:35000"},
	} {
		got, err := parseURI(uri)
		require.NoError(t, err, uri)
		want.uri = uri
		require.Equal(t, want, got)
	}
	for _, uri := range []string{"elm:", "elm://", "elm+tcp://", "can://can0", "elm", "elm:COM5?baud=fast", "elm:COM5?baud=1", "elm:COM5?parity=odd",
		"elm+tcp://192.168.0.10?baud=9600", "elm:COM5?%zz"} {
		_, err := parseURI(uri)
		require.ErrorIs(t, err, link.ErrNoAdapter, uri)
		var le *link.Error
		require.ErrorAs(t, err, &le)
		require.NotEmpty(t, le.Hint)
	}
}

// What the system refuses is told with what to do about it.
func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		hint string
	}{
		{&fs.PathError{Op: "open", Path: "/dev/ttyUSB9", Err: syscall.ENOENT}, fs.ErrNotExist, "plug the adapter in"},
		{&fs.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: syscall.EACCES}, fs.ErrPermission, ""},
		{&fs.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: syscall.EBUSY}, syscall.EBUSY, "another program"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, syscall.ECONNREFUSED, "Wi-Fi"},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, context.DeadlineExceeded, "Wi-Fi"},
		{syscall.ENOTTY, syscall.ENOTTY, "not a serial port"},
	} {
		err := openError("elm:test", c.err)
		require.ErrorIs(t, err, c.is)
		require.ErrorIs(t, err, link.ErrNoAdapter)
		var le *link.Error
		require.ErrorAs(t, err, &le)
		require.Contains(t, le.Hint, c.hint)
		require.NotContains(t, le.Err.Error(), "/dev/", "the address names the port already")
	}
	if runtime.GOOS == "linux" {
		require.Contains(t, permissionHint(), "dialout")
	}
}

// Through the real system calls.
func TestOpenWhatIsNotThere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("looks for a Unix device file")
	}
	_, err := Open(t.Context(), "elm://"+filepath.Join(t.TempDir(), "ttyUSB0"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, link.ErrNoAdapter)
	plain := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	_, err = Open(t.Context(), "elm:"+plain)
	require.ErrorIs(t, err, link.ErrNoAdapter)
	require.True(t, strings.Contains(err.Error(), "ioctl") || errors.Is(err, syscall.ENOTTY), err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	began := time.Now()
	_, err = Open(t.Context(), "elm+tcp://"+addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorIs(t, err, link.ErrNoAdapter)
	require.Less(t, time.Since(began), 2*time.Second)
}
