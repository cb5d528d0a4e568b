package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"obdgate/internal/scan"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows the steps of a scan on stderr when that is a terminal. The returned functions take a step and end it.
func (p *program) progress() (func(scan.Step), func()) {
	if !terminal(p.Err) || p.verbose {
		return nil, func() {}
	}
	bars := mpb.New(mpb.WithOutput(p.Err), mpb.WithWidth(24))
	var name atomic.Value // of the step, read by the bar's own goroutine
	name.Store(p.words.T("scan.title"))
	bar := bars.AddBar(int64(len(scan.Steps)), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return name.Load().(string) })))
	step := func(s scan.Step) {
		name.Store(p.words.T("step." + string(s)))
		bar.Increment()
	}
	p.notices.to(bars) // above the bar, not through it
	return step, func() { p.notices.to(nil); bar.Abort(true); bars.Wait() }
}

// notices carry what a link has to say while a command waits for it. A link tells it from a goroutine of its own.
type notices struct {
	mu sync.Mutex
	w  io.Writer // nil = stderr
}

func (n *notices) to(w io.Writer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.w = w
}

// lost tells that an adapter went silent and is waited for, so that nobody sits before a screen that says nothing; 0 = it
// is back.
func (p *program) lost(wait time.Duration) {
	p.notices.mu.Lock()
	defer p.notices.mu.Unlock()
	w := p.notices.w
	if w == nil {
		w = p.Err
	}
	text := p.words.T("scan.back")
	if wait > 0 {
		text = p.words.T("scan.lost", int(wait.Seconds()))
	}
	fmt.Fprintln(w, text)
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
