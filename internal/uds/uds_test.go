package uds_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/obd"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"
	"obdgate/internal/uds"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func show(out []reading.Reading) (s []string) {
	for _, r := range out {
		switch v := r.Value.(type) {
		case reading.Absent:
			s = append(s, fmt.Sprintf("%s=absent:%s", r.Key, v.Why))
		case reading.Identity:
			s = append(s, fmt.Sprintf("%s=%s", r.Key, v.Reveal()))
		case reading.Code:
			if v.Label != "" {
				s = append(s, fmt.Sprintf("%s=%s %02X", r.Key, v.Label, r.Raw[len(r.Raw)-1]))
			} else {
				s = append(s, fmt.Sprintf("%s=%d", r.Key, v.N))
			}
		default:
			s = append(s, fmt.Sprintf("%s=%v", r.Key, v))
		}
	}
	return s
}

const vinText = "5756575A5A5A4344304E57303030303031" // WVWZZZCD0NW000001

var cases = []struct {
	name, req, resp string
	want            []string
	err             error
}{
	// service 22
	{"VIN", "22F190", "62F190" + vinText, []string{"uds.22.F190=WVWZZZCD0NW000001"}, nil},
	{"VIN padded to 24", "22F190", "62F190" + vinText + "00000000000000", []string{"uds.22.F190=WVWZZZCD0NW000001"}, nil},
	{"VIN with a byte too many", "22F190", "62F190" + vinText + "39", []string{"uds.22.F190=WVWZZZCD0NW000001"}, obd.ErrOverlong},
	{"VIN cut off", "22F190", "62F190" + vinText[:32], nil, obd.ErrShort},
	{"VIN never written", "22F190", "62F190FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", []string{"uds.22.F190=absent:not available"}, nil},
	{"part number with a trailing space", "22F187", "62F1873351303930393134344B20", []string{"uds.22.F187=3Q0909144K"}, nil},
	{"version in bytes", "22F195", "62F1950000", []string{"uds.22.F195=0000"}, nil},
	{"nothing written", "22F195", "62F195FFFF", []string{"uds.22.F195=absent:not available"}, nil},
	{"date in BCD", "22F18B", "62F18B170615", []string{"uds.22.F18B=2017-06-15"}, nil},
	{"date in ASCII", "22F18B", "62F18B3230323130333034", []string{"uds.22.F18B=2021-03-04"}, nil},
	{"no date", "22F18B", "62F18B179915", []string{"uds.22.F18B=179915"}, nil},
	{"session", "22F186", "62F18603", []string{"uds.22.F186=3"}, nil},
	{"supplier number", "22F18A", "62F18A000008", []string{"uds.22.F18A=8"}, nil},
	{"maker's own text", "22F111", "62F111424A33322D3132423638342D564200000000", []string{"uds.22.F111=BJ32-12B684-VB"}, nil},
	{"maker's own bytes", "222813", "6228130BB8", []string{"uds.22.2813=0BB8"}, nil},
	{"PID as DID", "22F405", "62F40553", []string{"uds.22.F405=43 degC"}, nil},
	{"odometer as DID", "22F4A6", "62F4A6000A3EFC", []string{"uds.22.F4A6=67148.4 km"}, nil},
	{"odometer as DID, cut off", "22F4A6", "62F4A6000A3E", nil, obd.ErrShort},
	{"supported PIDs as DID", "22F400", "62F400BE3FA813", []string{"uds.22.F400=3191842835"}, nil},
	{"monitor result as DID", "22F621", "62F621802000340000009E", []string{"uds.22.F621.80.value=0.203125 ratio", "uds.22.F621.80.min=0 ratio", "uds.22.F621.80.max=0.617188 ratio", "uds.22.F621.80.result=passed 9E"}, nil},
	{"VIN as InfoType with count byte", "22F802", "62F80201" + vinText, []string{"uds.22.F802=WVWZZZCD0NW000001"}, nil},
	{"VIN as InfoType without", "22F802", "62F802" + vinText, []string{"uds.22.F802=WVWZZZCD0NW000001"}, nil},
	{"calibration as InfoType with count byte", "22F804", "62F80401" + "3331324A363030300000000000000000", []string{"uds.22.F804=312J6000"}, nil},
	{"calibration as InfoType without", "22F804", "62F804" + "3331324A363030300000000000000000", []string{"uds.22.F804=312J6000"}, nil},
	{"verification numbers without count byte", "22F806", "62F8066953CD4B611F6EF2", []string{"uds.22.F806=6953CD4B", "uds.22.F806=611F6EF2"}, nil},
	{"consumption record", "22F817", "62F817000030E0000030EB0000724A0000727E", nil, obd.ErrService},
	{"two DIDs of known length", "22F405F40C", "62F40553F40C1AF8", []string{"uds.22.F405=43 degC", "uds.22.F40C=1726 rpm"}, nil},
	{"three DIDs, one left out", "22F187F189F182", "62F18730344C393036303236544DF18936383437", []string{"uds.22.F187=04L906026TM", "uds.22.F189=6847"}, nil},
	{"DIDs that cannot be told apart", "222000F405", "62200011F40553F40555", nil, obd.ErrAmbiguous},
	{"DID not asked", "22F190", "62F18C30", nil, obd.ErrMismatch},
	{"DID without data", "22F190", "62F190", nil, obd.ErrShort},
	{"odd question", "22F1", "62F190", nil, obd.ErrService},
	// service 19
	{"no codes", "1902FF", "5902FF", []string{"uds.19.02.availability=255"}, nil},
	{"codes with status", "19020D", "5902CF01911108C4058108", []string{"uds.19.02.availability=207", "uds.19.02.dtc=P0191-11 08", "uds.19.02.dtc=U0405-81 08"}, nil},
	{"codes the mask did not ask for are kept", "19020C", "5902FFCD962820", []string{"uds.19.02.availability=255", "uds.19.02.dtc=U0D96-28 20"}, nil},
	{"code cut off", "19020D", "5902CF01911108C405", []string{"uds.19.02.availability=207", "uds.19.02.dtc=P0191-11 08"}, obd.ErrShort},
	{"no availability", "19020D", "5902", nil, obd.ErrShort},
	{"number of codes", "1901FF", "5901FF010003", []string{"uds.19.01.availability=255", "uds.19.01.format=ISO 14229-1 03", "uds.19.01.count=3"}, nil},
	{"WWH-OBD codes with severity", "194233FFFF", "594233FFFF0420030100AF", []string{"uds.19.42.availability=255", "uds.19.42.dtc=P0301-00 AF"}, nil},
	{"WWH-OBD permanent codes", "195533", "595533FF04030100AF", []string{"uds.19.55.availability=255", "uds.19.55.dtc=P0301-00 AF"}, nil},
	{"SPN and FMI are no J2012", "195533", "595533FF02030100AF", []string{"uds.19.55.availability=255", "uds.19.55.dtc=030100 AF"}, nil},
	{"snapshot kept as bytes", "1904030E05FF", "5904030E05200120170001", []string{"uds.19.04.dtc=P030E-05 20", "uds.19.04.raw=0120170001"}, nil},
	{"snapshot of another code", "1904030E05FF", "5904030E06200120170001", nil, obd.ErrMismatch},
	{"extended data kept as bytes", "1906030E05FF", "5906030E05200100", []string{"uds.19.06.dtc=P030E-05 20", "uds.19.06.raw=0100"}, nil},
	{"two snapshots of known width", "1904030100FF", "5904030100AF0102F40553F40D3C0201F40C1AF8", []string{"uds.19.04.dtc=P0301-00 AF", "uds.19.04.F405=43 degC", "uds.19.04.F40D=60 km/h", "uds.19.04.F40C=1726 rpm"}, nil},
	{"known width, then the maker's own", "1904030100FF", "5904030100AF0102F4055317000001", []string{"uds.19.04.dtc=P0301-00 AF", "uds.19.04.F405=43 degC", "uds.19.04.raw=010117000001"}, nil},
	{"codes with severity", "1908C0FF", "5908FB8099123456208010C1000009", []string{"uds.19.08.availability=251", "uds.19.08.dtc=P1234-56 20", "uds.19.08.dtc=U0100-00 09"}, nil},
	{"one code's severity", "1909123456", "5909FB809912345620", []string{"uds.19.09.availability=251", "uds.19.09.dtc=P1234-56 20"}, nil},
	{"severity cut off", "1908C0FF", "5908FB80991234", []string{"uds.19.08.availability=251"}, obd.ErrShort},
	{"fault detection counters", "1914", "5914123456011234577E12345880", []string{"uds.19.14.counter=1", "uds.19.14.counter=126", "uds.19.14.counter=-128"}, nil},
	{"a snapshot by its number", "190502", "50", nil, obd.ErrMismatch},
	{"a snapshot record by its number", "190502", "59050212345624014711A6", []string{"uds.19.05.dtc=P1234-56 24", "uds.19.05.raw=014711A6"}, nil},
	{"a snapshot record that is empty", "190502", "590502", nil, nil},
	{"a snapshot of a user memory", "19181234560299", "5918991234562402014711", []string{"uds.19.18.dtc=P1234-56 24", "uds.19.18.raw=02014711"}, nil},
	{"snapshot records stored", "1903", "590303010001C1000002", []string{"uds.19.03.record=1", "uds.19.03.record=2"}, nil},
	{"snapshot records cut off", "1903", "590303010001C100", []string{"uds.19.03.record=1"}, obd.ErrShort},
	{"every code the ECU knows", "190A", "590AFF03010050C1008708", []string{"uds.19.0A.availability=255", "uds.19.0A.dtc=P0301-00 50", "uds.19.0A.dtc=U0100-87 08"}, nil},
	{"readiness group", "19563301", "595633FF040103010050", []string{"uds.19.56.availability=255", "uds.19.56.dtc=P0301-00 50"}, nil},
	{"another report", "19020D", "590AFF", nil, obd.ErrMismatch},
	// 10, 14, 3E, KWP
	{"session timing", "1003", "5003012B01F4", []string{"uds.10.p2_ms=299 ms", "uds.10.p2_star_ms=5000 ms"}, nil},
	{"session without timing", "1003", "5003", nil, nil},
	{"maker's session", "1090", "5090", nil, nil},
	{"half a timing", "1003", "500301", nil, obd.ErrShort},
	{"cleared", "14FFFFFF", "54", nil, nil},
	{"present", "3E00", "7E00", nil, nil},
	{"KWP, none", "1800FF00", "5800", nil, nil},
	{"KWP codes", "1800FF00", "58010301E0", []string{"kwp.18.dtc=P0301 E0"}, nil},
	{"KWP codes cut off", "1800FF00", "58020301E0", []string{"kwp.18.dtc=P0301 E0"}, obd.ErrShort},
	{"KWP local identifier", "2128", "6128007023", []string{"kwp.21.28=007023"}, nil},
	{"KWP VIN", "1A90", "5A90" + vinText, []string{"kwp.1A.90=WVWZZZCD0NW000001"}, nil},
	{"KWP, end of a VIN is no VIN", "1A90", "5A9056473131313131", []string{"kwp.1A.90=absent:damaged"}, nil},
	{"another service", "22F190", "4100BE3FA813", nil, obd.ErrMismatch},
	{"not ours", "2701", "6701", nil, obd.ErrService},
}

