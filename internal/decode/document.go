package decode

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/uds"
)

// Document is one line of `obdgate decode --json`. Field names are stable.
type Document struct {
	Request string   `json:"request"`
	ECUs    []ECUDoc `json:"ecus"`
	Status  []string `json:"status,omitempty"`        // what the adapter said instead of an answer
	Ignored int      `json:"ignored,omitempty"`       // lines that are no answer
	Damaged int      `json:"damaged_lines,omitempty"` // lines that were one and cannot be read
	Error   string   `json:"error,omitempty"`
}

// ECUDoc is one ECU's answer. Lists are present, even when empty, where the question asks for them.
type ECUDoc struct {
	ECU        string                       `json:"ecu"`
	Payload    string                       `json:"payload,omitempty"`
	Readings   []ReadingDoc                 `json:"readings"`
	DTCs       []DTCDoc                     `json:"dtcs,omitzero"`
	VIN        *string                      `json:"vin,omitempty"`
	CALIDs     []string                     `json:"calids,omitzero"`
	CVNs       []string                     `json:"cvns,omitzero"`
	ECUName    *string                      `json:"ecu_name,omitempty"`
	Supported  []string                     `json:"supported,omitzero"` // ids a support bitmap names
	Readiness  *obd.Readiness               `json:"readiness,omitempty"`
	Tests      []TestDoc                    `json:"tests,omitzero"`
	IUPR       map[string]reading.Quantity  `json:"iupr,omitempty"`
	OBFCM      map[string]*reading.Quantity `json:"obfcm,omitempty"`  // lifetime_distance_km …; null = not available
	Layout     string                       `json:"layout,omitempty"` // "unconfirmed" where no capture has shown the layout
	Odometer   *OdometerDoc                 `json:"odometer,omitempty"`
	NRC        *NRCDoc                      `json:"nrc,omitempty"`
	Error      string                       `json:"error,omitempty"`
	Incomplete bool                         `json:"incomplete,omitempty"` // bytes are missing: never a healthy car
}

// ReadingDoc is one value. Value is a number, a string, true or false, or null with Absent saying why.
type ReadingDoc struct {
	Key         string `json:"key"`
	Field       string `json:"field,omitempty"` // the field's own name: engine_coolant_temp
	Name        string `json:"name"`
	Value       any    `json:"value"`
	Unit        string `json:"unit,omitempty"`
	Label       string `json:"label,omitempty"` // meaning of an enumerated value
	Absent      string `json:"absent,omitempty"`
	Note        string `json:"note,omitempty"`
	Tag         string `json:"tag,omitempty"` // technical or personal
	Category    string `json:"category,omitempty"`
	Unconfirmed bool   `json:"unconfirmed,omitempty"` // fewer than two independent sources agree on position or scale
	Raw         string `json:"raw,omitempty"`
}

// DTCDoc is one trouble code.
type DTCDoc struct {
	Code       string   `json:"code"`
	Format     string   `json:"format"`
	Status     string   `json:"status"`                // what matters most: permanent, stored, pending, history; listed = did not fail
	States     []string `json:"states"`                // every memory the code is in
	StatusByte string   `json:"status_byte,omitempty"` // ISO 14229 status, hexadecimal
	StatusBits []string `json:"status_bits,omitempty"`
	Severity   string   `json:"severity,omitempty"`  // check-immediately, check-at-next-halt, maintenance (19 42)
	Class      string   `json:"obd_class,omitempty"` // A, B1, B2, C (GTR 5)
	Text       string   `json:"text"`
	Known      bool     `json:"known"` // the text is the standard's meaning, not "unknown code"
	Tag        string   `json:"tag,omitempty"`
}

// TestDoc is one monitor test of service 06.
type TestDoc struct {
	MID     string `json:"mid"`
	TID     string `json:"tid"`
	UAS     string `json:"uas"`
	Monitor string `json:"monitor,omitempty"`
	Name    string `json:"name,omitempty"`
	Value   any    `json:"value"`
	Min     any    `json:"min"`
	Max     any    `json:"max"`
	Unit    string `json:"unit"`
	Passed  *bool  `json:"passed"` // min <= value <= max; null when it cannot be judged
	Result  string `json:"result"` // passed, failed, not run, not judged
}

// OdometerDoc is a mileage.
type OdometerDoc struct {
	Value reading.Quantity `json:"value"`
	Unit  string           `json:"unit"`
	Km    reading.Quantity `json:"km"`
	Key   string           `json:"key"`
}

// NRCDoc is a refusal.
type NRCDoc struct {
	Service string `json:"service"` // hexadecimal
	Code    string `json:"code"`    // hexadecimal
	Name    string `json:"name"`
	Hint    string `json:"hint,omitempty"`
	Pending bool   `json:"pending,omitempty"` // asked for patience and said nothing more
}

// Show says how a Document is made. The zero value is allowed: English, no tags, identities left out.
type Show struct {
	Lang string // of trouble code texts
	// Reveal shows a vehicle's identity. Only the room that talks to the person who has the recording gives one.
	Reveal func(reading.Identity) string
	// Tag gives the tag (technical, personal) and the category of a value.
	Tag func(reading.Reading) (tag, category string)
}

