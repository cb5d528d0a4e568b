package decode_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/decode"
	"obdgate/internal/isotp"
	"obdgate/internal/obd"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// show writes a result as "ECU key=value" lines, errors and refusals included.
func show(res decode.Result) (s []string) {
	for _, e := range res.ECUs {
		for _, r := range e.Readings {
			v := fmt.Sprint(r.Value)
			switch x := r.Value.(type) {
			case reading.Identity:
				v = x.Reveal()
			case reading.Absent:
				v = x.Why.String()
			case reading.Code:
				v = fmt.Sprint(x.N)
				if x.Label != "" {
					v = x.Label
				}
			}
			s = append(s, strings.TrimSpace(e.Label+" "+string(r.Key)+"="+v))
		}
		if e.Negative != nil {
			s = append(s, fmt.Sprintf("%s nrc %02X", e.Label, e.Negative.Code))
		}
		if e.Err != nil {
			s = append(s, e.Label+" error")
		}
		if e.Err == nil && e.Negative == nil && len(e.Readings) == 0 {
			s = append(s, e.Label+" nothing")
		}
	}
	return s
}

const vinFrames = "7E8 10 14 49 02 01 57 56 57\n7E8 21 5A 5A 5A 43 44 30 4E\n7E8 22 57 30 30 30 30 30 31"

