package wire

import (
	"net/url"
	"strings"
)

// appendString writes printable ASCII; everything else is refused before it gets here.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// appendMember writes ,"name":"s", or nothing when s is empty and optional. The first member of an object is written by
// its caller without a comma.
func appendMember(dst []byte, name, s string, optional bool) []byte {
	if optional && s == "" {
		return dst
	}
	return appendString(appendName(dst, name), s)
}

func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(append(append(dst, '"'), name...), `":`...)
}

func appendList[T any](dst []byte, name string, s []T, one func([]byte, *T) []byte) []byte {
	dst = append(appendName(dst, name), '[')
	for i := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = one(dst, &s[i])
	}
	return append(dst, ']')
}

func (e *Envelope) append(dst []byte, withID bool) []byte {
	dst = append(dst, '{')
	dst = appendMember(dst, "schema", e.Schema, false)
	if withID {
		dst = appendMember(dst, "id", e.ID, false)
	}
	dst = appendMember(dst, "station", e.Station, false)
	dst = appendMember(dst, "day", e.Day, false)
	dst = appendMember(dst, "vin", e.VIN, true)
	dst = appendMember(dst, "purpose", e.Purpose, false)
	dst = appendMember(dst, "receipt", e.Receipt, false)
	dst = append(appendName(dst, "policy"), '{')
	dst = appendMember(dst, "version", e.Policy.Version, false)
	dst = append(appendMember(dst, "hash", e.Policy.Hash, false), '}')
	dst = appendList(dst, "readings", e.Readings, appendReading)
	dst = appendList(dst, "codes", e.Codes, appendCode)
	if e.OBFCM != nil {
		dst = appendOBFCM(appendName(dst, "obfcm"), e.OBFCM)
	}
	if e.Odometer != nil {
		dst = appendOdometer(appendName(dst, "odometer"), e.Odometer)
	}
	dst = appendList(dst, "software", e.Software, appendReading)
	return append(dst, '}')
}

func appendReading(dst []byte, r *Reading) []byte {
	dst = appendMember(append(dst, '{'), "key", r.Key, false)
	dst = r.Value.append(appendName(dst, "value"))
	dst = appendMember(dst, "unit", r.Unit, true)
	return append(appendMember(dst, "ecu", r.ECU, true), '}')
}

func appendCode(dst []byte, c *Code) []byte {
	dst = appendMember(append(dst, '{'), "code", c.Code, false)
	dst = appendMember(dst, "status", c.Status, false)
	return append(appendMember(dst, "ecu", c.ECU, true), '}')
}

func appendOBFCM(dst []byte, o *OBFCM) []byte {
	dst = appendMember(append(dst, '{'), "verdict", o.Verdict, false)
	if len(o.Reasons) > 0 {
		dst = appendList(dst, "reasons", o.Reasons, func(d []byte, s *string) []byte { return appendString(d, *s) })
	}
	dst = appendMember(dst, "layout", o.Layout, true)
	dst = appendMember(dst, "ecu", o.ECU, true)
	return append(appendList(dst, "values", o.Values, appendReading), '}')
}

func appendOdometer(dst []byte, o *Odometer) []byte {
	dst = o.Km.append(appendName(append(dst, '{'), "km"))
	dst = appendMember(dst, "source", o.Source, false)
	dst = appendMember(dst, "ecu", o.ECU, true)
	dst = appendMember(dst, "verdict", o.Verdict, true)
	if len(o.Sources) > 0 {
		dst = appendList(dst, "sources", o.Sources, appendReading)
	}
	return append(dst, '}')
}

// Printable returns s with every character outside printable ASCII replaced by '?', cut to MaxText and trimmed: the form
// in which a text from a vehicle can be sent.
func Printable(s string) string {
	b := make([]byte, 0, min(len(s), MaxText))
	for _, r := range s {
		if len(b) == MaxText {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return strings.TrimSpace(string(b))
}

// Name returns the spelling of an organisation's name on the wire: percent-encoded UTF-8, printable ASCII without spaces.
func Name(s string) string { return url.PathEscape(s) }
