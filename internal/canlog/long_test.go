package canlog_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// What candump prints is the frame of the line that it logs.
func TestParseLong(t *testing.T) {
	for long, log := range map[string]string{
		"(1690000000.123456)  can0       7E8   [8]  06 41 00 BE 3E B8 11 00   '.A..>...'":   "(1690000000.123456) can0 7E8#064100BE3EB81100",
		"(1690000000.123456)  can0       123   [3]  27 22 27   '''\"''":                     "", // four characters for three bytes
		"(1690000000.123456)  can0       123   [3]  27 22 27   ''\"''":                      "(1690000000.123456) can0 123#272227",
		"  can0  18DAF110   [3]  02 01 00":                                                  "(0.000000) can0 18DAF110#020100",
		" (000.000250)  vcan1  123  [08]  00 01 02 03 04 05 06 07":                          "(0.000250) vcan1 123##00001020304050607",
		"(1690000000.123456)  can0  RX B E  123  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B": "(1690000000.123456) can0 123##3000102030405060708090A0B R",
		"(1690000000.123456)  can0  TX - -  123   [1]  0a":                                  "(1690000000.123456) can0 123#0A T",
		"(2023-07-22 04:26:40.123456)  can0  123   [0]":                                     "(1690000000.123456) can0 123#",
		"  can0  123   [4]  remote request":                                                 "(0.000000) can0 123#R4",
		"(1690000000.123456)  can0  20000004   [8]  00 04 00 00 00 00 00 00   ERRORFRAME":   "(1690000000.123456) can0 20000004#0004000000000000",

		"  can0  123   [2]  11":                         "", // cut short
		"  can0  123   [1]  11 22":                      "",
		"  can0  123   [9]  00 01 02 03 04 05 06 07 08": "",
		"  can0  123  [09]  00 01 02 03 04 05 06 07 08": "", // no such length
		"  can0  123  [99]":                             "",
		"  can0  800   [1]  11":                         "",
		"  can0  12   [1]  11":                          "",
		"  can0  123   []  11":                          "",
		"  can0  123   [1]  1":                          "",
		"  can0  123   [1]  11 and more":                "",
		"  can0  123   [1]  remote":                     "",
		"  can0  RX B   123   [1]  11":                  "",
		"(2023-13-22 04:26:40.123456)  can0  123   [0]": "",
		"can0": "",
		"":     "",
	} {
		var got, want frame.Frame
		iface, err := canlog.ParseLong([]byte(long), &got)
		if log == "" {
			require.ErrorIs(t, err, canlog.ErrSyntax, long)
			require.Zero(t, got)
			continue
		}
		require.NoError(t, err, long)
		if log[1] == '0' {
			log = strings.Replace(log, "(0.", "(0000000000.", 1)
		}
		name, err := canlog.Parse([]byte(log), &want)
		require.NoError(t, err, log)
		require.Equal(t, want, got, long)
		require.Equal(t, string(name), string(iface))
	}
}

// What can-utils' own program makes of a log is read as the log is.
func TestLongAgainstCanUtils(t *testing.T) {
	dir := testtier.Require(t, testtier.CANUtils)
	var log []byte
	for i, f := range []frame.Frame{
		frame.New(0x7E8, 0, 6, 0x41, 0, '\'', ' '), frame.New(0x18DB33F1, 0, 2, 1), frame.New(0x123, 0), frame.New(0x7FF, frame.FD),
		frame.New(0x123, frame.FD, 1, 2, 3, 4, 5, 6, 7, 8), frame.New(0x1ABCDEF0, frame.FD, bytes.Repeat([]byte{0x27}, 64)...),
		{ID: 0x123, Flags: frame.Remote, Len: 4}, {ID: 0x80, Flags: frame.Error, Len: 8},
	} {
		log = append(canlog.Append(log, &f, []string{"can0", "vcan12"}[i%2], time.Unix(1690000000, int64(i)*1000)), '\n')
	}
	cmd := exec.Command(filepath.Join(dir, "log2long"))
	cmd.Stdin = bytes.NewReader(log)
	long, err := cmd.Output()
	require.NoError(t, err)
	want, got := canlog.NewReader(bytes.NewReader(log)), canlog.NewLongReader(bytes.NewReader(append(long, "\tprotocol-violation{{}{acknowledge-slot}}\n"...)))
	for {
		var a, b frame.Frame
		errA, errB := want.Next(&a), got.Next(&b)
		require.Equal(t, errA, errB)
		if errors.Is(errA, io.EOF) {
			break
		}
		require.Equal(t, a, b)
	}
	require.EqualValues(t, 8, got.Frames())
	require.Zero(t, got.Damaged())
	require.Equal(t, want.Interfaces(), got.Interfaces())
}

func FuzzParseLong(f *testing.F) {
	for _, s := range []string{"(1690000000.123456)  can0       7E8   [8]  06 41 00 BE 3E B8 11 00   '.A..>...'", "  can0  RX B -  18DAF110  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B", "  can0  123   [4]  remote request"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got, again frame.Frame
		iface, err := canlog.ParseLong([]byte(s), &got)
		if err != nil {
			require.ErrorIs(t, err, canlog.ErrSyntax)
			require.Zero(t, got)
			return
		}
		require.NoError(t, got.Validate())
		line := canlog.Append(nil, &got, string(iface))
		_, err = canlog.Parse(line, &again)
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