// The forms in which people, loggers and adapters write answers down.
var forms = []struct {
	name, req string
	lines     []string
	want      []string
}{
	{"frames with spaces", "010C", []string{"7E8 04 41 0C 1A F8 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"frames without", "010C", []string{"7E804410C1AF8000000"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"lower case, 0x, commas", "0x01 0x0c", []string{"7e8, 0x04, 0x41, 0x0c, 0x1a, 0xf8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"length byte shown", "010C", []string{"7E8 8 04 41 0C 1A F8 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"identifier and colon", "010C", []string{"7E8: 04 41 0C 1A F8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"bare message", "010C", []string{"41 0C 1A F8"}, []string{"obd.01.0C=1726 rpm"}},
	{"bare message, packed", "010C", []string{"410C1AF8"}, []string{"obd.01.0C=1726 rpm"}},
	{"message behind an identifier", "010C", []string{"7E8 410C1AF8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"frame without identifier", "010C", []string{"04 41 0C 1A F8 55 55 55"}, []string{"obd.01.0C=1726 rpm"}},
	{"candump log", "010C", []string{"(1690000000.123456) can0 7E8#04410C1AF8000000"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"candump on screen", "010C", []string{"  can0  7E8   [8]  04 41 0C 1A F8 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"CAN FD log", "010C", []string{"can0 7E8##104410C1AF8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"29 bits in one group", "010C", []string{"18DAF110 04 41 0C 1A F8"}, []string{"18DAF110 obd.01.0C=1726 rpm"}},
	{"29 bits in four groups", "010C", []string{"18 DA F1 10 04 41 0C 1A F8"}, []string{"18DAF110 obd.01.0C=1726 rpm"}},
	{"29 bits, packed", "010C", []string{"18DAF11004410C1AF8"}, []string{"18DAF110 obd.01.0C=1726 rpm"}},
	{"VW MEB, packed", "22295A", []string{"17FE00760662295A01C106"}, []string{"17FE0076 odometer.22.295A=114950 km"}},
	{"prompt, echo, search", ">010C", []string{"010C", "SEARCHING...", "7E8 04 41 0C 1A F8", "", ">"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"search on the same line", "010C", []string{"SEARCHING...7E8 04 41 0C 1A F8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"one string with line breaks", "010C", []string{"010C1\r\r\n7E8 04 41 0C 1A F8\r>"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"the tester's own frames", "0902", append([]string{"7DF 02 09 02 00 00 00 00 00"}, strings.Split(strings.Replace(vinFrames, "\n", "\n7E0 30 00 00 00 00 00 00 00\n", 1), "\n")...), []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"request as a frame", "7DF 02 09 02 00 00 00 00 00", []string{vinFrames}, []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"request not recorded", "", []string{vinFrames}, []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"two ECUs interleaved", "0904", []string{"7ED 10 13 49 04 01 45 4F 53", "7EC 10 13 49 04 01 4F 53 45", "7EA 04 49 04 01 00 00 00 00", "7ED 21 45 4B 35 4C 2D 4F 53", "7EC 21 56 42 36 38 32 32 52", "7ED 22 32 2D 44 30 30 30 00", "7EC 22 00 00 00 00 00 00 AA"},
		[]string{"7ED obd.09.04=EOSEK5L-OS2-D000", "7EC obd.09.04=OSEVB6822R", "7EA obd.09.04=not available"}},
	{"BMW extended addressing", "22D10D", []string{"660 F1 10 0B 62 D1 0D 00 02", "6F1 60 30 00 00", "660 F1 21 86 B3 00 02 86 B3"}, []string{"660 odometer.22.D10D=165555 km"}},
	{"patience, then the answer", "19020D", []string{"18DAF110 03 7F 19 78", "18DAF110 07 59 02 CF 01 91 11 08"}, []string{"18DAF110 uds.19.02.availability=207", "18DAF110 uds.19.02.dtc=P0191-11"}},
	{"patience and nothing more", "19020D", []string{"7AD 03 7F 19 78 AA AA AA AA"}, []string{"7AD nrc 78"}},
	{"bare, patience, then the answer", "19020D", []string{"7F1978", "5902CF"}, []string{"uds.19.02.availability=207"}},
	{"refusal", "22F190", []string{"7E8 03 7F 22 31 00 00 00 00"}, []string{"7E8 nrc 31"}},
	{"the same frame twice", "03", []string{"7E8 06 43 02 01 43 04 20", "7E8 06 43 02 01 43 04 20"}, []string{"7E8 obd.dtc.stored=P0143", "7E8 obd.dtc.stored=P0420"}},
	{"two different answers", "0105", []string{"7E8 03 41 05 53", "7E8 03 41 05 54"}, []string{"7E8 obd.01.05=43 degC", "7E8 obd.01.05=44 degC", "7E8 error"}},
	{"two bare answers are two ECUs", "03", []string{"4300", "4300"}, []string{" nothing", " nothing"}},
	{"ELM327 without headers", "0902", []string{"014", "0: 49 02 01 57 56 57", "1: 5A 5A 5A 43 44 30 4E", "2: 57 30 30 30 30 30 31"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"ELM327 without headers, packed", "0902", []string{"014", "0:490201575657", "1:5A5A5A4344304E", "2:57303030303031"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"ELM327 without headers, a part lost", "0902", []string{"014", "0:490201575657", "2:57303030303031"}, []string{" error"}},
	{"K-line with header and checksum", "010C", []string{"48 6B 10 41 0C 1A F8 22"}, []string{"10 obd.01.0C=1726 rpm"}},
	{"KWP with header and checksum", "0100", []string{"86 F1 7A 41 00 00 00 00 00 32"}, []string{"7A obd.01.00=0"}},
	{"KWP with header, no checksum", "0100", []string{"86F17A 410000000000"}, []string{"7A obd.01.00=0"}},
	{"KWP, checksum wrong", "0100", []string{"86 F1 7A 41 00 00 00 00 00 33"}, nil},
	{"K-line VIN in five messages", "0902", []string{"87 F1 10 49 02 01 00 00 00 57 2B", "87 F1 10 49 02 02 56 57 5A 5A 36", "87 F1 10 49 02 03 5A 43 44 30 E7", "87 F1 10 49 02 04 4E 57 30 30 DC", "87 F1 10 49 02 05 30 30 30 31 99"}, []string{"10 obd.09.02=WVWZZZCD0NW000001"}},
	{"K-line VIN without headers", "0902", []string{"49020100000057", "49020256575A5A", "4902035A434430", "4902044E573030", "49020530303031"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"K-line codes in two messages", "03", []string{"87 F1 10 43 01 02 01 03 01 04 D7", "87 F1 10 43 01 05 00 00 00 00 D1"}, []string{"10 obd.dtc.stored=P0102", "10 obd.dtc.stored=P0103", "10 obd.dtc.stored=P0104", "10 obd.dtc.stored=P0105"}},
	{"K-line codes without headers", "03", []string{"43013300000000"}, []string{"obd.dtc.stored=P0133"}},
	{"words for ECUs", "07", []string{"ECU1 4700", "0B 4700", "E8 (PCM) 470202 26 0107"}, []string{"ECU1 nothing", "0B nothing", "E8 PCM obd.dtc.pending=P0226", "E8 PCM obd.dtc.pending=P0107"}},
	{"a PID that looks like a label", "0141", []string{"41 41 00 07 E5 00"}, []string{"obd.01.41.dc_byte_a=0", "obd.01.41.dc_ccm_incomplete=0", "obd.01.41.dc_fuel_incomplete=0", "obd.01.41.dc_misfire_incomplete=0", "obd.01.41.dc_compression_ignition=spark",
		"obd.01.41.dc_ccm_enabled=1", "obd.01.41.dc_fuel_enabled=1", "obd.01.41.dc_misfire_enabled=1", "obd.01.41.dc_monitors_enabled=229", "obd.01.41.dc_monitors_incomplete=0"}},
	{"a broken header is nobody's answer", "0105", []string{"00003410586", "7E903410586"}, []string{"7E9 obd.01.05=94 degC"}},
	{"half a byte", "0105", []string{"7E8 03 41 05 5"}, nil},
	{"prompt behind the answer", "0105", []string{"41 05 53 >"}, []string{"obd.01.05=43 degC"}},
	{"multi-frame without identifiers", "0902", []string{strings.ReplaceAll(vinFrames, "7E8 ", "")}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"an error in the middle of a line", "0105", []string{"7E8 03 41 CAN ERROR"}, nil},
	{"adapter doubts the line", "0105", []string{"7E8 03 41 05 53 <DATA ERROR"}, nil},
	{"first frame and silence", "0902", []string{"7E8 10 14 49 02 01 57 42 41"}, []string{"7E8 error"}},
	{"a consecutive frame lost", "0902", []string{"7E8 10 14 49 02 01 57 56 57", "7E8 22 57 30 30 30 30 30 31"}, []string{"7E8 error"}},
	{"another tester's answer", "0113", []string{"18DAF106 03 41 11 1E", "18DAF110 03 41 13 03"}, []string{"18DAF110 obd.01.13=B1S1, B1S2"}},
	{"consecutive frames out of order", "0902", []string{"7E8 22 57 30 30 30 30 30 31", "7E8 10 14 49 02 01 57 56 57", "7E8 21 5A 5A 5A 43 44 30 4E"}, []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"out of order and one lost", "0902", []string{"7E8 22 57 30 30 30 30 30 31", "7E8 10 14 49 02 01 57 56 57"}, []string{"7E8 error"}},
	{"out of order, extended addressing", "22D10D", []string{"660 F1 21 86 B3 00 02 86 B3", "660 F1 10 0B 62 D1 0D 00 02"}, []string{"660 odometer.22.D10D=165555 km"}},
	{"K-line messages out of order", "0902", []string{"49020530303031", "49020256575A5A", "4902035A434430", "49020100000057", "4902044E573030"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"K-line with headers, out of order", "0902", []string{"87 F1 10 49 02 02 56 57 5A 5A 36", "87 F1 10 49 02 01 00 00 00 57 2B", "87 F1 10 49 02 03 5A 43 44 30 E7", "87 F1 10 49 02 05 30 30 30 31 99", "87 F1 10 49 02 04 4E 57 30 30 DC"}, []string{"10 obd.09.02=WVWZZZCD0NW000001"}},
	{"29 bits of a maker nobody listed, packed", "224028", []string{"1F402E80056240280123"}, []string{"1F402E80 uds.22.4028=0123"}},
	{"line breaks written down", "0902", []string{`7E8 10 14 49 02 01 57 56 57 \n7E8 21 5A 5A 5A 43 44 30 4E \n7E8 22 57 30 30 30 30 30 31`}, []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"the beginning of another answer behind it", "222A0E", []string{"77A 04 62 2A 0E 05", "77A 10 0A 62 2A B6 01 02 03"}, []string{"77A uds.22.2A0E=05"}},
	{"line breaks lost", "0902", []string{"7E8 10 14 49 02 01 57 56 57 7E8 21 5A 5A 5A 43 44 30 4E 7E8 22 57 30 30 30 30 30 31"}, []string{"7E8 obd.09.02=WVWZZZCD0NW000001"}},
	{"line breaks lost, packed", "0105", []string{"7E803410553000000007E90341055400000000"}, []string{"7E8 obd.01.05=43 degC", "7E9 obd.01.05=44 degC"}},
	{"extended addressing with the ECU's own address", "2130", []string{"750 2A 02 21 30", "758 2A 10 07 61 30 01 02 03", "758 2A 21 04 05 00 00 00 00"}, []string{"758 kwp.21.30=0102030405"}},
	{"the same, a refusal", "2130", []string{"758 2A 03 7F 21 12"}, []string{"758 nrc 12"}},
	{"half a byte lost behind an identifier", "0105", []string{"7E80341055300000", "7E903410554"}, []string{"7E9 obd.01.05=44 degC"}},
	{"SLCAN", "010C", []string{"t7E8804410C1AF8000000", "T18DAF110804410C1AF80000001A2B"}, []string{"7E8 obd.01.0C=1726 rpm", "18DAF110 obd.01.0C=1726 rpm"}},
	{"PCAN trace", "010C", []string{"1)  0.5 Rx 07E8 8 04 41 0C 1A F8 00 00 00", "2) 0.9 Tx 07DF 8 02 01 0C 00 00 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"Vector ASC", "010C", []string{"0.004 1 7E8 Rx d 8 04 41 0C 1A F8 00 00 00", "0.005 1 18DAF110x Rx d 8 04 41 0C 1A F8 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm", "18DAF110 obd.01.0C=1726 rpm"}},
	{"SavvyCAN", "010C", []string{"166064000,000007E8,false,Rx,0,8,04,41,0C,1A,F8,00,00,00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"words for everything", "010C", []string{"Timestamp: 0.5 ID: 7e8 S Rx DL: 8 04 41 0c 1a f8 00 00 00"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"a list of numbers", "010C", []string{"0x7E8 [0x04, 0x41, 0x0C, 0x1A, 0xF8]"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"identifier as four digits", "010C", []string{"07E8 04 41 0C 1A F8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"29 bits without the priority", "010C", []string{"DA F1 10 04 41 0C 1A F8", "DAF11104410C1AF8"}, []string{"18DAF110 obd.01.0C=1726 rpm", "18DAF111 obd.01.0C=1726 rpm"}},
	{"extended addressing without identifier", "22D10D", []string{"F1 10 0B 62 D1 0D 00 02", "F1 21 86 B3 00 02 86 B3"}, []string{"uds.22.D10D=000286B3000286B3"}},
	{"length in front of a whole message", "0168", []string{"18DAF11009416803414300000000"}, []string{"18DAF110 obd.01.68.intake_air_temp_b1s1=25 degC", "18DAF110 obd.01.68.intake_air_temp_b1s2=27 degC",
		"18DAF110 obd.01.68.intake_air_temp_b1s3=not available", "18DAF110 obd.01.68.intake_air_temp_b2s1=not available", "18DAF110 obd.01.68.intake_air_temp_b2s2=not available", "18DAF110 obd.01.68.intake_air_temp_b2s3=not available"}},
	{"request with identifier, not padded", "7E0 02 01 0C", []string{"7E8 04 41 0C 1A F8"}, []string{"7E8 obd.01.0C=1726 rpm"}},
	{"request with extended addressing", "6F1 60 03 22 D1 0D", []string{"660 F1 10 0B 62 D1 0D 00 02", "660 F1 21 86 B3 00 02 86 B3"}, []string{"660 odometer.22.D10D=165555 km"}},
	{"another tester's answer and nothing else", "0113", []string{"18DAF106 03 41 11 1E"}, []string{"18DAF106 error"}},
	{"answers to the question before", "22404C", []string{"7E8 03 41 0D 52", "728 06 62 40 4C 1D B1 FE"}, []string{"728 odometer.22.404C=194611 km"}},
	{"a broadcast frame of a maker, packed", "015B", []string{"1FFF01441007FF009602021C", "18DAF11003415B82"}, []string{"18DAF110 obd.01.5B=50.980392 %"}},
	{"echo and length on one line", "0902", []string{"0902014", "0:490201575656", "1:5A5A5A4344304E", "2:57303030303031"}, []string{"obd.09.02=WVVZZZCD0NW000001"}},
	{"echo and answer on one line", "010C", []string{"010C41 0C 1A F8"}, []string{"obd.01.0C=1726 rpm"}},
	{"echo and answer, packed", "010C", []string{"010C410C1AF8"}, []string{"obd.01.0C=1726 rpm"}},
	{"echo and refusal on one line", "22F190", []string{"22F1907F2231"}, []string{" nrc 31"}},
	{"address in front of the question", "60 03 22 D1 0D", []string{"00B", "0: 62 D1 0D 00 02", "1: 86 B3 00 02 86 B3"}, []string{"odometer.22.D10D=165555 km"}},
	{"extended addressing, asked of one ECU, no headers", "6F1 60 03 22 D1 0D", []string{"F1 10 0B 62 D1 0D 00 02", "F1 21 86 B3 00 02 86 B3"}, []string{"odometer.22.D10D=165555 km"}},
	{"two ECUs behind one identifier", "221005", []string{"758 2A 10 0D 62 10 05 00 A0", "758 40 03 7F 22 31", "758 2A 21 00 B0 00 A3 00 AA", "758 2A 22 00 00"},
		[]string{"758 maker.condition.toyota.22.1005.tyre_fl=2.258621 bar", "758 maker.condition.toyota.22.1005.tyre_fr=2.534483 bar", "758 maker.condition.toyota.22.1005.tyre_rl=2.310345 bar", "758 maker.condition.toyota.22.1005.tyre_rr=2.431034 bar", "758 nrc 31"}},
	{"K-line question with header and checksum", "C2 33 F1 01 0C F3", []string{"84 F1 10 41 0C 1A F8 E4"}, []string{"10 obd.01.0C=1726 rpm"}},
	{"ISO 9141 question with header", "68 6A F1 01 0C", []string{"48 6B 10 41 0C 1A F8 22"}, []string{"10 obd.01.0C=1726 rpm"}},
	{"KWP identifier with a transmission mode", "84 00 F1 22 20 00 01", []string{"84 F1 00 62 20 00 07"}, []string{"00 uds.22.2000=07"}},
	{"a maker's list with nothing in it", "83 00 F1 22 20 00", []string{"83 F1 00 62 20 00", "F6"}, []string{"00 uds.22.2000=not available"}},
	{"codes counted as on CAN in a KWP message", "C1 DF F1 07", []string{"82 F1 0B 47 00 C5", "84 F1 18 47 01 01 33 00"}, []string{"0B nothing"}},
	{"a service nobody decodes", "84 12 F1 2C 10 00 D1", []string{"84 F1 12 6C 10 00 04"}, []string{"12 error"}},
	{"one code of a KWP control unit", "83 40 F1 17 A0 B3", []string{"88 F1 40 57 01 A0 B3 28 01 56 A1 84"}, []string{"40 kwp.18.dtc=B20B3", "40 kwp.17.noted=0156A1"}},
	{"no code of a KWP control unit", "17A187", []string{"82 F1 62 57 00 2C"}, []string{"62 nothing"}},
	{"a message longer than 255 bytes in BMW's form", "83 10 F1 22 17 1F", []string{"80 F1 10 00 00 05 62 17 1F 00 01"}, []string{"10 uds.22.171F=0001"}},
	{"a number written over, the checksum left", "0902", []string{"87 F1 10 49 02 01 00 00 00 57 00", "87 F1 10 49 02 02 56 57 5A 5A 36", "87 F1 10 49 02 03 5A 43 44 30 E7", "87 F1 10 49 02 04 4E 57 30 30 DC", "87 F1 10 49 02 05 30 30 30 31 99"}, []string{"10 obd.09.02=WVWZZZCD0NW000001", "10 error"}},
	{"numbered lines without line breaks", "0902", []string{"SEARCHING...0140:4902015756571:5A5A5A4344304E2:57303030303031"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"the same with spaces", "0902", []string{"014 0: 49 02 01 57 56 57 1: 5A 5A 5A 43 44 30 4E 2: 57 30 30 30 30 30 31"}, []string{"obd.09.02=WVWZZZCD0NW000001"}},
	{"codes, numbered, without line breaks", "19020D", []string{"00F0:5902CF26E4001:482BC10048D0082:00480"}, []string{"uds.19.02.availability=207", "uds.19.02.dtc=P26E4-00", "uds.19.02.dtc=P2BC1-00", "uds.19.02.dtc=U1008-00"}},
	{"two ECUs on one line without identifiers", "0100", []string{"4100BE3DA813410098180001"}, []string{"obd.01.00=3191711763", "obd.01.00=2551709697"}},
	{"a terminal's times and directions", "22F190", []string{"<[0.141]22F190", "<[0.153]7F2231"}, []string{" nrc 31"}},
	{"a serial monitor's times", "223275", []string{"20:00:24.528 -> 223275", "20:00:24.540 -> 62 32 75 4E"}, []string{"uds.22.3275=4E"}},
	{"an STN adapter's question", "STPX H:18DA10F1, D:22 197A 181B 196E, R:2", []string{"0090:62197A0000191:6E0000"}, []string{"uds.22.197A=0000", "uds.22.196E=0000"}},
	{"echo with the number of answers, and the answer", "010C", []string{"010C1410C0BB1"}, []string{"obd.01.0C=748.25 rpm"}},
	{"two empty lists on one line", "03", []string{"4300 4300"}, []string{" nothing", " nothing"}},
	{"two lists on one line", "07", []string{"4700 4701 01 33"}, []string{" nothing", "obd.dtc.pending=P0133"}},
	{"words of several bytes", "020C00", []string{"420C001A F8"}, []string{"obd.02.0C=1726 rpm"}},
	{"a message's frames on one line", "22F190", []string{"10 14 62 F1 90 57 56 57 21 5A 5A 5A 43 44 30 4E 22 57 30 30 30 30 30 31"}, []string{"uds.22.F190=WVWZZZCD0NW000001"}},
	{"tests of a J1850 car", "0601", []string{"48 6B 10 46 01 01 00 3A 00 57 9C", "48 6B 10 46 01 82 00 10 00 20 BC"},
		[]string{"10 obd.06.01.01.value=58", "10 obd.06.01.01.max=87", "10 obd.06.01.01.result=passed", "10 obd.06.01.82.value=16", "10 obd.06.01.82.min=32", "10 obd.06.01.82.result=failed"}},
	{"which tests a J1850 car has", "0600", []string{"48 6B 10 46 00 FF C0 00 00 00 C8"}, []string{"10 obd.06.00=3221225472"}},
	{"the same without headers", "0601", []string{"46 01 01 00 3A 00 57"}, []string{"obd.06.01.01.value=58", "obd.06.01.01.max=87", "obd.06.01.01.result=passed"}},
	{"a test cut off", "0601", []string{"48 6B 10 46 01 01 00 3A 3B"}, []string{"10 error"}},
	{"a damaged frame beside the answer", "22F40D", []string{"7E8 04 62 F4 0D 00", "7E8 04 41 0C 08"}, []string{"7E8 uds.22.F40D=0 km/h"}},
	{"maker's mileage in another layout", "22B002", []string{"7CE 10 0A 62 B0 02 11 22 33", "7CE 21 44 55 66 77 AA AA AA"}, []string{"7CE uds.22.B002=11223344556677", "7CE error"}},
	{"consumption record over UDS", "22F817", []string{"7E8 62F817000030E0000030EB0000724A0000727E"}, []string{"7E8 obfcm.recent_distance=1251.2 km", "7E8 obfcm.lifetime_distance=1252.3 km", "7E8 obfcm.recent_fuel=292.58 L", "7E8 obfcm.lifetime_fuel=293.1 L"}},
}

func TestForms(t *testing.T) {
	for _, c := range forms {
		t.Run(c.name, func(t *testing.T) {
			res := decode.Read(decode.Record{Request: c.req, Response: c.lines})
			require.Equal(t, c.want, show(res), "%v", res)
			require.Equal(t, c.want == nil, res.Err != nil, "%v", res.Err)
		})
	}
}

// What is told when there is nothing to decode, so that silence is never a healthy car.
func TestNothingToDecode(t *testing.T) {
	res := decode.Read(decode.Record{Request: "03", Response: []string{"NO DATA", ">"}})
	require.ErrorIs(t, res.Err, decode.ErrNoAnswer)
	require.Equal(t, []string{"NO DATA"}, res.Status)
	require.Empty(t, res.Document(decode.Show{}).Error, "the adapter has said it")
	require.Empty(t, res.ECUs)
	res = decode.Read(decode.Record{Request: "03"})
	require.NotEmpty(t, res.Document(decode.Show{}).Error)
	require.ErrorIs(t, decode.Read(decode.Record{Request: "hello", Response: []string{"4300"}}).Err, decode.ErrRequest)
	res = decode.Read(decode.Record{Request: "0105", Response: []string{"7E8 03 41 05 5"}})
	require.ErrorIs(t, res.Err, decode.ErrDamaged)
	require.Equal(t, 1, res.Damaged)
	res = decode.Read(decode.Record{Request: "0902", Response: []string{"7E8 10 14 49 02 01 57 42 41"}})
	require.ErrorIs(t, res.ECUs[0].Err, decode.ErrUnfinished)
	require.Contains(t, res.ECUs[0].Err.Error(), "6 of 20 bytes")
	res = decode.Read(decode.Record{Request: "0902", Response: []string{"7E8 10 14 49 02 01 57 56 57", "7E8 22 57 30 30 30 30 30 31"}})
	require.ErrorIs(t, res.ECUs[0].Err, isotp.ErrSequence)
}

// The object a script reads.
func TestDocument(t *testing.T) {
	render := func(rec decode.Record, reveal func(reading.Identity) string) string {
		b, err := json.Marshal(decode.Read(rec).Document(decode.Show{Lang: "nl", Reveal: reveal, Tag: func(r reading.Reading) (string, string) { return "technical", "x" }}))
		require.NoError(t, err)
		return string(b)
	}
	require.JSONEq(t, `{"request":"0105","ecus":[{"ecu":"7E8","payload":"410553","readings":[{"key":"obd.01.05","field":"engine_coolant_temp","name":"Engine coolant temperature",
		"value":43,"unit":"degC","tag":"technical","category":"x","raw":"410553"}]}]}`, render(decode.Record{Request: "0105", Response: []string{"7E8 03 41 05 53"}}, nil))
	require.JSONEq(t, `{"request":"03","ecus":[{"ecu":"7E8","payload":"43010420","readings":[],"dtcs":[{"code":"P0420","format":"J2012","status":"stored","states":["stored"],
		"text":"Katalysator (bank 1): rendement onder grenswaarde","known":true,"tag":"technical"}]},{"ecu":"7E9","payload":"4300","readings":[],"dtcs":[]}]}`,
		render(decode.Record{Request: "03", Response: []string{"7E8 04 43 01 04 20", "7E9 02 43 00"}}, nil))
	shown := render(decode.Record{Request: "0902", Response: []string{vinFrames}}, reveal)
	require.Contains(t, shown, `"vin":"WVWZZZCD0NW000001"`)
	hidden := render(decode.Record{Request: "0902", Response: []string{vinFrames}}, nil)
	require.NotContains(t, hidden, `"vin"`, "an identity is shown by the room that may, not by default")
	require.Contains(t, hidden, `"value":null`)
	require.JSONEq(t, `{"request":"22F190","ecus":[{"ecu":"7E8","payload":"7F2231","readings":[],"nrc":{"service":"22","code":"31","name":"request out of range (NRC 0x31)","hint":"this ECU does not have the value"}}]}`,
		strings.ReplaceAll(render(decode.Record{Request: "22F190", Response: []string{"7E8 03 7F 22 31"}}, nil), hint(t), "this ECU does not have the value"))
}

// hint is diag's advice for 31, whatever its words.
func hint(t *testing.T) string {
	d := decode.Read(decode.Record{Request: "22F190", Response: []string{"7F2231"}}).Document(decode.Show{})
	require.NotEmpty(t, d.ECUs[0].NRC.Hint)
	return d.ECUs[0].NRC.Hint
}

func TestWords(t *testing.T) {
	require.Equal(t, decode.Lines{"7E8 03 41 05 53"}, decode.Words("0105", []string{"7E8", "03", "41", "05", "53"}).Response)
	require.Equal(t, decode.Lines{"7E8 10 14", "7E8 21 30"}, decode.Words("0902", []string{"7E8", "10", "14", "7E8", "21", "30"}).Response)
	require.Equal(t, decode.Lines{"410553"}, decode.Words("0105", []string{"410553"}).Response)
	require.Equal(t, decode.Lines{"41 05 53"}, decode.Words("0105", []string{"41", "05", "53"}).Response)
	var r decode.Record
	require.NoError(t, json.Unmarshal([]byte(`{"request":"0105","response":"410553"}`), &r))
	require.Equal(t, decode.Lines{"410553"}, r.Response)
	require.NoError(t, json.Unmarshal([]byte(`{"request":null,"response":null}`), &r))
	require.Error(t, json.Unmarshal([]byte(`{"response":[1]}`), &r))
}

// Recorded answers of real cars with their sources, in the repository.
func TestVectors(t *testing.T) {
	f, err := os.Open("../../fixtures/vectors/answers.jsonl")
	require.NoError(t, err)
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var v struct {
			Request, Kind string
			Response      []string
			Published     json.RawMessage
			Source        struct{ Repo, Licence string }
		}
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		require.NotEmpty(t, v.Source.Repo)
		require.NotEmpty(t, v.Source.Licence)
		b, err := json.Marshal(decode.Read(decode.Record{Request: v.Request, Response: v.Response}).Document(decode.Show{Reveal: reveal}))
		require.NoError(t, err)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(b, &doc))
		p := pair{Kind: v.Kind, Decoded: v.Published}
		for _, l := range v.Response { // published values are keyed by the answering ECU
			id, rest, _ := strings.Cut(l, " ")
			p.Responses = append(p.Responses, struct {
				ID      *string
				Payload string
			}{&id, rest})
		}
		require.Empty(t, p.check(doc), "%s %s %s", v.Kind, v.Request, v.Response)
	}
	require.Greater(t, n, 50)
}

// However an answer is written down, it means the same.
func TestEveryFormMeansTheSame(t *testing.T) {
	answers := []struct{ req, resp string }{
		{"0105", "410553"}, {"010C050D", "410C1AF805530D00"}, {"0902", "4902015756575A5A5A4344304E57303030303031"}, {"03", "430201430420"}, {"22F190", "7F2231"},
		{"0904", "4904023331324A363030300000000000000000" + "41343730313030300000000000000000"}, {"19020D", "5902CF01911108C4058108"}, {"0917", "491701000030E0000030EB0000724A0000727E"},
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(answers).Draw(t, "answer")
		id := rapid.SampledFrom([]string{"7E8", "7EC", "18DAF110", "18DAF1DA"}).Draw(t, "id")
		payload, _ := hex.DecodeString(a.resp)
		want := show(decode.Read(decode.Record{Request: a.req, Response: []string{id + " " + a.resp}}))
		pad := rapid.SampledFrom([]byte{0x00, 0x55, 0xAA, 0xCC, 0xFF}).Draw(t, "padding")
		var lines []string
		for i, f := range segment(payload, pad) {
			data := strings.ToUpper(hex.EncodeToString(f))
			switch rapid.IntRange(0, 4).Draw(t, "form") {
			case 0:
				lines = append(lines, id+" "+spaced(data))
			case 1:
				lines = append(lines, id+data)
			case 2:
				lines = append(lines, strings.ToLower(id+" "+spaced(data)))
			case 3:
				lines = append(lines, fmt.Sprintf("(1690000000.%06d) can0 %s#%s", i, id, data))
			case 4:
				lines = append(lines, id+" "+data)
			}
			if rapid.Bool().Draw(t, "noise") {
				lines = append(lines, rapid.SampledFrom([]string{">", "", "SEARCHING...", a.req, "7DF 02 01 00 00 00 00 00 00", "BUS INIT: OK", "ATSH7DF"}).Draw(t, "what"))
			}
		}
		require.Equal(t, want, show(decode.Read(decode.Record{Request: a.req, Response: lines})), "%q", lines)
	})
}

// The frames of one answer in any order, copies among them, mean what they mean in order; with one lost there is no value.
func TestFramesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[A-Z0-9]{3,16}`).Draw(t, "text")
		n := rapid.IntRange(1, 5).Draw(t, "ids") // up to 13 consecutive frames
		payload := []byte{0x49, 0x04, byte(n)}
		for range n {
			payload = append(payload, append([]byte(text), make([]byte, 16-len(text))...)...)
		}
		frames := segment(payload, 0x55)
		var in []string
		for _, f := range frames {
			in = append(in, "7E8 "+hex.EncodeToString(f))
		}
		want := show(decode.Read(decode.Record{Request: "0904", Response: in}))
		require.Len(t, want, n)
		shuffled := rapid.Permutation(in).Draw(t, "order")
		if rapid.Bool().Draw(t, "copy") {
			shuffled = append(shuffled, rapid.SampledFrom(in).Draw(t, "which"))
		}
		require.Equal(t, want, show(decode.Read(decode.Record{Request: "0904", Response: shuffled})), "%q", shuffled)
		lost := rapid.IntRange(0, len(in)-1).Draw(t, "lost")
		for i, l := range shuffled {
			if l == in[lost] {
				shuffled[i] = ""
			}
		}
		require.Equal(t, []string{"7E8 error"}, show(decode.Read(decode.Record{Request: "0904", Response: shuffled})), "%q", shuffled)
	})
}

// segment is ISO 15765-2 written a second time, for the test alone.
func segment(p []byte, pad byte) (frames [][]byte) {
	if len(p) <= 7 {
		frames = [][]byte{append([]byte{byte(len(p))}, p...)}
	} else {
		frames = append(frames, append([]byte{0x10 | byte(len(p)>>8), byte(len(p))}, p[:6]...))
		p = p[6:]
		for n := 1; len(p) > 0; n++ {
			k := min(7, len(p))
			frames = append(frames, append([]byte{0x20 | byte(n&0xF)}, p[:k]...))
			p = p[k:]
		}
	}
	for i := range frames {
		for len(frames[i]) < 8 {
			frames[i] = append(frames[i], pad)
		}
	}
	return frames
}

func FuzzRead(f *testing.F) {
	for _, c := range forms {
		f.Add(c.req, strings.Join(c.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, req, lines string) {
		if len(lines) > 4096 {
			return
		}
		res := decode.Read(decode.Record{Request: req, Response: []string{lines}})
		require.Equal(t, res.Err != nil, len(res.ECUs) == 0, "either somebody answered or it is told that nobody did")
		for _, e := range res.ECUs {
			require.True(t, e.Payload != nil || e.Err != nil, "an ECU without an answer and without an error reads as healthy")
			for _, r := range e.Readings {
				require.Equal(t, e.Label, r.ECU)
			}
			if e.Payload != nil && e.Negative == nil && e.Err == nil && len(res.Request) > 0 { // decoding the message alone says the same
				alone, err := decode.Answer(res.Request, e.Payload, e.Source)
				if err == nil {
					require.Len(t, e.Readings, len(alone))
				}
				require.Equal(t, res.Request[0]+0x40, e.Payload[0])
			}
		}
		split := decode.Read(decode.Record{Request: req, Response: slices.Collect(strings.SplitSeq(lines, "\n"))})
		require.Equal(t, show(res), show(split))
		if _, err := json.Marshal(res.Document(decode.Show{})); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	rec := decode.Record{Request: "0902", Response: strings.Split(vinFrames, "\n")}
	b.ReportAllocs()
	for b.Loop() {
		if res := decode.Read(rec); res.Err != nil || !obd.Usable(res.ECUs[0].Err) {
			b.Fatal(res.Err)
		}
	}
}
