package elm_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// A character sent while the chip works ends what it does and is swallowed; what follows is a new line.
func TestAnyCharacterStops(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATSP6")
	require.Equal(t, "STOPPED\r\r>", c.send("0100\rx"))
	require.Equal(t, []string{"ELM327 v1.4b"}, c.do("ATI"))
	require.Equal(t, "STOPPED\r\r>", c.send("0100\r0105\r"), "the next request's first digit stops this one")
	require.NotContains(t, c.prompt(), "41 05", "and the rest of it, 105, asks something else")
	require.Equal(t, []string{"41 05 7B ", "41 05 7B "}, c.do("0105"))
	// Leaving early: the next client finds the adapter at its prompt.
	require.Equal(t, "SEARCHING...\rSTOPPED\r\r>", strings.TrimPrefix(plug(t, "golf8", "").send("0100\rx"), "0100\r"))
}

// A line feed behind the carriage return does not stop a genuine chip; it stops some copies.
func TestLineFeed(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATSP6", "ATSH7E0")
	require.Equal(t, "41 05 7B \r\r>", c.send("0105\r\n"))
	p, err := elm.ByName("v1.5")
	require.NoError(t, err)
	p.Quirks.LFAborts = true
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	c = serve(t, v, p, elm.Options{})
	c.setup("ATE0", "ATSP6", "ATSH7E0")
	require.Equal(t, "STOPPED\r\r>", c.send("0105\r\n"))
}

// Two ECUs do not always answer in the same order; a client that takes the first line for the engine is wrong.
func TestOrderVaries(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATSP6", "ATH1", "ATS0")
	first := map[string]int{}
	for range 40 {
		lines := c.do("0100")
		require.Len(t, lines, 2)
		first[lines[0][:3]]++
	}
	require.Len(t, first, 2)
}

// took is the modelled time of a command.
func (c *client) took(cmd string) time.Duration {
	before := c.a.Modelled()
	c.do(cmd)
	return c.a.Modelled() - before
}

// The timing model: what a client does well must pay, what it does badly must cost.
func TestTiming(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATSP6", "ATSH7E0", "ATS0", "ATAT0")
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	whole, counted := c.took("0105"), c.took("01051")
	require.InDelta(t, ms(205+10+8), whole, float64(ms(12)), "without digit: the whole of ST after the answer")
	require.Less(t, counted, ms(25), "with digit: as soon as the answer is there")
	c.setup("ATST0A")
	require.Less(t, c.took("0105"), ms(70))
	short := c.took("017F")
	c.setup("ATSTFF")
	require.InDelta(t, ms(1003), c.took("017F")-short, float64(ms(10)), "ST is obeyed in NO DATA as well")
	c.setup("ATST32", "ATAT1")
	c.do("0105")
	require.Less(t, c.took("0105"), ms(60), "adaptive timing learns")
	require.GreaterOrEqual(t, c.took("ATZ"), ms(500))

	fast, err := elm.ByName("genuine-1.4b")
	require.NoError(t, err)
	fast.Baud = 500000
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	f := serve(t, v, fast, elm.Options{})
	f.setup("ATE0", "ATSP6", "ATSH7E0", "ATS0")
	require.Less(t, f.took("09023"), c.took("09023")-ms(10), "characters cost time")
}

// On a scaled clock the modelled time is really waited, in proportion.
func TestScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, err := sim.Load("golf8")
		require.NoError(t, err)
		p, err := elm.ByName("")
		require.NoError(t, err)
		c := serve(t, v, p, elm.Options{Scale: 0.5})
		c.setup("ATE0", "ATSP6", "ATAT0")
		start, modelled := time.Now(), c.a.Modelled()
		c.do("0105")
		require.InDelta(t, float64(c.a.Modelled()-modelled)/2, float64(time.Since(start)), float64(3*time.Millisecond))
		require.Greater(t, time.Since(start), 100*time.Millisecond)
	})
}

