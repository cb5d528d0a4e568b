package sim_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// vehicles are the built-in ones; all must load, and there must be as many as users are told about.
func vehicles(t *testing.T) map[string]*sim.Vehicle {
	t.Helper()
	out := map[string]*sim.Vehicle{}
	for _, n := range sim.Names() {
		v, err := sim.Load(n)
		require.NoError(t, err)
		require.Equal(t, n, v.Name())
		out[n] = v
	}
	require.GreaterOrEqual(t, len(out), 18)
	return out
}

// pidLengths are the data bytes of the service 01 parameters the vehicles have (SAE J1979; facts confirmed on real cars).
const pidLengths = `01:4 03:2 04:1 05:1 06:1 07:1 08:1 09:1 0B:1 0C:2 0D:1 0E:1 0F:1 10:2 11:1 13:1 14:2 15:2 19:2 1C:1 1F:2 21:2
23:2 2C:1 2D:1 2E:1 2F:1 30:1 31:2 33:1 34:4 38:4 3C:2 3D:2 3E:2 41:4 42:2 43:2 44:2 45:1 46:1 47:1 49:1 4A:1 4C:1 4D:2 4E:2 51:1
56:1 5B:1 5C:1 5E:2 61:1 62:1 63:2 67:3 9A:6 9D:4 A6:4 B2:1`

func lengths(t *testing.T) map[string]int {
	out := map[string]int{}
	for _, f := range strings.Fields(pidLengths) {
		pid, n, ok := strings.Cut(f, ":")
		require.True(t, ok)
		out[pid] = int(n[0] - '0')
	}
	return out
}

// payload asks one ECU physically and returns its answer, "" for silence or refusal.
func payload(t *testing.T, ts *tester, e *sim.ECU, request string) string {
	t.Helper()
	if ts.v.Legacy() {
		return ""
	}
	for _, a := range e.Addresses {
		for _, answer := range ts.ask(t, a.Request, request) {
			_, p, _ := strings.Cut(answer, ":")
			if !strings.HasPrefix(p, "7F") {
				return p
			}
		}
	}
	return ""
}

func number(t *testing.T, s string) (n int) {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	for _, x := range b {
		n = n<<8 | int(x)
	}
	return n
}

// A virtual car whose data contradicts itself would teach the tests nonsense.
func TestVehiclesAgreeWithThemselves(t *testing.T) {
	length := lengths(t)
	for name := range vehicles(t) {
		if name == "broken-mute" || name == "broken-garbage" || name == "broken-short" || name == "broken-overlong" {
			continue // they contradict themselves for a living
		}
		t.Run(name, func(t *testing.T) {
			shared := load(t, name)
			spec := shared.v.Spec()
			for i := range spec.ECUs {
				e := &spec.ECUs[i]
				fresh := func(request string) string {
					if strings.HasPrefix(name, "broken-") {
						return payload(t, load(t, name), e, request) // a fault may depend on what was asked before
					}
					return payload(t, shared, e, request)
				}
				for pid := range e.PIDs {
					require.Contains(t, length, pid, "the length of this parameter is not known here")
					if !shared.v.Legacy() {
						require.Len(t, fresh("01"+pid), 4+2*length[pid], "%s %s", e.Name, pid)
					}
				}
				if e.DTCs != nil && e.PIDs != nil {
					require.Contains(t, e.PIDs, "01", "an ECU with codes has a monitor status")
					a := number(t, e.PIDs["01"][:2])
					require.Equal(t, len(e.DTCs.Stored), a&0x7F, "%s: number of codes", e.Name)
				}
				if f, ok := e.Freeze["02"]; ok {
					require.NotNil(t, e.DTCs)
					require.Contains(t, e.DTCs.Stored, "P"+strings.ReplaceAll(f, " ", ""), "the freeze frame's code is stored")
				}
				if cal, cvn := fresh("0904"), fresh("0906"); cal != "" && cvn != "" {
					require.Equal(t, cal[4:6], cvn[4:6], "%s: as many CVNs as calibrations", e.Name)
					require.Len(t, cal, 6+32*number(t, cal[4:6]))
					require.Len(t, cvn, 6+8*number(t, cvn[4:6]))
				}
				consumption(t, name, fresh)
			}
		})
	}
}

