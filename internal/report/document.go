// Package report is what people see of a visit: the scan document for programs, the repair report for technicians, the
// two lists of what left and what stayed for customers. It is one of the three rooms that may reveal a VIN.
package report

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"strings"

	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// Schema names the scan document. A change that breaks readers gets a new one.
const Schema = "obdgate/scan/v1"

// Document is `obdgate scan --json`: one scan for programs on the technician's own machine, the VIN whole. Field names
// are stable.
type Document struct {
	Schema    string         `json:"schema"`
	Visit     string         `json:"visit"`
	Link      string         `json:"link"`
	Adapter   string         `json:"-"` // differs from link to link; the document of one vehicle does not
	Protocol  string         `json:"protocol"`
	VIN       *string        `json:"vin"` // null when no ECU gave one
	ECUs      []visit.ECU    `json:"ecus"`
	DTCs      []DTC          `json:"dtcs"`
	MIL       *bool          `json:"mil"`       // null when no ECU said
	Readiness *obd.Readiness `json:"readiness"` // null when no ECU said
	OBFCM     OBFCM          `json:"obfcm"`
	Odometer  Odometer       `json:"odometer"`
	Mileage   Odometer       `json:"-"` // as Odometer, without the consumption record: the repair report's
	// FreezeFrames, MonitorResults, Performance and Software group what also stands in Readings, one value at a time.
	FreezeFrames   []FreezeFrame     `json:"freeze_frames"`
	Snapshots      []Snapshot        `json:"snapshots"`
	MonitorResults []MonitorResult   `json:"monitor_results"`
	Performance    []Performance     `json:"in_use_performance"`
	Software       []Software        `json:"software"`
	Readings       []Reading         `json:"readings"`
	Frames         visit.Frames      `json:"frames"`
	Withheld       []Withheld        `json:"withheld"`
	Errors         []visit.ReadError `json:"errors"`
}

// DTC is one trouble code of one ECU, all memories joined.
type DTC struct {
	Code   string   `json:"code"`
	Format string   `json:"format"`
	Status string   `json:"status"` // what matters most: permanent, stored, pending, history
	States []string `json:"states"` // every memory it is in
	ECU    string   `json:"ecu"`
	Text   string   `json:"text"`
	// Severity is what an ECU after WWH-OBD or J1979-2 asks for: check-immediately, check-at-next-halt, maintenance.
	Severity string `json:"severity,omitempty"`
	Tag      string `json:"tag"`
}

// OBFCM is the consumption record. Numbers are null where the vehicle said "not available".
type OBFCM struct {
	Asked         bool                   `json:"asked"`
	Outcome       string                 `json:"outcome"`          // plausible, implausible, vehicle-error, not-fitted, refused, unasked
	Reason        string                 `json:"reason,omitempty"` // refused or unasked, when not asked
	TotalDistance *reading.Quantity      `json:"total_distance_km,omitempty"`
	TotalFuel     *reading.Quantity      `json:"total_fuel_l,omitempty"`
	RecDistance   *reading.Quantity      `json:"recent_distance_km,omitempty"`
	RecFuel       *reading.Quantity      `json:"recent_fuel_l,omitempty"`
	More          map[string]OBFCMNumber `json:"more,omitempty"` // every other field, by its key
	Verdict       string                 `json:"verdict,omitempty"`
	Reasons       []string               `json:"reasons,omitempty"`
	Layout        string                 `json:"layout,omitempty"`
	ECU           string                 `json:"ecu,omitempty"`
}

// OBFCMNumber is a further field of the record, plug-in hybrids' above all.
type OBFCMNumber struct {
	Value *reading.Quantity `json:"value"`
	Unit  string            `json:"unit,omitempty"`
}

// Odometer is the mileage with its sources.
type Odometer struct {
	Km      *reading.Quantity `json:"km"`
	Source  string            `json:"source,omitempty"` // "01A6"
	Verdict string            `json:"verdict"`
	Reason  string            `json:"reason,omitempty"`
	Sources []OdometerSource  `json:"sources"`
	// Earlier is what the vehicle had at least at an earlier visit here, where it now has less. NotBelow: it was compared with
	// an earlier visit and has no less.
	Earlier  *odometer.Mark `json:"earlier,omitempty"`
	NotBelow bool           `json:"not_below_earlier,omitempty"`
}

