package socketcan

import "time"

// controllerClock turns the controller's own time stamps into time since Open. A controller counts from a moment of its
// own, at its own pace; what both clocks have in common is that the kernel can only see a frame after the controller did.
// So the least difference seen is the distance of the clocks, and the rest is delay in cable and driver. The distance is
// learned anew in spans, so that clocks that drift apart (50 ppm is usual) stay together within a tenth of a millisecond.
//
// It is a value, for one goroutine.
type controllerClock struct {
	known   bool
	began   time.Duration // of the running span, controller's clock
	last    time.Duration // newest stamp
	running time.Duration // least distance in the running span
	before  time.Duration // and in the one before
}

const (
	clockSpan = 2 * time.Second
	// clockJump: no cable delays a frame so long; the controller was reset or its clock was set.
	clockJump = time.Second
)

// at is when the frame stamped by the controller was on the bus. seen is when the kernel had it; both are non-negative.
// The result is never later than seen.
func (c *controllerClock) at(stamp, seen time.Duration) time.Duration {
	distance := seen - stamp
	if best := min(c.running, c.before); !c.known || stamp < c.last-clockJump || distance > best+clockJump || distance < best-clockJump {
		*c = controllerClock{known: true, began: stamp, last: stamp, running: distance, before: distance}
		return seen
	}
	c.last = max(c.last, stamp)
	if stamp-c.began >= clockSpan {
		c.began, c.before, c.running = stamp, c.running, distance
	}
	c.running = min(c.running, distance)
	return min(seen, stamp+min(c.running, c.before))
}