// Document renders a Result. The answer to an empty recording, or to one where the adapter says why there is none, is
// told by Status; Error is for what could not be read.
func (r Result) Document(show Show) Document {
	d := Document{Request: hexText(r.Request), ECUs: []ECUDoc{}, Status: r.Status, Ignored: r.Ignored, Damaged: r.Damaged}
	if r.Err != nil && !(errors.Is(r.Err, ErrNoAnswer) && len(r.Status) > 0) {
		d.Error = r.Err.Error()
	}
	for _, e := range r.ECUs {
		d.ECUs = append(d.ECUs, e.document(show))
	}
	return d
}

// Failed reports whether anything was not decoded whole. A refusal and an adapter's NO DATA are whole answers.
func (d Document) Failed() bool {
	return d.Error != "" || d.Damaged > 0 || slices.ContainsFunc(d.ECUs, func(e ECUDoc) bool { return e.Error != "" })
}

func (e ECU) document(show Show) ECUDoc {
	d := ECUDoc{ECU: e.Label, Payload: hexText(e.Payload), Readings: []ReadingDoc{}}
	if e.Err != nil {
		d.Error = e.Err.Error()
		d.Incomplete = !obd.Usable(e.Err)
	}
	if e.Negative != nil {
		n := diag.Negative{Service: e.Negative.Service, Code: e.Negative.Code}
		d.NRC = &NRCDoc{Service: fmt.Sprintf("%02X", n.Service), Code: fmt.Sprintf("%02X", n.Code), Name: n.Name(), Hint: n.Hint(), Pending: n.Code == 0x78}
	}
	for _, r := range e.Readings {
		var tag, category string
		if show.Tag != nil {
			tag, category = show.Tag(r)
		}
		if c, ok := dtc.Of(r); ok {
			d.DTCs = append(d.DTCs, dtcDoc(c, show.Lang, tag))
			continue
		}
		one := readingDoc(r, show.Reveal)
		one.Tag, one.Category = tag, category
		d.Readings = append(d.Readings, one)
		d.collect(r, show.Reveal)
		if f, ok := obfcm.FieldOf(r.Key); ok && !f.Verified && one.Absent == "" {
			d.Layout = "unconfirmed"
		}
	}
	if len(e.Payload) > 0 && e.Negative == nil && (e.Err == nil || len(e.Readings) > 0) {
		d.lists(e.Payload, e.Source.Legacy)
	}
	if errors.Is(e.Err, obfcm.ErrLayout) {
		d.Layout = "unknown"
	}
	return d
}

// lists makes the lists a question asks for present, so that none is told apart from not asked.
func (d *ECUDoc) lists(resp []byte, legacy bool) {
	switch {
	case resp[0] == 0x43 || resp[0] == 0x47 || resp[0] == 0x4A || resp[0] == 0x57 || resp[0] == 0x58 || resp[0] == 0x59:
		if d.DTCs == nil {
			d.DTCs = []DTCDoc{}
		}
	case resp[0] == 0x49 && len(resp) > 1 && resp[1] == 0x04, resp[0] == 0x62 && len(resp) > 2 && resp[1] == 0xF8 && resp[2] == 0x04:
		if d.CALIDs == nil {
			d.CALIDs = []string{}
		}
	case resp[0] == 0x49 && len(resp) > 1 && resp[1] == 0x06, resp[0] == 0x62 && len(resp) > 2 && resp[1] == 0xF8 && resp[2] == 0x06:
		if d.CVNs == nil {
			d.CVNs = []string{}
		}
	case resp[0] == 0x46 && !legacy:
		tests, _ := obd.Tests(resp)
		for _, t := range tests {
			d.Tests = append(d.Tests, testDoc(t))
		}
	}
	if resp[0] == 0x49 && len(resp) > 2 && resp[1] == 0x0A && d.ECUName == nil {
		d.ECUName = new(string)
	}
}