// consumption checks the record of 09 17 (or 22 F817) against the odometer and common sense.
func consumption(t *testing.T, name string, fresh func(string) string) {
	rec, odo := fresh("0917"), fresh("01A6")
	if rec == "" {
		if rec = fresh("22F817"); rec != "" {
			rec, odo = "491701"+rec[6:], "41A6"+fresh("22F4A6")[6:]
		}
	}
	if rec == "" {
		return
	}
	require.Len(t, rec, 38)
	km10, cl := number(t, rec[14:22]), number(t, rec[30:38])
	if odo != "" {
		o := number(t, odo[4:])
		require.LessOrEqual(t, km10, o+10, "distance within the odometer")
		require.Greater(t, km10, o*9/10)
	}
	per100 := float64(cl) / float64(km10) * 10
	switch name {
	case "bev":
		require.Equal(t, "FFFFFFFF", rec[30:])
		require.Equal(t, "FFFFFFFF", rec[22:30])
	case "e350":
		require.Equal(t, "491701000030E0000030EB0000724A0000727E", rec, "the captured bytes")
	case "phev":
		require.InDelta(t, 3.1, per100, 0.1)
		cd := number(t, fresh("091A")[14:22]) + number(t, fresh("091A")[30:38]) + number(t, fresh("091A")[46:54])
		require.Less(t, cd, km10)
		require.Less(t, number(t, fresh("091B")[14:22])+number(t, fresh("091B")[30:38]), cl)
		require.Len(t, fresh("091C"), 54)
	default:
		require.Greater(t, per100, 5.0)
		require.Less(t, per100, 9.0)
	}
}

func must(t *testing.T, name string) *sim.Vehicle {
	t.Helper()
	v, err := sim.Load(name)
	require.NoError(t, err)
	return v
}

// A canary that is never sent proves nothing when it is not found.
func TestCanariesAreReallySent(t *testing.T) {
	seen := 0
	for name, v := range vehicles(t) {
		if len(v.Spec().Canaries) == 0 {
			continue
		}
		sent := ""
		v.SetTraffic(true, 0)
		for now := time.Duration(0); now < 2*time.Second; now += time.Millisecond {
			for f, ok := v.Next(now); ok; f, ok = v.Next(now) {
				sent += hex.EncodeToString(f.Bytes()) + "|"
			}
		}
		v.SetTraffic(false, 2*time.Second)
		for i := range v.Spec().ECUs {
			e := &v.Spec().ECUs[i]
			if e.UDSDTCs == nil {
				continue
			}
			for _, c := range e.UDSDTCs.Codes {
				sent += strings.ToLower(payload(t, load(t, name), e, "1904"+c.Code+"FF")) + "|"
			}
		}
		for _, c := range v.Spec().Canaries {
			b, err := sim.Literal(c.Bytes)
			require.NoError(t, err)
			require.Contains(t, sent, hex.EncodeToString(b), "%s: %s", name, c.Name)
			seen++
		}
	}
	require.Greater(t, seen, 10)
}