// A line that is never ended is answered with ? after twenty seconds.
func TestUnfinishedLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := plug(t, "golf8", "")
		c.setup("ATE0")
		start := time.Now()
		go func() { _, _ = c.conn.Write([]byte("ATI")) }()
		require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(time.Minute)))
		got, err := c.r.ReadString('>')
		require.NoError(t, err)
		require.Equal(t, "?\r\r>", got)
		require.Equal(t, 20*time.Second, time.Since(start))
	})
}

// The baud handshake: OK without prompt, a wait, the id at the new rate, a carriage return in time, OK; else the old rate,
// without a word. STN has its own commands for the same.
func TestBaudHandshake(t *testing.T) {
	for _, c := range []struct {
		name, adapter string
		setup         []string
		change        string
		id            string
		window        time.Duration
		early         string        // sent before the id comes
		after         time.Duration // from the id to the answer
		answer        string
		want          int
	}{
		{name: "in time", change: "ATBRD08", id: "ELM327 v1.4b", window: 75 * time.Millisecond, after: 70 * time.Millisecond, answer: "\r", want: 500000},
		{name: "too late", change: "ATBRD08", id: "ELM327 v1.4b", window: 75 * time.Millisecond, after: 80 * time.Millisecond, answer: "", want: 38400},
		{name: "another character", change: "ATBRD08", id: "ELM327 v1.4b", window: 75 * time.Millisecond, answer: "\xCD", want: 38400},
		{name: "noise before it", change: "ATBRD08", id: "ELM327 v1.4b", window: 75 * time.Millisecond, answer: "\xFF\r", want: 500000},
		{name: "too early", change: "ATBRD08", id: "ELM327 v1.4b", window: 75 * time.Millisecond, early: "\r", want: 38400},
		{name: "a longer window", setup: []string{"ATBRT28"}, change: "ATBRD11", id: "ELM327 v1.4b", window: 200 * time.Millisecond,
			after: 190 * time.Millisecond, answer: "\r", want: 235294},
		{name: "the longest", setup: []string{"ATBRT00"}, change: "ATBRD23", id: "ELM327 v1.4b", window: 1280 * time.Millisecond,
			after: 1200 * time.Millisecond, answer: "\r", want: 114285},
		{name: "STN", adapter: "stn1110", setup: []string{"STBRT100"}, change: "STBR230400", id: "STN1110 v4.0.1", window: 100 * time.Millisecond, answer: "\r", want: 230400},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := elm.ByName(c.adapter)
			require.NoError(t, err)
			p.Baud = 38400
			if c.adapter != "" {
				c.id = p.STN
			}
			v, err := sim.Load("golf8")
			require.NoError(t, err)
			a := elm.New(v, p, elm.Options{})
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var wg sync.WaitGroup
				wg.Go(func() { _ = a.Serve(t.Context(), there) })
				c1 := &client{t: t, conn: here, r: bufio.NewReader(here)}
				c1.setup(append([]string{"ATE0"}, c.setup...)...)
				read := func() string {
					got, err := c1.r.ReadString('\r')
					require.NoError(t, err)
					return got
				}
				go func() { _, _ = here.Write([]byte(c.change + "\r")) }()
				require.Equal(t, "OK\r", read())
				began := time.Now()
				if c.early != "" {
					_, err := here.Write([]byte(c.early))
					require.NoError(t, err)
				}
				require.Equal(t, c.id+"\r", read(), "no prompt")
				require.Equal(t, c.window, time.Since(began))
				require.NotEqual(t, 38400, a.Baud())
				time.Sleep(c.after)
				if c.answer != "" {
					_, err := here.Write([]byte(c.answer))
					require.NoError(t, err)
				}
				if c.want != 38400 {
					require.Equal(t, "OK\r\r>", c1.prompt())
				} else {
					time.Sleep(2 * c.window)
				}
				require.Equal(t, c.want, a.Baud())
				require.Equal(t, []string{p.Banner}, c1.do("ATI"), "nothing but the answer to the next command comes")
				require.Equal(t, []string{"OK"}, c1.do("ATD"))
				require.Equal(t, c.want, a.Baud(), "defaults are no reason for another rate")
				require.NoError(t, here.Close())
				wg.Wait()
				require.Equal(t, c.want, a.Baud(), "and the end of a client is none")
			})
		})
	}
}

