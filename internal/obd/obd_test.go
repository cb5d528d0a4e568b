package obd_test

import (
	"errors"
	"fmt"
	"testing"

	"obdgate/internal/obd"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// show writes readings as "key=value" for tables.
func show(out []reading.Reading) (s []string) {
	for _, r := range out {
		switch v := r.Value.(type) {
		case reading.Absent:
			s = append(s, fmt.Sprintf("%s=absent:%s", r.Key, v.Why))
		case reading.Identity:
			s = append(s, fmt.Sprintf("%s=%s", r.Key, v.Reveal()))
		case reading.Quantity:
			s = append(s, fmt.Sprintf("%s=%s", r.Key, v))
		case reading.Code:
			if text, ok := plain(v).(string); ok {
				s = append(s, fmt.Sprintf("%s=%s", r.Key, text))
			} else {
				s = append(s, fmt.Sprintf("%s=%d", r.Key, v.N))
			}
		default:
			s = append(s, fmt.Sprintf("%s=%v", r.Key, v))
		}
	}
	return s
}

// cases feed the table test, the fuzz targets and the properties. Bytes of real cars where vectors hold them; composed where
// the case is a fault.
var cases = []struct {
	name, req, resp string
	legacy          bool
	want            []string
	err             error
}{
	// service 01
	{"one PID", "0105", "410553", false, []string{"obd.01.05=43 degC"}, nil},
	{"two PIDs in the ECU's order", "010C05", "41055A0C1AF8", false, []string{"obd.01.05=50 degC", "obd.01.0C=1726 rpm"}, nil},
	{"unsupported PID left out", "01050C2F", "41055A2FFF", false, []string{"obd.01.05=50 degC", "obd.01.2F=100 %"}, nil},
	{"trim of one bank in a combined answer", "010607", "410689078A", false, []string{"obd.01.06.stft_bank1=7.03125 %", "obd.01.07.ltft_bank1=7.8125 %"}, nil},
	{"trim of two banks in a combined answer", "01060C", "410689800C1AF8", false, []string{"obd.01.06.stft_bank1=7.03125 %", "obd.01.06.stft_bank3=0 %", "obd.01.0C=1726 rpm"}, nil},
	{"a split nobody can be sure of", "010607", "410607070780", false, nil, obd.ErrAmbiguous},
	{"extra bank that is not fitted", "0106", "41069AFF", false, []string{"obd.01.06.stft_bank1=20.3125 %", "obd.01.06.stft_bank3=absent:not available"}, nil},
	{"support bit off", "0167", "4167017A00", false, []string{"obd.01.67.coolant_temp_1=82 degC", "obd.01.67.coolant_temp_2=absent:not available"}, nil},
	{"full counter", "0131", "4131FFFF", false, []string{"obd.01.31=65535 km"}, nil},
	{"odometer not available", "01A6", "41A6FFFFFFFF", false, []string{"obd.01.A6=absent:not available"}, nil},
	{"PID nobody described", "01F3", "41F3AB01", false, []string{"obd.01.F3=AB01"}, nil},
	{"fourteen bytes where one belongs", "014C", "414C3C0C0C0C0C0C0C0C0C0C0C0C0C0C", false, []string{"obd.01.4C=23.529412 %"}, obd.ErrOverlong},
	{"half an odometer", "01A6", "41A60001", false, nil, obd.ErrShort},
	{"echo only", "0105", "4105", false, nil, obd.ErrShort},
	{"service byte only", "0105", "41", false, nil, obd.ErrShort},
	{"nothing", "0105", "", false, nil, obd.ErrShort},
	{"another tester's PID", "0113", "41111E", false, nil, obd.ErrMismatch},
	{"another service", "0105", "62F40555", false, nil, obd.ErrMismatch},
	{"combined answer cut off", "01050C", "41055A0C1A", false, nil, obd.ErrShort},
	{"combined answer with a PID not asked", "01050C", "41055A2FFF", false, nil, obd.ErrMismatch},
	{"combined answer with a PID twice", "01050C", "41055A055A", false, nil, obd.ErrMismatch},
	{"combined answer with a length nobody knows", "0105F3", "41055AF301", false, nil, obd.ErrLength},
	// service 02
	{"freeze frame", "020500", "42050016", false, []string{"obd.02.05=-18 degC"}, nil},
	{"freeze frame code", "020200", "4202001233", false, []string{"obd.02.02=P1233"}, nil},
	{"no freeze frame", "020200", "4202000000", false, []string{"obd.02.02=absent:not available"}, nil},
	{"two pairs", "020500" + "0C00", "420500160C001AF8", false, []string{"obd.02.05=-18 degC", "obd.02.0C=1726 rpm"}, nil},
	{"another frame", "020501", "42050016", false, nil, obd.ErrMismatch},
	{"freeze frame cut off", "020C00", "420C001A", false, nil, obd.ErrShort},
	// services 03, 07, 0A
	{"no codes", "03", "4300", false, nil, nil},
	{"two codes", "03", "430201430420", false, []string{"obd.dtc.stored=P0143", "obd.dtc.stored=P0420"}, nil},
	{"pending codes", "07", "4702226D226E", false, []string{"obd.dtc.pending=P226D", "obd.dtc.pending=P226E"}, nil},
	{"permanent code", "0A", "4A010106", false, []string{"obd.dtc.permanent=P0106"}, nil},
	{"a list cut off is not a healthy car", "03", "4302014304", false, []string{"obd.dtc.stored=P0143"}, obd.ErrShort},
	{"a count without codes", "03", "4303", false, nil, obd.ErrShort},
	{"no count", "03", "43", false, nil, obd.ErrShort},
	{"more than the count", "03", "43010143FFFF", false, []string{"obd.dtc.stored=P0143"}, obd.ErrOverlong},
	{"padding in a list", "03", "430201430000", false, []string{"obd.dtc.stored=P0143"}, nil},
	{"K-line, none", "03", "43000000000000", true, nil, nil},
	{"K-line, four codes in two messages", "03", "43010201030104010500000000", true, []string{"obd.dtc.stored=P0102", "obd.dtc.stored=P0103", "obd.dtc.stored=P0104", "obd.dtc.stored=P0105"}, nil},
	{"K-line, cut off", "03", "430102", true, []string{"obd.dtc.stored=P0102"}, obd.ErrShort},
	// service 04
	{"cleared", "04", "44", false, nil, nil},
	// service 06
	{"catalyst", "0621", "4621802000340000009E", false, []string{"obd.06.21.80.value=0.203125 ratio", "obd.06.21.80.min=0 ratio", "obd.06.21.80.max=0.617188 ratio", "obd.06.21.80.result=1"}, nil},
	{"monitor cut off", "0621", "46218020003400", false, nil, obd.ErrShort},
	{"another monitor inside", "0621", "4621802000340000009E22802000340000009E", false, []string{"obd.06.21.80.value=0.203125 ratio", "obd.06.21.80.min=0 ratio", "obd.06.21.80.max=0.617188 ratio", "obd.06.21.80.result=1"}, obd.ErrFormat},
	{"supported monitors", "0600", "4600C0000001", false, []string{"obd.06.00=3221225473"}, nil},
	{"two bitmaps", "060020", "4600C00000012080008001", false, []string{"obd.06.00=3221225473", "obd.06.20=2147516417"}, nil},
	// service 09
	{"supported types", "0900", "490055420000", false, []string{"obd.09.00=1430388736"}, nil},
	{"VIN", "0902", "490201" + "575657" + "5A5A5A" + "4344304E57303030303031", false, []string{"obd.09.02=WVWZZZCD0NW000001"}, nil},
	{"VIN cut off", "0902", "490201" + "575657" + "5A5A5A" + "4344304E573030303030", false, nil, obd.ErrShort},
	{"a name where the VIN belongs", "0902", "490201" + "4F5345565F5F20424D5300000000000000", false, []string{"obd.09.02=absent:damaged"}, nil},
	{"VIN of zeros", "0902", "490201" + "0000000000000000000000000000000000", false, []string{"obd.09.02=absent:not available"}, nil},
	{"VIN with more behind it", "0902", "490201" + "575657" + "5A5A5A" + "4344304E57303030303031" + "39", false, []string{"obd.09.02=WVWZZZCD0NW000001"}, obd.ErrOverlong},
	{"K-line VIN with filler in front", "0902", "490201" + "000000" + "575657" + "5A5A5A" + "4344304E57303030303031", true, []string{"obd.09.02=WVWZZZCD0NW000001"}, nil},
	{"two calibrations", "0904", "490402" + "3331324A36303030" + "0000000000000000" + "4134373031303030" + "0000000000000000", false, []string{"obd.09.04=312J6000", "obd.09.04=A4701000"}, nil},
	{"second calibration cut off", "0904", "490402" + "3331324A36303030" + "0000000000000000" + "41343730", false, []string{"obd.09.04=312J6000"}, obd.ErrShort},
	{"no calibration", "0904", "49040100", false, []string{"obd.09.04=absent:not available"}, nil},
	{"two verification numbers", "0906", "4906026953CD4B611F6EF2", false, []string{"obd.09.06=6953CD4B", "obd.09.06=611F6EF2"}, nil},
	{"ECU name", "090A", "490A01" + "45434D002D456E67696E65436F6E74726F6C0000", false, []string{"obd.09.0A=ECM-EngineControl"}, nil},
	{"no ECU name", "090A", "490A0100", false, []string{"obd.09.0A=absent:not available"}, nil},
	{"in-use ratios", "090B", "490B0200180099", false, []string{"obd.09.0B.obdcond=24", "obd.09.0B.igncntr=153"}, nil},
	{"in-use ratios cut off", "0908", "49081400180099", false, []string{"obd.09.08.obdcond=24", "obd.09.08.igncntr=153"}, obd.ErrShort},
	{"message count on K-line", "0901", "490105", false, []string{"obd.09.01=5"}, nil},
	{"type nobody described", "0940", "494001AB", false, []string{"obd.09.40=01AB"}, nil},
	{"the consumption record is another room's", "0917", "491701000030E0000030EB0000724A0000727E", false, nil, obd.ErrService},
	{"another type", "0902", "490A0100", false, nil, obd.ErrMismatch},
}

func TestDecode(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := obd.Decode
			if c.legacy {
				f = obd.DecodeLegacy
			}
			out, err := f(unhex(t, c.req), unhex(t, c.resp))
			require.Equal(t, c.want, show(out))
			if c.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.err)
			var e *obd.Error
			require.ErrorAs(t, err, &e)
			require.NotContains(t, err.Error(), "WVW", "an error must not carry what was read")
		})
	}
}