// OdometerSource is one source's distance.
type OdometerSource struct {
	Source     string           `json:"source"`
	ECU        string           `json:"ecu"`
	Km         reading.Quantity `json:"km"`
	Comparable bool             `json:"comparable"`
	// Unconfirmed: no recorded reply of a real car has shown this place.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
	name        string
}

// Reading is one value. Value is a number, a string, true/false, or null with Absent saying why.
type Reading struct {
	Key      string `json:"key"`
	Name     string `json:"name"`
	Value    any    `json:"value"`
	Unit     string `json:"unit,omitempty"`
	Absent   string `json:"absent,omitempty"`
	ECU      string `json:"ecu"`
	Tag      string `json:"tag"`
	Category string `json:"category"`
	Raw      string `json:"raw,omitempty"`
	Note     string `json:"note,omitempty"` // a caution in English: a counter at its end
}

// Withheld counts the values of one category that no upload will ever carry.
type Withheld struct {
	Category string `json:"category"`
	Count    int    `json:"count"`
}

// New makes the document of one scan. lang is the language of trouble code texts.
func New(visitID string, s visit.Scan, p *policy.Policy, lang string) Document {
	d := Document{
		Schema: Schema, Visit: visitID, Link: s.Link, Adapter: s.Adapter, Protocol: s.Protocol,
		ECUs: orEmpty(s.ECUs), Readings: []Reading{}, Frames: s.Frames,
		Withheld: withheld(s, p), Errors: orEmpty(s.Errors),
		OBFCM: consumption(s), Odometer: mileage(s.Odometer),
	}
	d.Mileage = mileage(odometer.WithoutRecord(s.Readings, s.Odometer, odometer.Context{Engine: engine(s)}))
	d.MIL, d.Readiness = obd.MIL(s.Readings), obd.ReadinessOf(s.Readings)
	d.DTCs = faults(s.Readings, p, lang)
	d.FreezeFrames, d.MonitorResults, d.Snapshots = freezeFrames(s, p), monitorResults(s, p), snapshots(s, p)
	d.Performance, d.Software = performance(s), software(s)
	if !s.VIN.IsZero() {
		text := s.VIN.Reveal()
		d.VIN = &text
	}
	for _, r := range s.Readings {
		if _, fault := dtc.Of(r); !fault {
			d.Readings = append(d.Readings, readingOf(r, p.Tag(r).Tag()))
		}
	}
	return d
}

// faults joins the trouble codes of all memories, ordered by what matters.
func faults(rs []reading.Reading, p *policy.Policy, lang string) []DTC {
	out := []DTC{}
	for _, e := range dtc.Merge(rs) {
		out = append(out, DTC{Code: e.Code.String(), Format: e.Code.Format.String(), Status: e.State(), States: e.States(), ECU: e.ECU,
			Text: dtc.Text(e.Code, lang), Severity: e.Severity.Urgency(), Tag: p.TagKey(dtc.KeyStored).Class.String()})
	}
	return out
}

