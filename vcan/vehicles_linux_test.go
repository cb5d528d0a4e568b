package vcan_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/sim"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// serve puts a virtual car on the bus until the test ends.
func serve(t testing.TB, name string) *sim.Vehicle {
	t.Helper()
	car, err := sim.Load(name)
	require.NoError(t, err)
	l := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- car.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return car
}

// questions are put to every car: the supported maps, the codes, the VIN, the calibrations, mileage and consumption.
var questions = [][]byte{{0x01, 0x00}, {0x01, 0x01}, {0x03}, {0x07}, {0x0A}, {0x09, 0x00}, {0x09, 0x02}, {0x09, 0x04},
	{0x09, 0x06}, {0x09, 0x0A}, {0x09, 0x17}, {0x01, 0xA6}, {0x01, 0x0C, 0x0D, 0x05}, {0x22, 0xF1, 0x90}}

// read asks everything and returns the answers by question and ECU.
func read(t testing.TB, l link.Link) (answers map[string][]byte, kind string) {
	t.Helper()
	conn := diag.New(l, diag.Options{})
	ctx := within(t)
	bus, err := conn.Find(ctx)
	require.NoError(t, err)
	answers = map[string][]byte{}
	for _, q := range questions {
		got, err := conn.Request(ctx, diag.Request{To: bus.Functional, Payload: q})
		require.NoError(t, err)
		for _, a := range got {
			key := fmt.Sprintf("%X from %s", q, a.Addr.ECU())
			if a.Err != nil {
				answers[key] = []byte(a.Err.Error())
			} else {
				answers[key] = a.Payload
			}
		}
	}
	return answers, bus.Protocol
}

// A car answers the same over the kernel's bus as in process: nothing on the way adds, drops or changes a byte.
func TestCarsAnswerTheSameOverTheKernelsBus(t *testing.T) {
	testtier.Require(t, testtier.VCAN)
	tried := 0
	for _, name := range sim.Names() {
		car, err := sim.Load(name)
		require.NoError(t, err)
		// The broken ones break off at the mercy of timers; what becomes of them is tested on stepped time.
		if car.Legacy() || strings.HasPrefix(name, "broken-") {
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) {
			inside, err := sim.Open(within(t), "sim:"+name)
			require.NoError(t, err)
			defer inside.Close()
			want, protocol := read(t, inside)
			require.NotEmpty(t, want)
			serve(t, name)
			l := open(t)
			got, overBus := read(t, l)
			if !reflect.DeepEqual(want, got) {
				// An emulated machine on a busy host may stand still for longer than an ECU's answer may take.
				t.Log("answers differ; reading once more")
				got, overBus = read(t, l)
			}
			require.Equal(t, want, got)
			require.Equal(t, protocol, overBus)
		})
	}
	require.Positive(t, tried)
}

// The kernel as tester: its ISO-TP asks our car, so that a mistake our two ends share would show.
func TestTheKernelReadsOurCar(t *testing.T) {
	car := serve(t, "golf8")
	l, err := sim.Open(within(t), "sim:golf8")
	require.NoError(t, err)
	defer l.Close()
	conn := diag.New(l, diag.Options{})
	long := 0
	for _, pace := range []struct{ bs, stmin byte }{{0, 0}, {1, 0}, {4, 5}} {
		tester := kernelEnd{rx: 0x7E8, tx: 0x7E0, pad: true, bs: pace.bs, stmin: pace.stmin}.socket(t)
		for _, q := range questions {
			want, err := conn.Request(within(t), diag.Request{To: diag.Physical(isotp.Address{Tx: 0x7E0, Rx: 0x7E8}), Payload: q})
			require.NoError(t, err)
			if len(want) == 0 || want[0].Err != nil {
				continue
			}
			_, err = tester.Write(q)
			require.NoError(t, err)
			require.Equal(t, want[0].Payload, message(t, tester), "%X", q)
			if len(want[0].Payload) > 7 {
				long++
			}
		}
		require.NoError(t, tester.Close())
	}
	require.Greater(t, long, 5, "hardly any long answer: nothing was tested")
	require.NotEmpty(t, car.Log())
}

// message reads one message off an ISO-TP socket.
func message(t testing.TB, f *os.File) []byte {
	t.Helper()
	require.NoError(t, f.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 5000)
	n, err := f.Read(b)
	require.NoError(t, err)
	return b[:n]
}