func TestNegative(t *testing.T) {
	_, err := obd.Decode(unhex(t, "0902"), unhex(t, "7F0912"))
	var n *obd.Negative
	require.ErrorAs(t, err, &n)
	require.Equal(t, obd.Negative{Service: 9, Code: 0x12}, *n)
	_, err = obd.Decode(unhex(t, "0105"), unhex(t, "7F0912"))
	require.ErrorIs(t, err, obd.ErrMismatch, "a refusal of another question says nothing about this one")
	require.Nil(t, obd.AsNegative(unhex(t, "7F09")))
}

// The technician reads "ready", "not ready", "not fitted" off these bits; real answers.
func TestReadiness(t *testing.T) {
	monitors := func(resp string) (s string, r obd.Readiness) {
		out, err := obd.Decode(nil, unhex(t, resp))
		require.NoError(t, err)
		r, ok := obd.ReadinessFrom(out[3])
		require.True(t, ok)
		for _, m := range r.Monitors {
			switch {
			case m.Supported && m.Complete:
				s += "+" + m.Key + " "
			case m.Supported:
				s += "-" + m.Key + " "
			}
		}
		return s, r
	}
	s, r := monitors("41010007F110")
	require.Equal(t, "+misfire +fuel_system +components +catalyst -ac_refrigerant_or_gpf +oxygen_sensor +oxygen_sensor_heater +egr_vvt ", s)
	require.False(t, r.MIL)
	s, r = monitors("4101830FEBAA")
	require.Equal(t, "+misfire +fuel_system +components +nmhc_catalyst -nox_scr -boost_pressure -exhaust_gas_sensor +particulate_filter -egr_vvt ", s)
	require.True(t, r.MIL && r.Compression)
	require.Equal(t, 3, r.Codes)
	complete, open := r.Complete()
	require.False(t, complete)
	require.Equal(t, 4, open)
	_, r = monitors("41418027E1E5")
	require.False(t, r.MIL, "byte A of PID 41 is reserved")
	require.True(t, r.Cycle)

	var all []reading.Reading
	require.Nil(t, obd.MIL(all))
	require.Nil(t, obd.ReadinessOf(all))
	for ecu, resp := range map[string]string{"18DAF103": "410181040000", "18DAF101": "41010007E500"} { // a car whose lamp is on for another ECU than the engine's
		out, err := obd.Decode(unhex(t, "0101"), unhex(t, resp))
		require.NoError(t, err)
		for i := range out {
			out[i].ECU = ecu
		}
		all = append(all, out...)
	}
	require.True(t, *obd.MIL(all))
	require.Equal(t, "18DAF101", obd.ReadinessOf(all).ECU)
}

