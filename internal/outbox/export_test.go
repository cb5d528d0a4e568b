package outbox

// OnYield makes f run at every point where a crash may fall; an error from it ends the call there, as a crash would.
// Points: claiming (in the claiming transaction), claimed, sent, settling (in the settling transaction), settled.
func (o *Outbox) OnYield(f func(point string) error) { o.yield = f }

// Delay is the back-off after `attempts` failures and one more.
var Delay = (*Outbox).delay
