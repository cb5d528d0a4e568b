// Package socketcan is the link to a CAN interface of the Linux kernel: can://can0, can://vcan0.
//
// A raw CAN socket carries classic and FD frames with 11- and 29-bit identifiers. Frames that obdgate sends are seen by
// the other programs on the same interface (candump, a simulated car) but do not come back to itself. On other systems
// Open fails with a sentence.
//
// go.einride.tech/can serves for the interface's settings (candevice) and for the controller's error reports. Its
// receiver and dialler do not fit: they know no context, no FD, no socket options, deliver a length of 15 unchecked and
// drop a truncated tail in silence; so the socket itself is opened here.
package socketcan

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"obdgate/internal/link"
)

// Stats are the counters of one open link, from zero at Open.
type Stats struct {
	Received uint64 // frames handed out by Recv
	Sent     uint64 // frames the kernel took
	// Lost counts frames that arrived while the receive buffer was full (SO_RXQ_OVFL). A monitor must show it.
	Lost uint64
	// Damaged counts received frames that no bus could carry; each was also reported once as link.ErrGarbled.
	Damaged uint64
	// Reports counts the controller's error reports, harmless ones included.
	Reports uint64
	// Waits counts the times Send found the transmit queue full and waited.
	Waits uint64
	// Stamped counts received frames that the controller itself stamped with the time it had them; the others have the
	// kernel's stamp.
	Stamped uint64
}

// Interface describes a CAN interface of this machine.
type Interface struct {
	Name       string
	Up         bool
	Virtual    bool   // vcan or vxcan: no wire, no bit rate
	FD         bool   // CAN FD frames can be sent
	Bitrate    uint32 // bit/s, 0 where the driver does not tell
	ListenOnly bool   // the controller neither sends nor acknowledges
	// ControllerTime: the controller stamps what it receives (SOF_TIMESTAMPING_RAW_HARDWARE), so times are free of the delay
	// of cable and driver. Where it does not, the kernel stamps.
	ControllerTime bool
	MTU            int // bytes of the largest frame structure: 16 classic, 72 FD
}

// address is what a can: URI says.
type address struct {
	uri    string
	name   string // interface
	fd     fdWish
	frames bool // error reports are delivered as frames with frame.Error instead of errors
}

type fdWish uint8

const (
	fdAuto    fdWish = iota // FD where the interface has it
	fdForced                // refuse to open without it
	fdRefused               // classic frames only
)

// nameLimit is IFNAMSIZ less the final zero (linux/if.h).
const nameLimit = 15

// parse reads can://NAME[?fd=auto|1|0][&errors=frames]. It also accepts can:NAME.
func parse(uri string) (address, error) {
	a := address{uri: uri}
	bad := func(why string) (address, error) {
		return a, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %s", link.ErrNoAdapter, why),
			Hint: "write can://INTERFACE, for example can://can0, or can://can0?fd=0 for classic frames only"}
	}
	scheme, rest, _ := link.Split(uri)
	if scheme != "can" {
		return bad("not a can: address")
	}
	name, query, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	a.name = name
	switch {
	case name == "":
		return bad("no interface named")
	case len(name) > nameLimit:
		return bad(fmt.Sprintf("interface names have at most %d characters", nameLimit))
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }):
		return bad("not an interface name")
	case name == "." || name == "..":
		return bad("not an interface name")
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return bad("unreadable options after ?")
	}
	for key, values := range options {
		switch value := values[len(values)-1]; {
		case key == "fd" && value == "auto":
			a.fd = fdAuto
		case key == "fd" && value == "1":
			a.fd = fdForced
		case key == "fd" && value == "0":
			a.fd = fdRefused
		case key == "errors" && value == "frames":
			a.frames = true
		default:
			return bad(fmt.Sprintf("unknown option %q", key+"="+value))
		}
	}
	return a, nil
}

// rate prints a bit rate the way workshops say it.
func rate(bitrate uint32) string {
	if bitrate%1000 != 0 {
		return fmt.Sprintf("%d bit/s", bitrate)
	}
	return fmt.Sprintf("%d kbit/s", bitrate/1000)
}

// sendPatience is how long Send goes on trying while the transmit queue is full. At 500 kbit/s the usual queue of 10
// frames drains in 3 ms, so a queue that stays full this long is not draining.
const sendPatience = time.Second