func TestMonitorResults(t *testing.T) {
	for _, c := range []struct{ resp, want string }{
		{"463C802F000000000000", "not run"},
		{"463A80FEE0DEE0DE7FFF", "passed"},
		{"463A80FEE0DDE0DE7FFF", "failed"},
		{"46A10B2400030000FFFF", "passed"},
		{"46218020003400FF009E", "not judged"},
		{"46218077003400000099", "not judged"},
	} {
		tests, err := obd.Tests(unhex(t, c.resp))
		require.NoError(t, err)
		require.Equal(t, c.want, tests[0].Result.String(), c.resp)
	}
	tests, _ := obd.Tests(unhex(t, "463A80FEE0DEE0DE7FFF"))
	require.True(t, tests[0].NoHighest)
	require.Equal(t, "-1992.5 Pa", fmt.Sprint(tests[0].Value))
	tests, _ = obd.Tests(unhex(t, "46A10B2400030000FFFF"))
	require.Equal(t, "Misfire monitor, general", tests[0].Monitor)
	require.Equal(t, "average misfire count of the last ten driving cycles", tests[0].Name)
}

func TestSupportAndPlan(t *testing.T) {
	var all []reading.Reading
	for _, a := range [][2]string{{"0100", "4100BE3FA813"}, {"0120", "41208005B015"}, {"0900", "490055420000"}} {
		out, err := obd.Decode(unhex(t, a[0]), unhex(t, a[1]))
		require.NoError(t, err)
		all = append(all, out...)
	}
	s := obd.Supported(0x01, all)
	require.True(t, s.Has(0x01) && s.Has(0x0C) && s.Has(0x20) && s.Has(0x21) && s.Has(0x40) && !s.Has(0x02) && !s.Has(0x22))
	require.Equal(t, []byte{0x02, 0x04, 0x06, 0x08, 0x0A, 0x0F}, obd.Supported(0x09, all).IDs())

	rapid.Check(t, func(t *rapid.T) {
		var set obd.Set
		for _, id := range rapid.SliceOf(rapid.Byte()).Draw(t, "pids") {
			set.Add(id)
		}
		most := rapid.IntRange(1, 6).Draw(t, "most")
		var asked obd.Set
		for _, req := range obd.Plan(set, most) {
			require.Equal(t, byte(0x01), req[0])
			require.LessOrEqual(t, len(req)-1, most)
			bytes := 1
			for _, p := range req[1:] {
				require.False(t, asked.Has(p), "asked twice")
				asked.Add(p)
				_, n, known := obd.Lengths(p)
				require.True(t, known || len(req) == 2, "a PID of unknown length must be asked alone")
				bytes += 1 + n
			}
			require.True(t, bytes <= obd.Budget+1 || len(req) == 2)
		}
		require.Equal(t, set, asked)
	})
}