func TestPlainCars(t *testing.T) {
	require.GreaterOrEqual(t, len(must(t, "golf8").Spec().ECUs[0].PIDs), 35)
	for _, c := range []struct {
		car, to, request string
		want             []string
	}{
		{"tahoe", "18DB33F1", "0100", []string{"18DAF110:4100983B0013", "18DAF118:410080100011", "18DAF11D:410080000010"}},
		{"tahoe", "7DF", "0100", nil},
		{"tahoe", "18DA10F1", "19020D", []string{"18DAF110:7F1978", "18DAF110:5902CF01911108C4058108"}},
		{"tahoe", "18DB33F1", "0105420C", []string{"18DAF110:410580423700" + "0C0AF0", "18DAF118:414236EC0C0AF0"}},
		{"mini", "6F1/60", "22D10D", []string{"660:62D10D0000FAD20000FAD2"}},
		{"mini", "6F1/DF", "190208", []string{"612:5902FF1F09102C", "618:5902FF", "660:5902FFE10C4F28"}},
		{"mini", "6F1/12", "0105", []string{"612:410586"}},
		{"mini", "7DF", "22F190", nil},
		{"mini", "7DF", "03", []string{"7E8:4300", "7E9:4300"}},
		{"bev", "7DF", "0917", []string{"7EA:491701FFFFFFFF000335A9FFFFFFFFFFFFFFFF"}},
		{"bev", "7DF", "03", []string{"7EA:4300", "7EB:4300", "7EC:43010AA6", "7ED:4300"}},
		{"obdonuds", "7DF", "0100", nil},
		{"obdonuds", "7E0", "0100", []string{"7E8:7F0111"}},
		{"obdonuds", "7DF", "22F810", []string{"7E8:62F81002", "7EB:62F81002"}},
		{"obdonuds", "7E0", "22F817", []string{"7E8:62F817FFFFFFFF0001D66FFFFFFFFF00010771"}},
		{"obdonuds", "7E3", "22F401F442", []string{"7EB:7F2213"}},
		{"obdonuds", "7E0", "19423308 1E", []string{"7E8:594233FFFF0420013400AF20010700AF"}},
		{"e350", "7E1", "01010C", []string{"7E9:7F0113"}},
	} {
		t.Run(c.car+" "+c.to+" "+c.request, func(t *testing.T) {
			require.ElementsMatch(t, c.want, load(t, c.car).ask(t, c.to, c.request))
		})
	}
}

// legacyAsk puts a request on a K-line and returns "8710:4902..." in order.
func legacyAsk(t *testing.T, v *sim.Vehicle, header uint32, request ...byte) []string {
	t.Helper()
	v.Handle(frame.New(header, frame.Legacy, request...), 0)
	var out []string
	for f, ok := v.Next(5 * time.Second); ok; f, ok = v.Next(5 * time.Second) {
		require.True(t, f.Is(frame.Legacy))
		require.NoError(t, f.Validate())
		out = append(out, f.IDString()+":"+strings.ToUpper(hex.EncodeToString(f.Bytes())))
	}
	return out
}

func TestLegacy(t *testing.T) {
	vin := legacyAsk(t, must(t, "legacy"), 0xC233F1, 9, 2)
	require.Equal(t, []string{"87F110:49020100000057", "87F110:49020241555A5A", "87F110:4902035A385030", "87F110:49020435413030", "87F110:49020530303036"}, vin)
	codes := legacyAsk(t, must(t, "legacy"), 0xC133F1, 3)
	require.ElementsMatch(t, []string{"87F110:43042001710300", "87F110:430456C1210000", "87F118:43000000000000"}, codes)
	require.Equal(t, []string{"87F110:490001FC000000"}, legacyAsk(t, must(t, "legacy"), 0x8210F1, 9, 0))
	require.Nil(t, legacyAsk(t, must(t, "legacy"), 0x8233F1, 9, 0x17))
	require.Equal(t, []string{"83F110:7F0912"}, legacyAsk(t, must(t, "legacy"), 0x8210F1, 9, 0x17))
}