// A client that is gone before it has agreed leaves the rate as it was.
func TestBaudHandshakeAbandoned(t *testing.T) {
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	p, err := elm.ByName("")
	require.NoError(t, err)
	a := elm.New(v, p, elm.Options{})
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { _ = a.Serve(t.Context(), there) })
		c := &client{t: t, conn: here, r: bufio.NewReader(here)}
		c.setup("ATE0")
		go func() { _, _ = here.Write([]byte("ATBRD08\r")) }()
		_, err := c.r.ReadString('\r')
		require.NoError(t, err)
		require.NoError(t, here.Close())
		wg.Wait()
		require.Equal(t, 38400, a.Baud())
	})
}

// A monitor prints the car's own traffic, filtered as asked, until a character comes; a slow line overflows.
func TestMonitor(t *testing.T) {
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	v.SetTraffic(true, 0)
	p, err := elm.ByName("")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, v, p, elm.Options{Scale: 1})
		c.setup("ATE0", "ATSP6", "ATH1", "ATS0", "ATCRA2D0")
		go func() { _, _ = c.conn.Write([]byte("ATMA\r")) }()
		start := time.Now()
		for range 4 {
			line, err := c.r.ReadString('\r')
			require.NoError(t, err)
			require.Equal(t, "2D04452562D4B455937\r", line)
		}
		require.InDelta(t, 4*time.Second, time.Since(start), float64(200*time.Millisecond))
		require.Equal(t, "STOPPED\r\r>", c.send("x"))
		c.setup("ATAR")
		require.Equal(t, []string{"ELM327 v1.4b"}, c.do("ATI"))
	})
	p.Baud = 9600
	v2, err := sim.Load("golf8")
	require.NoError(t, err)
	v2.SetTraffic(true, 0)
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, v2, p, elm.Options{Scale: 1})
		c.setup("ATE0", "ATSP6", "ATH1")
		go func() { _, _ = c.conn.Write([]byte("ATMA\r")) }()
		require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(time.Minute)))
		got, err := c.r.ReadString('>')
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(got, "BUFFER FULL\r\r>"), "56 frames a second do not fit 9600 baud")
	})
}

// After low power any character wakes the chip, which says its name again.
func TestLowPower(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATLP")
	require.Equal(t, "\r\rELM327 v1.4b\r\r>", c.send(" "))
	require.Equal(t, []string{"ATI", "ELM327 v1.4b"}, c.do("ATI"))
}

// The settings survive a client, as the chip's do; two clients do not mix.
func TestTCP(t *testing.T) {
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	p, err := elm.ByName("wifi-v1.5")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- elm.Serve(ctx, "elm+tcp://127.0.0.1:0", v, p, elm.Options{Ready: func(a string) { ready <- a }})
	}()
	address := <-ready
	require.True(t, strings.HasPrefix(address, "elm+tcp://127.0.0.1:"))
	dial := func() *client {
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "elm+tcp://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return newClient(t, conn)
	}
	one := dial()
	one.setup("ATE0", "ATH1", "ATS0")
	two := dial()
	_, err = two.conn.Write([]byte("ATI\r"))
	require.NoError(t, err)
	one.setup("ATSP6")
	require.Len(t, one.do("0105"), 2)
	require.NoError(t, one.conn.Close())
	require.Equal(t, "ELM327 v1.5\r\r>", two.prompt(), "served when the first has gone, echo still off")
	cancel()
	require.NoError(t, <-ended)

	err = elm.Serve(t.Context(), "elm+tcp://127.0.0.1:99999", v, p, elm.Options{})
	require.ErrorContains(t, err, "99999")
	require.Error(t, elm.Serve(t.Context(), "can://vcan0", v, p, elm.Options{}))
}