// engine is the ECU whose mileage comes first: the first that gave one.
func engine(s visit.Scan) string {
	if v := s.Odometer; v.Chosen >= 0 && v.Chosen < len(v.Sources) {
		return v.Sources[v.Chosen].ECU
	}
	return ""
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func readingOf(r reading.Reading, tag policy.Tag) Reading {
	out := Reading{
		Key: string(r.Key), Name: r.Name, ECU: r.ECU, Tag: tag.Class.String(), Category: categoryName(tag),
		Raw: strings.ToUpper(hex.EncodeToString(r.Raw)), Note: obd.Note(r),
	}
	switch v := r.Value.(type) {
	case reading.Quantity:
		out.Value, out.Unit = v, string(v.Unit)
	case reading.Code:
		switch {
		case v.Bool:
			out.Value = v.N != 0
		case v.Label != "":
			out.Value = v.Label
		default:
			out.Value = v.N
		}
	case reading.Text:
		out.Value = string(v)
	case reading.Identity:
		out.Value = v.Reveal()
	case reading.Absent:
		out.Absent = v.Why.String()
	}
	return out
}

func categoryName(t policy.Tag) string {
	if t.Category == "" {
		return string(policy.NoCategory)
	}
	return string(t.Category)
}

// withheld counts, per category, the values that are not technical. Trouble codes and consumption are not in it: consent
// decides about those.
func withheld(s visit.Scan, p *policy.Policy) []Withheld {
	out := []Withheld{}
	index := map[string]int{}
	for _, r := range s.Readings {
		tag := p.Tag(r).Tag()
		if tag.Class.Releasable() {
			continue
		}
		name := categoryName(tag)
		i, ok := index[name]
		if !ok {
			i = len(out)
			index[name] = i
			out = append(out, Withheld{Category: name})
		}
		out[i].Count++
	}
	return out
}

func consumption(s visit.Scan) OBFCM {
	o := OBFCM{Asked: s.OBFCM.Outcome.Asked(), Reasons: s.OBFCM.Reasons, Layout: s.OBFCM.Layout, ECU: s.OBFCM.ECU}
	o.Outcome = cmp.Or(string(s.OBFCM.Outcome), string(obfcm.Unasked))
	if !o.Asked {
		o.Reason = o.Outcome
		return o
	}
	o.Verdict = string(s.OBFCM.Outcome)
	for _, r := range s.Readings {
		field, ok := strings.CutPrefix(string(r.Key), "obfcm.")
		if !ok || s.OBFCM.ECU != "" && r.ECU != s.OBFCM.ECU {
			continue
		}
		var q *reading.Quantity
		if v, ok := r.Value.(reading.Quantity); ok {
			q = &v
		}
		switch field {
		case "lifetime_distance":
			o.TotalDistance = q
		case "lifetime_fuel":
			o.TotalFuel = q
		case "recent_distance":
			o.RecDistance = q
		case "recent_fuel":
			o.RecFuel = q
		default:
			if o.More == nil {
				o.More = map[string]OBFCMNumber{}
			}
			n := OBFCMNumber{Value: q}
			if q != nil {
				n.Unit = string(q.Unit)
			}
			o.More[field] = n
		}
	}
	return o
}

func mileage(v odometer.Verdict) Odometer {
	o := Odometer{Verdict: string(v.Outcome), Reason: v.Reason, Sources: []OdometerSource{}, Earlier: v.Earlier, NotBelow: v.NotBelow}
	if v.Outcome == "" {
		o.Verdict = string(odometer.NoVerdict)
	}
	for i, s := range v.Sources {
		src := OdometerSource{Source: SourceName(s.Key), ECU: s.ECU, Km: s.Km, Comparable: s.Comparable}
		src.name, src.Unconfirmed = sourceOf(s)
		o.Sources = append(o.Sources, src)
		if i == v.Chosen {
			km := s.Km
			o.Km, o.Source = &km, src.Source
		}
	}
	return o
}

// sourceOf is what a source is, in English, and whether its place is not confirmed.
func sourceOf(s odometer.Source) (name string, unconfirmed bool) {
	if f, ok := obd.FieldOf(s.Key); ok {
		return f.Name, false
	}
	for _, row := range odometer.Rows() {
		if row.Key() == s.Key && row.Address().ECU() == s.ECU {
			return row.ECU, !row.Verified
		}
	}
	for _, f := range obfcm.Fields() {
		if f.Key == s.Key {
			return f.Name, false
		}
	}
	return "", false
}

// SourceName is a key as technicians write it: obd.01.A6 is "01A6", uds.22.F4A6 "22F4A6"; others stay as they are.
func SourceName(k reading.Key) string {
	parts := strings.Split(string(k), ".")
	if len(parts) >= 3 && (parts[0] == "obd" || parts[0] == "uds") && parts[1] != "dtc" {
		return parts[1] + parts[2]
	}
	return string(k)
}

// JSON writes the document, indented, with a newline.
func (d Document) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}
