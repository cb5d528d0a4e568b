package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
	"obdgate/internal/visit"
)

// The body of a visit as JSON. It exists in the clear only in memory: VIN and identities are revealed in it.

const bodyVersion = 1

type bodyJSON struct {
	Version  int        `json:"v"`
	ID       string     `json:"id"`
	Opened   time.Time  `json:"opened"`
	Closed   time.Time  `json:"closed,omitzero"`
	Order    text       `json:"order,omitzero"`
	Language text       `json:"language,omitzero"`
	VIN      string     `json:"vin,omitempty"`
	Scans    []scanJSON `json:"scans"`
}

type scanJSON struct {
	At       time.Time        `json:"at"`
	Link     text             `json:"link,omitzero"`
	Adapter  text             `json:"adapter,omitzero"`
	Plan     text             `json:"plan,omitzero"`
	Protocol text             `json:"protocol,omitzero"`
	VIN      string           `json:"vin,omitempty"`
	ECUs     []ecuJSON        `json:"ecus,omitempty"`
	Readings []readingJSON    `json:"readings,omitempty"`
	OBFCM    obfcm.Verdict    `json:"obfcm"`
	Odometer odometerJSON     `json:"odometer"`
	Frames   visit.Frames     `json:"frames"`
	Errors   []visitErrorJSON `json:"errors,omitempty"`
}

type ecuJSON struct {
	Address text `json:"address,omitzero"`
	Name    text `json:"name,omitzero"`
}

type visitErrorJSON struct {
	ECU     text `json:"ecu,omitzero"`
	Request text `json:"request,omitzero"`
	Error   text `json:"error,omitzero"`
	Hint    text `json:"hint,omitzero"`
}

type readingJSON struct {
	Key   reading.Key `json:"key"`
	Name  text        `json:"name,omitzero"`
	ECU   text        `json:"ecu,omitzero"`
	Value valueJSON   `json:"value"`
	Raw   []byte      `json:"raw,omitempty"`
	From  []uint64    `json:"from,omitempty"`
}

// valueJSON holds exactly one of the closed set.
type valueJSON struct {
	Quantity *quantityJSON `json:"q,omitempty"`
	Code     *codeJSON     `json:"c,omitempty"`
	Text     *text         `json:"t,omitempty"`
	Identity *text         `json:"i,omitempty"`
	Absent   *reading.Why  `json:"a,omitempty"`
}

type quantityJSON struct {
	Num  int64        `json:"n"`
	Den  int64        `json:"d"`
	Unit reading.Unit `json:"u,omitempty"`
}

type codeJSON struct {
	N     uint64 `json:"n"`
	Label text   `json:"l,omitzero"`
	Bool  bool   `json:"b,omitempty"`
}

type odometerJSON struct {
	Outcome odometer.Outcome `json:"outcome,omitempty"`
	Reason  text             `json:"reason,omitzero"`
	Chosen  int              `json:"chosen"`
	Sources []sourceJSON     `json:"sources,omitempty"`
	Earlier *odometer.Mark   `json:"earlier,omitempty"`
	NotLess bool             `json:"not_below,omitempty"`
}

type sourceJSON struct {
	Key        reading.Key  `json:"key"`
	ECU        text         `json:"ecu,omitzero"`
	Km         quantityJSON `json:"km"`
	Comparable bool         `json:"comparable,omitempty"`
}

// text is a string that survives JSON whole, bytes that are no UTF-8 included: those are written as {"b":base64}.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(map[string][]byte{"b": []byte(t)})
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var m map[string][]byte
		if err := json.Unmarshal(b, &m); err != nil || len(m) != 1 || m["b"] == nil {
			return errBody
		}
		*t = text(m["b"])
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

var errBody = errors.New("store: not the body of a visit")

// encodeVisit writes a visit's body, identities revealed. decodeVisit is its mirror.
func encodeVisit(v visit.Visit) ([]byte, error) {
	j := bodyJSON{Version: bodyVersion, ID: v.ID, Opened: v.Opened, Closed: v.Closed, Order: text(v.Order), Language: text(v.Language),
		VIN: v.VIN.Reveal(), Scans: make([]scanJSON, len(v.Scans))}
	for i, s := range v.Scans {
		sj, err := encodeScan(s)
		if err != nil {
			return nil, err
		}
		j.Scans[i] = sj
	}
	return json.Marshal(j)
}