func TestPersonalities(t *testing.T) {
	require.Contains(t, elm.Names(), elm.DefaultPersonality)
	_, err := elm.ByName("ELM328")
	require.ErrorIs(t, err, elm.ErrUnknown)
	require.ErrorContains(t, err, "genuine-1.4b")
	require.GreaterOrEqual(t, len(elm.Names()), 20)
	for _, n := range elm.Names() {
		t.Run(n, func(t *testing.T) {
			p, err := elm.ByName(n)
			require.NoError(t, err)
			require.NotEmpty(t, p.Source)
			c := plug(t, "golf8", n)
			for _, cmd := range []string{"ATE0", "ATS0", "ATH1", "ATSP6"} {
				c.do(cmd)
			}
			require.Equal(t, p.Banner, strings.Join(c.do("ATI"), " "))
			require.Equal(t, p.Device, strings.Join(c.do("AT@1"), " "))
			got := strings.ReplaceAll(strings.Join(c.do("0902"), " "), " ", "")
			if !p.Reaches(11) {
				require.Equal(t, "?", got)
				return
			}
			require.Contains(t, got, "7E81014490201575657")
			require.Contains(t, got, "7E82257303030303031", "flow control for the standard ECUs works on all of them")
		})
	}
}

// The version ladder clients probe with: each step is known from its version on.
func TestVersionLadder(t *testing.T) {
	for _, c := range []struct{ cmd, since string }{
		{"ATKW0", "1.3a"}, {"ATS0", "1.3a"}, {"ATFE", "1.3a"}, {"ATSS", "1.4b"}, {"ATCSM1", "1.4b"}, {"ATAMT20", "2.1"}, {"ATCTM1", "2.1"}, {"ATCERF1", "2.2"},
	} {
		for _, v := range []string{"1.3a", "1.4b", "2.1", "2.2"} {
			want := "OK"
			if v < c.since {
				want = "?"
			}
			got := plug(t, "golf8", "genuine-"+v).do(c.cmd)
			require.Equal(t, want, got[len(got)-1], "%s on %s", c.cmd, v)
		}
	}
}

// Whatever is typed, the chip comes back to its prompt and still reads the car.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{"ATZ", "AT SH 7E0\r0902", "0100\r\r\r", "ATMA\rx", "ATFCSD30\rATFCSM2\r0902", "ATPPFFON\rATWS", "ATBRD08", "\x00\xFF\x7F", "ATCEA60\r22D10D",
		"ATSPA6\r01001", "ATSP3\rATSI", "ATLP\r \r", "AT@3ABCDEFGHIJKL", "STPX h:7E0, d:0100", "02010D0A", "ATCF18DAF110\rATCM1FFFFFFF\rATSP7\r09021", "ATAT0\rATST00\r0100F"} {
		f.Add([]byte(s), uint8(0))
	}
	for _, s := range []string{"STPX h:7E0, l:2, r:1\r0100", "STPX h:6F1, d:22F190, x:12", "STCSEGR1\r0902", "STCSEGT1\r0102030405060708090A0B0C", "STPTO0\r0999",
		"STCFCPA 6F112,612F1\rATCEA12\rATCRA612", "STFBA7E8,7FF\r0100", "STFFCC\r0902", "STP61\r0100", "STBR 500000", "STSBR 9600", "STPPMA 1000,7DF,3E00", "VTI"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(2))
	}
	f.Fuzz(func(t *testing.T, typed []byte, which uint8) {
		names := []string{"genuine-2.2", "stn1110", "wican-pro", "v1.5", "ble-crlf"}
		p, err := elm.ByName(names[int(which)%len(names)])
		require.NoError(t, err)
		synctest.Test(t, func(t *testing.T) {
			v, err := sim.Load("golf8")
			require.NoError(t, err)
			c := serve(t, v, p, elm.Options{})
			go func() { _, _ = c.conn.Write(append(bytes.Clone(typed), '\r')) }()
			quiet(t, c)
			// A monitor or a rate change may be waiting for a character; then a known state.
			for _, cmd := range []string{"x\r", "ATWS\r"} {
				go func() { _, _ = c.conn.Write([]byte(cmd)) }()
				quiet(t, c)
			}
			c.setup("ATPPFFOFF")
			c.do("ATZ")
			c.setup("ATE0", "ATS0", "ATSP6", "ATSH7E0")
			require.Equal(t, []string{"41057B"}, c.do("0105"))
		})
	})
}

