// Package crash carries a panic from the goroutine it happened in to the one that waits for it. Without it the runtime ends
// the program there and prints what the panic says, which may quote what a vehicle said.
package crash

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
)

// Crash is a panic of another goroutine.
type Crash struct {
	Value any    // what it was called with; it may quote personal bytes and is not for printing
	Stack []byte // of the goroutine it happened in, as debug.Stack has it
}

// Error names the kind of the value, never the value.
func (c *Crash) Error() string { return fmt.Sprintf("panic in another goroutine: %T", c.Value) }

// Of is the Crash that was recovered with r, whichever goroutine it happened in. It must be called by whoever recovered.
func Of(r any) *Crash {
	if c, another := r.(*Crash); another {
		return c
	}
	return &Crash{r, debug.Stack()}
}

// Report tells of it without quoting it.
func (c *Crash) Report(w io.Writer, program string) {
	_, _ = fmt.Fprintf(w, "%s: internal fault (%T); please report it with the lines below\n%s", program, c.Value, c.Stack)
}

// Net is under the goroutines of one piece of work. The zero value is ready; safe for concurrent use.
type Net struct{ first atomic.Pointer[Crash] }

// Catch is deferred by a goroutine, before what tells others that it has ended. It keeps the first panic of all.
func (n *Net) Catch() {
	if r := recover(); r != nil {
		n.first.CompareAndSwap(nil, Of(r))
	}
}

// Raise panics with the *Crash that was caught; without one it does nothing. The goroutine that answers for the work calls it
// once it has waited for the others.
func (n *Net) Raise() {
	if c := n.first.Load(); c != nil {
		panic(c)
	}
}
