package report

import "strconv"

// Traffic is what a monitor counted on a bus.
type Traffic struct {
	Frames     uint64            `json:"frames"`
	Technical  uint64            `json:"technical"`
	Personal   uint64            `json:"personal"`
	Bytes      uint64            `json:"bytes"`
	Dropped    uint64            `json:"dropped"`
	Faults     uint64            `json:"faults"`
	OtherIDs   uint64            `json:"other_ids"` // frames of identifiers beyond those listed
	IDs        []TrafficID       `json:"ids"`
	Categories []TrafficCategory `json:"categories"`
}

// TrafficID is one identifier on one bus; Rate is frames per second.
type TrafficID struct {
	ID        string  `json:"id"`
	Bus       string  `json:"bus"`
	Frames    uint64  `json:"frames"`
	Bytes     uint64  `json:"bytes"`
	Rate      float64 `json:"rate"`
	Technical uint64  `json:"technical"`
	Personal  uint64  `json:"personal"`
}

// TrafficCategory is what frames of one category carried.
type TrafficCategory struct {
	Category      string `json:"category"`
	Frames        uint64 `json:"frames"`
	Bytes         uint64 `json:"bytes"`
	PersonalBytes uint64 `json:"personal_bytes"`
}

// Traffic prints the two tables of a monitor's counts.
func (t *Text) Traffic(x Traffic) error {
	w := t.words.T
	rows := [][]string{{w("traffic.bus"), w("traffic.id"), w("traffic.frames"), w("traffic.rate"), w("traffic.bytes"), w("tag.technical"), w("tag.personal")}}
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	for _, i := range x.IDs {
		rows = append(rows, []string{i.Bus, i.ID, n(i.Frames), strconv.FormatFloat(i.Rate, 'f', 1, 64), n(i.Bytes), n(i.Technical), n(i.Personal)})
	}
	t.Rows(rows)
	t.Line("")
	rows = [][]string{{w("traffic.category"), w("traffic.frames"), w("traffic.bytes"), w("traffic.personal-bytes")}}
	for _, k := range x.Categories {
		rows = append(rows, []string{w("category." + k.Category), n(k.Frames), n(k.Bytes), n(k.PersonalBytes)})
	}
	t.Rows(rows)
	return t.Err()
}