// quiet reads until nothing has come for a minute of the bubble's time.
func quiet(t *testing.T, c *client) {
	buf := make([]byte, 4096)
	for range 5000 {
		require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(2*time.Second)))
		if _, err := c.r.Read(buf); err != nil {
			return
		}
	}
	_, err := c.conn.Write([]byte("x")) // a monitor
	require.NoError(t, err)
}

func BenchmarkRequest(b *testing.B) {
	v, err := sim.Load("golf8")
	require.NoError(b, err)
	p, err := elm.ByName("")
	require.NoError(b, err)
	here, there := net.Pipe()
	a := elm.New(v, p, elm.Options{})
	done := make(chan error, 1)
	go func() { done <- a.Serve(context.Background(), there) }()
	buf := make([]byte, 256)
	ask := func(cmd string) {
		_, err := here.Write([]byte(cmd))
		require.NoError(b, err)
		for {
			n, err := here.Read(buf)
			require.NoError(b, err)
			if buf[n-1] == '>' {
				return
			}
		}
	}
	ask("ATE0\r")
	ask("ATSP6\r")
	b.ReportAllocs()
	for b.Loop() {
		ask("0902\r")
	}
	_ = here.Close()
	require.NoError(b, <-done)
}

// Each deviation of a copy shows in what the client gets.
func TestQuirks(t *testing.T) {
	type step struct{ cmd, want string }
	for name, c := range map[string]struct {
		car   string
		quirk elm.Quirks
		steps []step
	}{
		"SP forgets S0":     {"golf8", elm.Quirks{ResetOnSP: true}, []step{{"ATS0", "OK"}, {"ATSP6", "OK"}, {"ATSH7E0", "OK"}, {"0105", "41 05 7B "}}},
		"DPN is a constant": {"legacy", elm.Quirks{DPN: "A6"}, []step{{"ATDPN", "A6"}}},
		"ST does nothing":   {"tahoe", elm.Quirks{IgnoreST: true}, []step{{"ATSP7", "OK"}, {"ATSHDA10F1", "OK"}, {"ATSTFF", "OK"}, {"19020D", "7F 19 78 "}}},
		"requests are cut":  {"golf8", elm.Quirks{RequestBytes: 2}, []step{{"ATSP6", "OK"}, {"ATSH7E0", "OK"}, {"010C05", "41 0C 0B E8 "}}},
		"waits after 78": {"tahoe", elm.Quirks{WaitsFor78: true}, []step{{"ATSP7", "OK"}, {"ATSHDA10F1", "OK"},
			{"19020D", "7F 19 78 |00B|0: 59 02 CF 01 91 11 |1: 08 C4 05 81 08 AA AA "}}},
		"no checksum": {"legacy", elm.Quirks{NoChecksum: true}, []step{{"ATSP5", "OK"}, {"ATH1", "OK"}, {"ATSHC110F1", "OK"}, {"0105", "BUS INIT: OK|83 F1 10 41 05 7D "}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := elm.ByName("")
			require.NoError(t, err)
			p.Quirks = c.quirk
			v, err := sim.Load(c.car)
			require.NoError(t, err)
			cl := serve(t, v, p, elm.Options{})
			cl.setup("ATE0")
			for _, s := range c.steps {
				require.Equal(t, s.want, strings.Join(cl.do(s.cmd), "|"), s.cmd)
			}
		})
	}
}

// R0 does not wait: the answer is never seen, and the ECU was asked all the same.
func TestNoResponses(t *testing.T) {
	c := plug(t, "golf8", "")
	c.setup("ATE0", "ATSP6", "ATR0")
	require.Equal(t, "\r>", c.send("0105\r"))
	require.Len(t, c.v.Log(), 1)
	require.Equal(t, "REQ 7DF 0105", c.v.Log()[0].String())
}