func TestNotes(t *testing.T) {
	note := func(req, resp string, i int) string {
		out, err := obd.Decode(unhex(t, req), unhex(t, resp))
		require.NoError(t, err)
		return obd.Note(out[i])
	}
	require.Contains(t, note("0131", "4131FFFF", 0), "at least")
	require.Empty(t, note("0131", "4131FFFE", 0))
	require.Contains(t, note("0115", "41159CFF", 1), "not used")
	require.Empty(t, note("0115", "41159CFF", 0))
	out, _ := obd.Decode(unhex(t, "0121"), unhex(t, "4121FFFF"))
	require.True(t, obd.Saturated(out[0]))
}

// Splitting a combined answer must give what the parts give when asked alone.
func TestCombinedIsTheSumOfItsParts(t *testing.T) {
	var known []byte
	for p := range 256 {
		if least, most, ok := obd.Lengths(byte(p)); ok && least == most {
			known = append(known, byte(p))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pids := rapid.SliceOfNDistinct(rapid.SampledFrom(known), 2, 6, rapid.ID).Draw(t, "pids")
		resp := []byte{0x41}
		var parts []string
		for _, p := range pids {
			n, _, _ := obd.Lengths(p)
			data := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "data")
			resp = append(append(resp, p), data...)
			one, err := obd.Decode([]byte{0x01, p}, append([]byte{0x41, p}, data...))
			require.NoError(t, err)
			parts = append(parts, show(one)...)
		}
		order := rapid.Permutation(pids).Draw(t, "asked")
		out, err := obd.Decode(append([]byte{0x01}, order...), resp)
		require.NoError(t, err)
		require.Equal(t, parts, show(out))
	})
}