// collect puts a reading into the fields made for it.
func (d *ECUDoc) collect(r reading.Reading, reveal func(reading.Identity) string) {
	key := string(r.Key)
	text, isText := r.Value.(reading.Text)
	q, isQuantity := r.Value.(reading.Quantity)
	if id, ok := r.Value.(reading.Identity); ok && reveal != nil {
		s := reveal(id)
		d.VIN = &s
	}
	switch {
	case isText && (key == "obd.09.04" || key == "uds.22.F804"):
		d.CALIDs = append(d.CALIDs, string(text))
	case isText && (key == "obd.09.06" || key == "uds.22.F806"):
		d.CVNs = append(d.CVNs, string(text))
	case isText && (key == "obd.09.0A" || key == "uds.22.F80A"):
		s := string(text)
		d.ECUName = &s
	case isQuantity && (strings.HasPrefix(key, "obd.09.08.") || strings.HasPrefix(key, "obd.09.0B.") || strings.HasPrefix(key, "uds.22.F808.") || strings.HasPrefix(key, "uds.22.F80B.")):
		if d.IUPR == nil {
			d.IUPR = map[string]reading.Quantity{}
		}
		d.IUPR[strings.ToUpper(key[strings.LastIndexByte(key, '.')+1:])] = q
	case isQuantity && (key == "obd.01.A6" || key == "uds.22.F4A6" || strings.HasPrefix(key, "odometer.")):
		if km, ok := odometer.Km(q); ok && d.Odometer == nil {
			d.Odometer = &OdometerDoc{Value: q, Unit: string(q.Unit), Km: km, Key: key}
		}
	}
	if f, ok := obfcm.FieldOf(r.Key); ok {
		if d.OBFCM == nil {
			d.OBFCM = map[string]*reading.Quantity{}
		}
		name := strings.TrimPrefix(key, "obfcm.") + "_" + strings.ToLower(string(f.Unit))
		d.OBFCM[name] = nil
		if isQuantity {
			d.OBFCM[name] = &q
		}
	}
	if one, ok := obd.ReadinessFrom(r); ok && d.Readiness == nil {
		d.Readiness = &one
	}
	d.bitmap(r)
}

// bitmap lists the ids a support bitmap names.
func (d *ECUDoc) bitmap(r reading.Reading) {
	var ids []byte
	one := []reading.Reading{r}
	switch {
	case len(r.Raw) == 6 && obd.IsBitmap(r.Raw[1]) && (r.Raw[0] == 0x41 || r.Raw[0] == 0x46 || r.Raw[0] == 0x49):
		ids = obd.Supported(r.Raw[0]-0x40, one).IDs()
	case len(r.Raw) == 7 && r.Raw[0] == 0x42 && obd.IsBitmap(r.Raw[1]):
		var s obd.Set
		if c, ok := r.Value.(reading.Code); ok {
			s.AddBitmap(r.Raw[1], uint32(c.N))
		}
		ids = s.IDs()
	case len(r.Raw) == 7 && r.Raw[0] == 0x62 && obd.IsBitmap(r.Raw[2]):
		ids = obd.DIDs(r.Raw[1], one).IDs()
	default:
		return
	}
	if d.Supported == nil {
		d.Supported = []string{}
	}
	for _, id := range ids {
		d.Supported = append(d.Supported, fmt.Sprintf("%02X", id))
	}
}

func dtcDoc(e dtc.Entry, lang, tag string) DTCDoc {
	_, known := dtc.Lookup(e.Code)
	d := DTCDoc{Code: e.Code.String(), Format: e.Code.Format.String(), Status: e.State(), States: e.States(), Text: dtc.Text(e.Code, lang), Known: known, Tag: tag,
		Severity: e.Severity.Urgency(), Class: e.Severity.Class()}
	if e.HasStatus {
		d.StatusByte, d.StatusBits = fmt.Sprintf("%02X", byte(e.Status)), e.Status.Names()
	}
	return d
}

func testDoc(t obd.Test) TestDoc {
	d := TestDoc{MID: fmt.Sprintf("%02X", t.MID), TID: fmt.Sprintf("%02X", t.TID), UAS: fmt.Sprintf("%02X", t.UAS), Monitor: t.Monitor, Name: t.Name,
		Value: plain(t.Value, nil), Min: plain(t.Min, nil), Max: plain(t.Max, nil), Result: t.Result.String()}
	if q, ok := t.Value.(reading.Quantity); ok {
		d.Unit = string(q.Unit)
	}
	if t.Result != obd.NotJudged {
		d.Passed = &t.InLimits
	}
	return d
}

func readingDoc(r reading.Reading, reveal func(reading.Identity) string) ReadingDoc {
	d := ReadingDoc{Key: string(r.Key), Name: r.Name, Value: plain(r.Value, reveal), Note: obd.Note(r), Raw: hexText(r.Raw)}
	switch v := r.Value.(type) {
	case reading.Quantity:
		d.Unit = string(v.Unit)
	case reading.Absent:
		d.Absent = v.Why.String()
	case reading.Code:
		d.Label = v.Label
		if _, err := dtc.Parse(v.Label); err == nil {
			d.Value, d.Label = v.Label, ""
		}
	}
	if f, ok := obd.FieldOf(r.Key); ok {
		d.Field, d.Unconfirmed = f.Key, !f.Verified
	} else if f, ok := obfcm.FieldOf(r.Key); ok {
		d.Field, d.Unconfirmed = strings.TrimPrefix(string(r.Key), "obfcm."), !f.Verified
	}
	d.Unconfirmed = d.Unconfirmed || uds.Unconfirmed(r.Key)
	return d
}

// plain is a value as JSON shows it.
func plain(v reading.Value, reveal func(reading.Identity) string) any {
	switch v := v.(type) {
	case reading.Quantity:
		return v
	case reading.Text:
		return string(v)
	case reading.Code:
		if v.Bool {
			return v.N != 0
		}
		return v.N
	case reading.Identity:
		if reveal != nil {
			return reveal(v)
		}
	}
	return nil
}

func hexText(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
