package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrPlan: the text is no fault of a bus.
var ErrPlan = errors.New("unknown fault of a CAN bus")

// Help lists what Parse takes, a line each.
const Help = `loss=30%            frames are lost
duplicate=10%       frames come twice
reorder=10%         frames come behind the next one
only=consecutive    the three above hold for consecutive frames only (only=vehicle: for the vehicle's frames only)
delay=20ms          every frame is late
wait=3              so many wait frames come before each flow control
mute=100/2s         after 100 frames the vehicle is silent for 2 s (mute=100: for ever)
babble=7FF          somebody sends on this identifier without pause
rate=500000         one frame at a time, as long as it takes at this bit rate
seed=1              which frames are hit`

// Parse reads faults as they are typed, "loss=30%" and so on; see Help.
func Parse(texts []string) (Plan, error) {
	var p Plan
	for _, text := range texts {
		key, value, _ := strings.Cut(strings.TrimSpace(text), "=")
		if err := p.set(key, value); err != nil {
			return p, fmt.Errorf("%w: %q", ErrPlan, text)
		}
	}
	return p, nil
}

func (p *Plan) set(key, value string) (err error) {
	switch key {
	case "loss":
		p.Loss, err = share(value)
	case "duplicate":
		p.Duplicate, err = share(value)
	case "reorder":
		p.Reorder, err = share(value)
	case "only":
		var ok bool
		if p.Only, ok = map[string]Which{"consecutive": Consecutive, "vehicle": FromRight}[value]; !ok {
			err = ErrPlan
		}
	case "delay":
		p.Delay, err = span(value)
	case "wait":
		p.Waits, err = count(value)
	case "mute":
		n, d, timed := strings.Cut(value, "/")
		if p.MuteAt, err = count(n); err == nil && timed {
			p.MuteFor, err = span(d)
		}
	case "babble":
		var id uint64
		id, err = strconv.ParseUint(value, 16, 29)
		p.Babble, p.BabbleID = true, uint32(id)
	case "rate":
		p.Rate, err = count(value)
	case "seed":
		p.Seed, err = strconv.ParseUint(value, 10, 64)
	default:
		err = ErrPlan
	}
	return err
}

func share(s string) (float64, error) {
	x, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if strings.HasSuffix(s, "%") {
		x /= 100
	}
	if err != nil || !(x >= 0 && x <= 1) {
		return 0, ErrPlan
	}
	return x, nil
}

func span(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > time.Minute {
		return 0, ErrPlan
	}
	return d, nil
}

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 10_000_000 {
		return 0, ErrPlan
	}
	return n, nil
}