func TestBrokenCars(t *testing.T) {
	healthy := load(t, "broken-sequence").ask(t, "7DF", "0105")[0]
	require.Equal(t, "7E8:41057B", healthy)
	t.Run("short", func(t *testing.T) {
		ts := load(t, "broken-short")
		require.Contains(t, ts.ask(t, "7E0", "0105"), "7E8:4105")
		require.Contains(t, ts.ask(t, "7E0", "0917"), "7E8:491701FFFFFFFF00049840FFFFFFFF0002")
		require.Contains(t, ts.ask(t, "7E0", "0902"), "7E8:490201"+hexOf("WVWZZZAUZMW0000"))
		require.Contains(t, ts.ask(t, "7E0", "010F"), "7E8:410F44")
	})
	t.Run("overlong", func(t *testing.T) {
		require.Equal(t, []string{"7E8:41057B005A"}, load(t, "broken-overlong").ask(t, "7E0", "0105"))
	})
	t.Run("interleave", func(t *testing.T) {
		ts := load(t, "broken-interleave")
		got := ts.ask(t, "7DF", "0902")
		require.Len(t, got, 3)
		changes := 0
		for i := 1; i < len(ts.order); i++ {
			if ts.order[i] != ts.order[i-1] {
				changes++
			}
		}
		require.Greater(t, changes, 5, "frames of different ECUs alternate")
		require.NotEqual(t, ts.order[0], got[0][:3], "the first to begin is not the first to end")
	})
	t.Run("duplicate", func(t *testing.T) {
		ts := load(t, "broken-duplicate")
		require.Equal(t, []string{"7E8:41057B", "7E8:41057B"}, ts.ask(t, "7E0", "0105"))
		require.Len(t, ts.seen, 2)
	})
	t.Run("sequence", func(t *testing.T) {
		ts := load(t, "broken-sequence")
		require.Empty(t, ts.ask(t, "7E0", "0902"))
		require.Equal(t, []byte{0x10, 0x21}, firsts(ts.seen))
		require.Len(t, ts.ask(t, "7E0", "0902"), 1)
		require.Equal(t, []byte{0x10, 0x21, 0x22}, firsts(ts.seen))
	})
	t.Run("pending", func(t *testing.T) {
		ts := load(t, "broken-pending")
		ts.v.Handle(frame.New(0x7DF, 0, 1, 3), 0)
		last := ""
		n := 0
		for f, ok := ts.v.Next(time.Minute); ok; f, ok = ts.v.Next(time.Minute) {
			last = f.IDString()
			n++
		}
		require.Equal(t, "7E9", last)
		require.Greater(t, n, 100)
	})
	t.Run("busy", func(t *testing.T) {
		ts := load(t, "broken-busy")
		for range 3 {
			require.Equal(t, []string{"7E8:7F0921"}, ts.ask(t, "7E0", "0902"))
		}
		require.NotEqual(t, []string{"7E8:7F0921"}, ts.ask(t, "7E0", "0902"))
		require.Equal(t, []string{"7E9:7F0921"}, ts.ask(t, "7E1", "0902"))
	})
	t.Run("mute", func(t *testing.T) {
		ts := load(t, "broken-mute")
		require.Empty(t, ts.ask(t, "7DF", "0100"))
		require.Len(t, ts.v.Log(), 1, "it was asked all the same")
	})
	t.Run("half", func(t *testing.T) {
		ts := load(t, "broken-half")
		require.Len(t, ts.ask(t, "7E0", "0902"), 1)
		require.Empty(t, ts.ask(t, "7E0", "0904"))
		require.Equal(t, []byte{0x10, 0x21}, firsts(ts.seen))
		require.Empty(t, ts.ask(t, "7E0", "0902"))
	})
	t.Run("garbage", func(t *testing.T) {
		v := must(t, "broken-garbage")
		v.Handle(frame.New(0x7DF, 0, 2, 1, 0), 0)
		var ids []string
		for f, ok := v.Next(time.Second); ok; f, ok = v.Next(time.Second) {
			require.NoError(t, f.Validate())
			ids = append(ids, f.IDString())
		}
		slices.Sort(ids)
		require.Equal(t, []string{"7E8", "7E9", "7E9", "7E9"}, ids)
	})
}

func firsts(fs []frame.Frame) (b []byte) {
	for _, f := range fs {
		b = append(b, f.Data[0])
	}
	return b
}
