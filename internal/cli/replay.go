package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/open"
	"obdgate/internal/link"
	"obdgate/internal/link/replay"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/play"

	"github.com/spf13/cobra"
)

type replayOptions struct {
	on, ids string
	speed   float64
	loops   int
	piece   string
	answer  bool
}

func (p *program) replay() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use: "replay FILE --on LINK", Short: "Play a recording onto a bus", Args: exactArgs(1),
		Long: `replay plays a recording onto a CAN bus: every frame at its time. FILE is a candump log, ASC, pcapng, pcap or BLF,
also packed with gzip or zstd; what is in it decides, not its name.

With --answer it plays the car's part only: a tester on the bus asks, and gets the answers that were recorded to
its questions, as long after them as they came then; the rest of a long answer waits for the tester's flow control.
It runs until it is interrupted and prints one line, "ready ADDRESS", when it listens. Questions that are not in
the recording stay unanswered and are counted.

LINK is can://vcan0, or just vcan0.`,
		Example: `  obdgate replay car.log --on vcan0
  obdgate replay drive.blf --on can://vcan0 --speed 10 --id 7E8,100-1FF --seconds 30-90
  obdgate replay car.log.zst --on vcan0 --answer`,
		RunE: func(c *cobra.Command, args []string) error { return p.runReplay(c.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.on, "on", "", "the bus: can://vcan0")
	f.Float64Var(&o.speed, "speed", 1, "times as fast as recorded; 0 as fast as the bus takes it")
	f.IntVar(&o.loops, "loop", 1, "play so many times; 0 until interrupted")
	f.StringVar(&o.ids, "id", "", "only these identifiers: 7E8,100-1FF,18DAF110")
	f.StringVar(&o.piece, "seconds", "", "only this piece, in seconds since the first frame: 30-90, 30-, -90")
	f.BoolVar(&o.answer, "answer", false, "play the car: answer when asked, send nothing else")
	return c
}

// selection checks the options that say which frames.
func (o replayOptions) selection() (s play.Selection, err error) {
	switch {
	case o.on == "":
		return s, usage("name the bus: --on can://vcan0", errors.New("no bus is named"))
	case o.speed < 0 || math.IsNaN(o.speed) || math.IsInf(o.speed, 0):
		return s, usage("--speed 1 as recorded, 10 ten times as fast, 0 at once", fmt.Errorf("a speed of %v", o.speed))
	case o.loops < 0:
		return s, usage("--loop 3, or --loop 0 until interrupted", fmt.Errorf("%d loops", o.loops))
	case o.answer && (o.ids != "" || o.piece != "" || o.loops != 1):
		return s, usage("--answer plays the whole car; only --speed goes with it", errors.New("--answer with a selection"))
	}
	if err := s.ParseIDs(o.ids); err != nil {
		return s, usage("", err)
	}
	if s.From, s.To, err = seconds(o.piece); err != nil {
		return s, usage("--seconds 30-90, --seconds 30- or --seconds -90", err)
	}
	return s, nil
}

// seconds reads "30-90", "30-", "-90" and "".
func seconds(text string) (from, to time.Duration, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "-")
	bad := fmt.Errorf("%q is no piece of a recording", text)
	if !ok {
		return 0, 0, bad
	}
	for s, d := range map[string]*time.Duration{a: &from, b: &to} {
		if s == "" {
			continue
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= 0 && n < 1e8) {
			return 0, 0, bad
		}
		*d = time.Duration(n * float64(time.Second))
	}
	if b != "" && to <= from {
		return 0, 0, bad
	}
	return from, to, nil
}

