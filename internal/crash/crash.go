// Package crash carries a panic from the goroutine it happened in to the one that waits for it. Without it the runtime ends
// the program there and prints what the panic says, which may quote what a vehicle said.
package crash

import (
	"bytes"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
)

// Crash is a panic of another goroutine.
type Crash struct {
	Value any    // what it was called with; it may quote personal bytes and is not for printing
	Stack []byte // of the goroutine it happened in, as debug.Stack has it, without what functions were called with
}

// Error names the kind of the value, never the value.
func (c *Crash) Error() string { return fmt.Sprintf("panic in another goroutine: %T", c.Value) }

// Of is the Crash that was recovered with r, whichever goroutine it happened in. It must be called by whoever recovered.
func Of(r any) *Crash {
	if c, another := r.(*Crash); another {
		return c
	}
	return &Crash{r, places(debug.Stack())}
}

// places leaves of a stack where it happened. What functions were called with is cut: a number among it may be a value of the
// vehicle's.
func places(stack []byte) []byte {
	var out []byte
	for line := range bytes.Lines(stack) {
		if at := bytes.LastIndexByte(line, '('); at > 0 && line[0] != '\t' && bytes.HasSuffix(line, []byte(")\n")) {
			line = append(line[:at:at], "(…)\n"...)
		}
		out = append(out, line...)
	}
	return out
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

// Start runs f in a goroutine with the net under it. What it returns is closed when f has ended; whoever waits for that then
// calls Raise.
func (n *Net) Start(f func()) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer n.Catch()
		f()
	}()
	return done
}

// Raise panics with the *Crash that was caught; without one it does nothing. The goroutine that answers for the work calls it
// once it has waited for the others.
func (n *Net) Raise() {
	if c := n.first.Load(); c != nil {
		panic(c)
	}
}