func encodeScan(s visit.Scan) (scanJSON, error) {
	j := scanJSON{At: s.At, Link: text(s.Link), Adapter: text(s.Adapter), Plan: text(s.Plan), Protocol: text(s.Protocol),
		VIN: s.VIN.Reveal(), OBFCM: s.OBFCM, Frames: s.Frames,
		Odometer: odometerJSON{Outcome: s.Odometer.Outcome, Reason: text(s.Odometer.Reason), Chosen: s.Odometer.Chosen,
			Earlier: s.Odometer.Earlier, NotLess: s.Odometer.NotBelow}}
	for _, e := range s.ECUs {
		j.ECUs = append(j.ECUs, ecuJSON{text(e.Address), text(e.Name)})
	}
	for _, e := range s.Errors {
		j.Errors = append(j.Errors, visitErrorJSON{text(e.ECU), text(e.Request), text(e.Error), text(e.Hint)})
	}
	for _, o := range s.Odometer.Sources {
		j.Odometer.Sources = append(j.Odometer.Sources, sourceJSON{o.Key, text(o.ECU), quantityJSON{o.Km.Num, o.Km.Den, o.Km.Unit}, o.Comparable})
	}
	for _, r := range s.Readings {
		v, err := encodeValue(r.Value)
		if err != nil {
			return j, fmt.Errorf("%s: %w", r.Key, err)
		}
		j.Readings = append(j.Readings, readingJSON{r.Key, text(r.Name), text(r.ECU), v, r.Raw, r.From})
	}
	return j, nil
}

func encodeValue(v reading.Value) (valueJSON, error) {
	switch v := v.(type) {
	case reading.Quantity:
		return valueJSON{Quantity: &quantityJSON{v.Num, v.Den, v.Unit}}, nil
	case reading.Code:
		return valueJSON{Code: &codeJSON{v.N, text(v.Label), v.Bool}}, nil
	case reading.Text:
		t := text(v)
		return valueJSON{Text: &t}, nil
	case reading.Identity:
		t := text(v.Reveal())
		return valueJSON{Identity: &t}, nil
	case reading.Absent:
		return valueJSON{Absent: &v.Why}, nil
	}
	return valueJSON{}, errors.New("store: a reading without a value")
}

func decodeVisit(b []byte) (visit.Visit, error) {
	var j bodyJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return visit.Visit{}, errBody
	}
	if _, err := d.Token(); err != io.EOF {
		return visit.Visit{}, errBody
	}
	if j.Version != bodyVersion {
		return visit.Visit{}, fmt.Errorf("%w: body version %d", ErrNewer, j.Version)
	}
	v := visit.Visit{ID: j.ID, Opened: j.Opened, Closed: j.Closed, Order: string(j.Order), Language: string(j.Language)}
	var err error
	if v.VIN, err = decodeVIN(j.VIN); err != nil {
		return visit.Visit{}, err
	}
	for _, s := range j.Scans {
		scan, err := decodeScan(s)
		if err != nil {
			return visit.Visit{}, err
		}
		v.Scans = append(v.Scans, scan)
	}
	return v, nil
}

func decodeVIN(s string) (vin.VIN, error) {
	if s == "" {
		return vin.VIN{}, nil
	}
	v, err := vin.Parse(s)
	if err != nil {
		return vin.VIN{}, errBody
	}
	return v, nil
}

func decodeScan(j scanJSON) (visit.Scan, error) {
	s := visit.Scan{At: j.At, Link: string(j.Link), Adapter: string(j.Adapter), Plan: string(j.Plan), Protocol: string(j.Protocol),
		OBFCM: j.OBFCM, Frames: j.Frames,
		Odometer: odometer.Verdict{Outcome: j.Odometer.Outcome, Reason: string(j.Odometer.Reason), Chosen: j.Odometer.Chosen,
			Earlier: j.Odometer.Earlier, NotBelow: j.Odometer.NotLess}}
	var err error
	if s.VIN, err = decodeVIN(j.VIN); err != nil {
		return s, err
	}
	for _, e := range j.ECUs {
		s.ECUs = append(s.ECUs, visit.ECU{Address: string(e.Address), Name: string(e.Name)})
	}
	for _, e := range j.Errors {
		s.Errors = append(s.Errors, visit.ReadError{ECU: string(e.ECU), Request: string(e.Request), Error: string(e.Error), Hint: string(e.Hint)})
	}
	for _, o := range j.Odometer.Sources {
		s.Odometer.Sources = append(s.Odometer.Sources, odometer.Source{Key: o.Key, ECU: string(o.ECU),
			Km: reading.Quantity{Num: o.Km.Num, Den: o.Km.Den, Unit: o.Km.Unit}, Comparable: o.Comparable})
	}
	for _, r := range j.Readings {
		v, err := decodeValue(r.Value)
		if err != nil {
			return s, err
		}
		s.Readings = append(s.Readings, reading.Reading{Key: r.Key, Name: string(r.Name), ECU: string(r.ECU), Value: v, Raw: r.Raw, From: r.From})
	}
	return s, nil
}

func decodeValue(j valueJSON) (reading.Value, error) {
	var out reading.Value
	n := 0
	if q := j.Quantity; q != nil {
		out, n = reading.Quantity{Num: q.Num, Den: q.Den, Unit: q.Unit}, n+1
	}
	if c := j.Code; c != nil {
		out, n = reading.Code{N: c.N, Label: string(c.Label), Bool: c.Bool}, n+1
	}
	if j.Text != nil {
		out, n = reading.Text(*j.Text), n+1
	}
	if j.Identity != nil {
		out, n = reading.NewIdentity(string(*j.Identity)), n+1
	}
	if j.Absent != nil {
		out, n = reading.Absent{Why: *j.Absent}, n+1
	}
	if n != 1 {
		return nil, errBody
	}
	return out, nil
}