// invariants every answer must keep: what is returned stands in the answer, and alone it decodes to itself.
func invariants(t *testing.T, req, resp []byte, out []reading.Reading, err error) {
	for _, r := range out {
		require.NotNil(t, r.Value)
		require.NotEmpty(t, r.Key)
		require.NotEmpty(t, r.Name)
		require.LessOrEqual(t, len(r.Raw), len(resp)+1)
		require.Equal(t, req[0]+0x40, r.Raw[0])
	}
	var e *obd.Error
	var n *obd.Negative
	if err != nil {
		require.True(t, errors.As(err, &e) || errors.As(err, &n))
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		f.Add(unhex(f, c.req), unhex(f, c.resp), c.legacy)
	}
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Request), unhex(f, v.Response), false)
	}
	f.Fuzz(func(t *testing.T, req, resp []byte, legacy bool) {
		decode := obd.Decode
		if legacy {
			decode = obd.DecodeLegacy
		}
		before := string(resp)
		out, err := decode(req, resp)
		require.Equal(t, before, string(resp), "the answer was written to")
		if len(req) == 0 {
			return
		}
		invariants(t, req, resp, out, err)
		if len(resp) > 1 && err == nil && req[0] == 0x01 && len(out) > 0 { // each record alone says the same
			for i := 0; i < len(out); {
				raw := out[i].Raw
				alone, err := obd.Decode([]byte{0x01, raw[1]}, raw)
				require.NoError(t, err)
				require.Equal(t, show(alone), show(out[i:i+len(alone)]))
				i += len(alone)
			}
		}
		if err == nil && (req[0] == 0x03 || req[0] == 0x07 || req[0] == 0x0A) && !legacy { // encode again
			back := []byte{req[0] + 0x40, resp[1]}
			for _, r := range out {
				back = append(back, r.Raw[1:]...)
			}
			require.LessOrEqual(t, len(back), len(resp))
			require.Equal(t, 2+2*int(resp[1]), len(resp), "a count that does not fit passed")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct{ name, req, resp string }{
		{"one", "0105", "410553"},
		{"combined", "010C050D2F1142", "410C1AF805530D002FFF11264234B2"},
		{"readiness", "0101", "41010007E500"},
		{"codes", "03", "430401430420010203FF"},
		{"ratios", "0908", "4908140018009A00110018000000000014001800000000001C00180000000000000000000C001800000000"},
	} {
		req, resp := unhex(b, c.req), unhex(b, c.resp)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out, err := obd.Decode(req, resp); err != nil || len(out) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}
