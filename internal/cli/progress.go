package cli

import (
	"io"
	"os"
	"sync/atomic"

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
	return step, func() { bar.Abort(true); bars.Wait() }
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
