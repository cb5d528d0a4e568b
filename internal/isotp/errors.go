package isotp

import "errors"

// One error per violation of the protocol. Receiver and Sender return these values themselves, unwrapped, so that the
// receive path allocates nothing; test with errors.Is. No error carries payload bytes.
var (
	// ErrEmpty: a frame without a PCI byte, or a message of no bytes.
	ErrEmpty = errors.New("isotp: nothing in it")
	// ErrLength: a length that the frame cannot have: a single frame longer than its frame, a first frame that would
	// have fitted a single one, a consecutive frame shorter than the rest it must carry.
	ErrLength = errors.New("isotp: length does not fit the frame")
	// ErrReserved: a PCI type or flow status that ISO 15765-2 reserves.
	ErrReserved = errors.New("isotp: reserved code")
	// ErrAddress: with extended addressing, the address byte is another one's.
	ErrAddress = errors.New("isotp: addressed to somebody else")
	// ErrUnexpected: a frame that the state of the conversation does not allow: a consecutive frame nobody waits for, a
	// new message in the middle of another, a flow control without a first frame.
	ErrUnexpected = errors.New("isotp: unexpected frame")
	// ErrSequence: a consecutive frame was lost or came out of order.
	ErrSequence = errors.New("isotp: wrong sequence number")
	// ErrDuplicate: the same frame again; it was ignored and the message goes on.
	ErrDuplicate = errors.New("isotp: frame repeated")
	// ErrTooLong: a message above the limit the Receiver or Sender was given.
	ErrTooLong = errors.New("isotp: message too long")
	// ErrTimeoutCr: the next consecutive frame did not come in time (N_Cr).
	ErrTimeoutCr = errors.New("isotp: no consecutive frame in time")
	// ErrTimeoutBs: the flow control did not come in time (N_Bs).
	ErrTimeoutBs = errors.New("isotp: no flow control in time")
	// ErrOverflow: the receiver of our message has no room for it.
	ErrOverflow = errors.New("isotp: receiver refused the length")
	// ErrWaitLimit: the receiver of our message asked to wait once too often.
	ErrWaitLimit = errors.New("isotp: receiver keeps asking to wait")
	// ErrBusy: Start was called while a message is under way.
	ErrBusy = errors.New("isotp: a message is under way")
)