func TestDecode(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, err := uds.Decode(unhex(t, c.req), unhex(t, c.resp))
			require.Equal(t, c.want, show(out))
			if c.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.err)
			require.NotContains(t, err.Error(), "WVW")
		})
	}
}

// A maker's layout splits what the standard leaves; what stays unknown stays whole, and nothing is lost or doubled.
func TestByMaker(t *testing.T) {
	for _, c := range []struct{ req, resp, std, bmw string }{
		{"19041F0910FF", "59041F09102C0103" + "17000000F9F4" + "170102A41B7C" + "17032F59", "uds.19.04.raw=010317000000F9F4170102A41B7C17032F59",
			"uds.19.04.1700=63988 km|uds.19.04.1701=02A41B7C|uds.19.04.raw=010117032F59"},
		{"19041F0910FF", "59041F09102C0102" + "1700FFFFFFFF" + "F40553" + "0201170000000001", "uds.19.04.raw=01021700FFFFFFFFF405530201170000000001",
			"uds.19.04.1700=absent:not available|uds.19.04.F405=43 degC|uds.19.04.1700=1 km"},
		{"1906030E05FF", "5906030E0520010502FF0307", "uds.19.06.raw=010502FF0307", "uds.19.06.01=5|uds.19.06.02=255|uds.19.06.03=7"},
		{"1906030E05FF", "5906030E052001050999", "uds.19.06.raw=01050999", "uds.19.06.01=5|uds.19.06.raw=0999"},
	} {
		out, err := uds.Decode(unhex(t, c.req), unhex(t, c.resp))
		require.NoError(t, err)
		require.Equal(t, c.std, strings.Join(show(out[1:]), "|"))
		for i := range out {
			out[i].ECU, out[i].From = "612", []uint64{7}
		}
		split := uds.ByMaker(uds.BMW, out)
		require.Equal(t, c.bmw, strings.Join(show(split[1:]), "|"))
		require.Equal(t, show(split), show(uds.ByMaker(uds.BMW, split)), "once more changes nothing")
		require.Equal(t, show(out), show(uds.ByMaker("", out)), "nobody's layout is not guessed")
		for _, r := range split[1:] {
			code, record, ok := uds.RecordOf(r)
			require.True(t, ok)
			require.Equal(t, out[0].Value.(reading.Code).Label, code.String())
			require.Positive(t, record)
			require.Equal(t, "612", r.ECU)
			require.Equal(t, []uint64{7}, r.From)
			require.Equal(t, !strings.HasSuffix(string(r.Key), "raw") && r.Key != "uds.19.04.F405", uds.Unconfirmed(r.Key), r.Key)
		}
	}
	require.False(t, uds.Unconfirmed("uds.22.F190"))
}

