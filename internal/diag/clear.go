package diag

import "context"

// Clearing is a way to clear a fault memory. The zero value is none.
type Clearing uint8

const (
	// ClearEmission is service 04 (SAE J1979): emission codes, freeze frames and readiness of the ECUs asked.
	ClearEmission Clearing = 1 + iota
	// ClearAll is service 14 for the group of all codes, FF FF FF (ISO 14229-1).
	ClearAll
)

// clearings are the only requests of this program that change anything in a vehicle, whole: no caller's byte is in them.
var clearings = [...][]byte{ClearEmission: {0x04}, ClearAll: {0x14, 0xFF, 0xFF, 0xFF}}

// Clear has the ECUs at to clear their fault memory. It is the one way past the list of services that only read, and takes
// no payload, so that nothing else can come this way. The caller answers for the customer's recorded request, for the
// codes being saved and for the engine standing still. Answers and errors are Request's; an ECU that has not the service
// refuses (*Negative), one that does not allow it now too. Anything but the two constants is ErrForbiddenService.
func (c *Conn) Clear(ctx context.Context, to Target, how Clearing) ([]Answer, error) {
	if how == 0 || int(how) >= len(clearings) {
		return nil, &Forbidden{Empty: true}
	}
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer func() { c.turn <- struct{}{} }()
	return c.request(ctx, question{payload: clearings[how]}, Request{To: to, Payload: clearings[how]}, false)
}