func (p *program) runReplay(ctx context.Context, path string, o replayOptions) error {
	selection, err := o.selection()
	if err != nil {
		return err
	}
	if !strings.Contains(o.on, ":") {
		o.on = "can://" + o.on
	}
	if scheme, _, _ := link.Split(o.on); scheme != "can" {
		return usage("a recording is played onto a CAN interface: --on can://vcan0", fmt.Errorf("nothing can be played onto %q", o.on))
	}
	if o.answer {
		return p.answerFrom(ctx, path, o)
	}
	src, file, err := openRecording(path) // before the bus: a wrong name is told at once
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	l, err := socketcan.Open(ctx, o.on)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the program ends here
	var total play.Progress
	for loop := 1; ; loop++ {
		did, err := play.Play(ctx, src, l, play.Options{Speed: o.speed, Select: selection, Told: p.played()})
		total = add(total, did)
		if err != nil || o.loops > 0 && loop == o.loops || ctx.Err() != nil || did.Sent == 0 {
			return p.playedAll(ctx, path, src, total, err)
		}
		if err := file.Close(); err != nil {
			return err
		}
		if src, file, err = openRecording(path); err != nil {
			return err
		}
	}
}

// add sums up loops.
func add(a, b play.Progress) play.Progress {
	b.Sent += a.Sent
	b.Unsendable += a.Unsendable
	b.Late = max(a.Late, b.Late)
	if a.Why != nil {
		b.Why = a.Why
	}
	return b
}

// played shows on a terminal how far the playing is, ten times a second.
func (p *program) played() func(play.Progress) {
	if !terminal(p.Err) {
		return nil
	}
	next := p.now()
	return func(x play.Progress) {
		if now := p.now(); !now.Before(next) {
			next = now.Add(100 * time.Millisecond)
			fmt.Fprintf(p.Err, "\r%s ", p.words.T("replay.progress", x.Sent, x.Time.Seconds()))
		}
	}
}

func (p *program) playedAll(ctx context.Context, path string, src canlog.Source, total play.Progress, err error) error {
	if terminal(p.Err) {
		fmt.Fprintln(p.Err)
	}
	p.say("replay.done", total.Sent, total.Time.Seconds(), float64(total.Late.Microseconds())/1000)
	if total.Unsendable > 0 {
		p.say("replay.unsendable", total.Unsendable, total.Why)
	}
	p.tellDamage(src)
	switch err = quietEnd(ctx, err); {
	case errors.Is(err, canlog.ErrDamaged):
		return fail(exitData, "", err)
	case err == nil && ctx.Err() == nil && src.Frames() == 0:
		return fail(exitData, "a candump log, ASC, pcapng, pcap or BLF is wanted", fmt.Errorf("%s holds no frame", filepath.Base(path)))
	}
	return err
}

// tellDamage says what of a recording could not be read and what was passed over.
func (p *program) tellDamage(src canlog.Source) {
	if n := src.Damaged(); n > 0 {
		p.say("recording.damaged", n, src.Faults()[0])
	}
	if n := src.Skipped(); n > 0 {
		p.say("recording.skipped", n)
	}
}

// openRecording opens a file of any format.
func openRecording(path string) (canlog.Source, *os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fail(exitNoInput, "check the path; it is looked up from the current directory", err)
	}
	src, _, err := open.Reader(file)
	if err != nil {
		_ = file.Close()
		return nil, nil, fail(exitData, "", fmt.Errorf("%s: %w", filepath.Base(path), err))
	}
	return src, file, nil
}

// answerFrom plays the car until the user has had enough.
func (p *program) answerFrom(ctx context.Context, path string, o replayOptions) error {
	file, err := os.Open(path)
	if err != nil {
		return fail(exitNoInput, "check the path; it is looked up from the current directory", err)
	}
	car, err := replay.NewAnswerer(ctx, "replay:"+path, file, o.speed)
	if err = errors.Join(err, file.Close()); err != nil {
		_, hint := exitOf(err)
		return fail(exitData, hint, err)
	}
	l, err := socketcan.Open(ctx, o.on)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the program ends here
	p.ready(o.on)
	err = quietEnd(ctx, car.Serve(ctx, l))
	s := car.Stats()
	p.say("replay.answered", s.Requests, s.Unrecorded)
	if s.Damaged > 0 {
		p.say("recording.damaged", s.Damaged, s.Faults[0])
	}
	return err
}
