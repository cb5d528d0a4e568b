// Package link says how frames reach us. Every adapter, from a bare SocketCAN interface to an ELM327 behind Wi-Fi, is a
// Link of frames; what an adapter does by itself is told by its Caps, not by a second way to read a car.
package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/frame"
)

// Link carries frames to and from one vehicle.
//
// Obligations of an implementation (linktest checks them):
//   - ctx ends every wait in Send and Recv; the error then wraps ctx.Err().
//   - Send and Recv may be called from two goroutines at once, but no two Sends and no two Recvs run at the same time.
//   - Close may be called at any moment, from any goroutine, more than once; it ends running calls with ErrClosed and
//     leaves the adapter ready for the next user.
//   - Recv returns frames in the order seen. Seq and Dir are left zero and Received; Time is the time since the link was
//     opened. A frame it returns is valid (frame.Frame.Validate).
//   - No error carries payload bytes.
type Link interface {
	Send(ctx context.Context, f frame.Frame) error
	Recv(ctx context.Context) (frame.Frame, error)
	Caps() Caps
	Close() error
}

// LegacyFunctional is the header of a functional request on a bus before ISO 15765: a frame with frame.Legacy and this ID
// asks every emission ECU. Which of K-line and J1850 it is, only the adapter finds out, so a link that has
// Caps.LegacyBus puts the header of the open protocol (68 6A F1, 61 6A F1 or C2 33 F1) in its place. Data is the request
// itself, service byte first, without length or checksum; an answer's ID is the header as received, its last byte the
// ECU.
const LegacyFunctional = 0x686AF1

// Finding the bus. A link whose protocol is not known yet looks for it when it is sent the first frame: an 11-bit frame
// is tried on the 11-bit protocols (500, then 250 kbit/s), a 29-bit frame on the 29-bit ones, a Legacy frame on K-line
// and J1850. When none of them works, Recv says ErrNoVehicle, or ErrBus when the adapter reports a fault of the bus; the
// link stays usable and the next frame of another kind is tried on its own protocols. Once a vehicle has answered, the
// protocol stays. A frame of another kind then opens the search again.

// Half-duplex links (Caps.HalfDuplex). Every Send opens a window; Recv yields what the adapter heard in it and then
// ErrQuiet, at once and as often as it is called, until the next Send. A Send ends the window of the one before; what
// comes late is dropped, never delivered as an answer to the new question. ErrGarbled from Recv says that something in
// this window was damaged and dropped, after the link has repeated the request once by itself; the good frames have
// been delivered, the window goes on to ErrQuiet. An adapter may close its window although an ECU answered with NRC
// 0x78; its final answer is then lost and the request has to be sent again, with Hint.Wait.

// Caps say what an adapter does by itself and what it can carry. Caps may change as the adapter learns (a protocol
// found); callers ask again instead of keeping them.
type Caps struct {
	Adapter  string // what it calls itself, for people: "ELM327 v1.5", "can0"
	Protocol string // bus protocol for people, empty until known: "ISO 15765-4 CAN 11/500"

	// HalfDuplex: the adapter listens only after a Send and ends its window by itself; Recv then returns ErrQuiet.
	HalfDuplex bool
	// FlowControl: the adapter answers first frames itself; the caller must not send flow control frames.
	FlowControl bool
	// SingleFrameOnly: a request must fit one ISO-TP single frame.
	SingleFrameOnly bool
	// Legacy: the open protocol is K-line or J1850; frames carry frame.Legacy and there is no ISO-TP.
	Legacy bool
	// LegacyBus: frames with frame.Legacy can be sent, the link looks for a K-line or J1850 bus then.
	LegacyBus bool
	// FD: frames of up to 64 bytes can be sent.
	FD bool
	// Instant: answers are not bound to a clock (a recording, a simulated car on stepped time); ErrQuiet, never a
	// timer, ends a window.
	Instant bool
	// IDs known to work: 11, 29 or 0 while unknown (ask the car).
	IDBits int
	// Lossy: characters were lost or changed between adapter and computer. From then on an answer is taken only when two
	// replies have it alike; what was answered before may hide damage that nobody could see, and should be read again.
	Lossy bool
	// Latency is the extra round trip of adapter and cable, added to every waiting time; 0 = none worth counting.
	Latency time.Duration
}

// Hint tells a half-duplex adapter what the next Send will draw, so that it need not wait out its timer.
type Hint struct {
	Frames  int           // frames expected in all, 0 = unknown
	Answers int           // ECUs that are known to answer, 0 = unknown: when so many have, nothing more will come
	Wait    time.Duration // how long the vehicle may take to begin, 0 = adapter's default
	Accept  []uint32      // identifiers that may answer, nil = the adapter's normal OBD filter
	FlowTo  uint32        // identifier that flow control must use, 0 = the standard pair of the answering ECU
	// Quick: the caller asks again when nobody answers, so an adapter that has seen how fast this vehicle is may wait no
	// longer than that. Without it silence is believed only after Wait.
	Quick bool
	Ext   *byte // ISO-TP extended address byte in front of every PCI sent, nil = normal addressing (BMW, MINI)
}

// Hinter is implemented by links that can use a Hint. SetHint applies to the next Send only.
type Hinter interface{ SetHint(Hint) }

// Errors that every link uses. They are wrapped; test with errors.Is.
var (
	// ErrQuiet: a half-duplex or recorded link has nothing more to say to the last Send. Not a fault.
	ErrQuiet = errors.New("nothing more is heard")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("link closed")
	// ErrGone: the adapter was unplugged or its connection broke.
	ErrGone = errors.New("adapter gone")
	// ErrNoAdapter: nothing at this address, or not an adapter we can talk to.
	ErrNoAdapter = errors.New("no adapter")
	// ErrAddress: no kind of link has such an address. It comes with ErrNoAdapter.
	ErrAddress = errors.New("unknown kind of address")
	// ErrRecording: a file that is no recording of a session, or holds none. It comes with ErrNoVehicle.
	ErrRecording = errors.New("no recording of a session")
	// ErrNoVehicle: the adapter works, the vehicle does not answer (ignition off, wrong protocol).
	ErrNoVehicle = errors.New("no answer from the vehicle")
	// ErrBus: the adapter reports a fault of the bus (wiring, bit rate, bus off).
	ErrBus = errors.New("bus fault")
	// ErrGarbled: what the adapter delivered was damaged and has been dropped; asking again may help.
	ErrGarbled = errors.New("damaged data from the adapter")
	// ErrUnsupported: the adapter cannot carry this frame or request.
	ErrUnsupported = errors.New("not supported by this adapter")
	// ErrUnrecorded: a recording does not contain the question. Send says it; the link goes on, and Recv is quiet.
	ErrUnrecorded = errors.New("question not in the recording")
)

// Error is what a link reports: what was being done, where, why, and what the user can do about it.
type Error struct {
	Op   string // "open", "send", "receive", "init"
	URI  string // the link's address
	Err  error  // wraps one of the sentinels above or the system's error
	Hint string // what to do next, a sentence; empty when nothing helps
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.URI, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