func TestNegative(t *testing.T) {
	_, err := uds.Decode(unhex(t, "22F190"), unhex(t, "7F2231"))
	var n *obd.Negative
	require.ErrorAs(t, err, &n)
	require.Equal(t, byte(0x31), n.Code)
}

// A question for several DIDs must give what the DIDs give one by one, or say that it cannot be told.
func TestSeveralDIDsAreTheSumOfTheirParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dids := rapid.SliceOfNDistinct(rapid.SampledFrom([]uint16{0xF187, 0xF189, 0xF405, 0xF40C, 0xF4A6, 0x2813, 0xF18C}), 2, 5, rapid.ID).Draw(t, "dids")
		req, resp := []byte{0x22}, []byte{0x62}
		var want []string
		for _, d := range dids {
			req = append(req, byte(d>>8), byte(d))
			n := rapid.IntRange(1, 12).Draw(t, "n")
			if least, _, ok := obd.Lengths(byte(d)); d>>8 == 0xF4 && ok {
				n = least
			}
			data := rapid.SliceOfN(rapid.ByteRange(0x20, 0x7E), n, n).Draw(t, "data")
			if rapid.Bool().Draw(t, "left out") {
				continue
			}
			resp = append(append(resp, byte(d>>8), byte(d)), data...)
			one, err := uds.Decode([]byte{0x22, byte(d >> 8), byte(d)}, append([]byte{0x62, byte(d >> 8), byte(d)}, data...))
			require.NoError(t, err)
			want = append(want, show(one)...)
		}
		if len(resp) == 1 {
			return
		}
		out, err := uds.Decode(req, resp)
		if errors.Is(err, obd.ErrAmbiguous) || errors.Is(err, obd.ErrMismatch) {
			return // data that looks like a DID that was asked: refused, never guessed
		}
		require.NoError(t, err)
		require.Equal(t, want, show(out))
	})
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		f.Add(unhex(f, c.req), unhex(f, c.resp))
	}
	f.Fuzz(func(t *testing.T, req, resp []byte) {
		before := string(resp)
		out, err := uds.Decode(req, resp)
		require.Equal(t, before, string(resp), "the answer was written to")
		for _, r := range out {
			require.NotNil(t, r.Value)
			require.NotEmpty(t, r.Key)
			require.NotEmpty(t, r.Raw)
			require.Equal(t, resp[0], r.Raw[0])
		}
		if err == nil && len(req) == 3 && req[0] == 0x22 && len(out) > 0 && req[1] != 0xF6 { // the bytes are in the answer and nowhere else
			require.Equal(t, resp, out[0].Raw)
		}
		if err == nil && len(req) > 1 && req[0] == 0x19 && resp[1] == 0x02 { // encode again
			back := append([]byte(nil), resp[:3]...)
			for _, r := range out[1:] {
				back = append(back, r.Raw[2:]...)
			}
			require.Equal(t, strings.ReplaceAll(string(resp[3:]), "\x00\x00\x00\x00", ""), strings.ReplaceAll(string(back[3:]), "\x00\x00\x00\x00", ""))
		}
	})
}

func BenchmarkCodes(b *testing.B) {
	req, resp := unhex(b, "19020D"), unhex(b, "5902CF01911108C405810801911208C405820801911308C4058308")
	b.ReportAllocs()
	for b.Loop() {
		if out, err := uds.Decode(req, resp); err != nil || len(out) != 7 {
			b.Fatal(err, len(out))
		}
	}
}
