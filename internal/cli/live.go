package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/report"
	"obdgate/internal/scan"

	"golang.org/x/term"
)

// liveOptions are the flags of scan that only a live view has.
type liveOptions struct {
	pids  string
	every time.Duration
	count int
}

// named are the PIDs that were typed: 0C,05 or 010C,0105.
func (o liveOptions) named() ([]byte, error) {
	var out []byte
	for _, word := range strings.FieldsFunc(o.pids, func(r rune) bool { return r == ',' || r == ' ' }) {
		text := strings.TrimPrefix(strings.ToUpper(word), "0X")
		if len(text) == 4 {
			text = strings.TrimPrefix(text, "01")
		}
		n, err := strconv.ParseUint(text, 16, 8)
		if err != nil || len(text) > 2 {
			return nil, usage("PIDs of service 01 in hexadecimal, for example --pid 0C,05,42", fmt.Errorf("%q is no PID", word))
		}
		out = append(out, byte(n))
	}
	return out, nil
}

// runLive shows chosen values of a vehicle as they change, until Ctrl-C or --count rounds. It opens no visit and no state:
// what is watched is looked at and gone.
func (p *program) runLive(ctx context.Context, uri string, o scanOptions) (err error) {
	pids, err := o.live.named()
	switch {
	case err != nil:
		return err
	case o.visit != "":
		return usage("leave out --visit", errors.New("a live view belongs to no visit: nothing of it is stored"))
	case o.live.every < 0 || o.live.count < 0:
		return usage("--every 500ms, --count 20", errors.New("the pace and the count of a live view are not negative"))
	}
	rules, err := p.rules()
	if err != nil {
		return err
	}
	record, closeRecord, err := create(o.record)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRecord()) }()
	l, err := p.openLink(ctx, &uri)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	signals, err := broadcasts(uri)
	if err != nil {
		return err
	}
	show := p.shower(uri)
	rounds, began := 0, p.now()
	for one, err := range scan.Live(ctx, l, scan.LiveOptions{Policy: rules, DBC: signals, PIDs: pids, Record: record, Log: p.log}) {
		if errors.Is(err, scan.ErrNotFitted) {
			return fail(exitProtocol, "leave out --pid to see what it has", err)
		}
		if err != nil {
			return err
		}
		if rounds++; rounds == 1 && len(one.Lacking) > 0 {
			p.say("live.lacking", hexList(one.Lacking))
		}
		if err := show(report.NewMoment(p.now().Sub(began).Round(time.Millisecond).Seconds(), one.Values, one.Errors, rules)); err != nil {
			return err
		}
		if rounds == o.live.count || !p.pause(ctx, began.Add(time.Duration(rounds)*o.live.every)) {
			return nil
		}
	}
	return nil
}

// shower is how moments are shown: in place on a terminal, lines elsewhere, JSON lines for programs.
func (p *program) shower(uri string) func(report.Moment) error {
	switch {
	case p.json:
		return func(m report.Moment) error { return report.WriteMoment(p.Out, m) }
	case terminal(p.Out):
		size := func() (int, int) {
			w, h, err := term.GetSize(int(p.Out.(*os.File).Fd()))
			if err != nil {
				return 0, 0
			}
			return w, h
		}
		return report.NewScreen(p.Out, p.words, size, uri).Show
	}
	return report.NewText(p.Out, p.words).Moment
}

// pause waits until the clock shows at; false when ctx ended before. A round that took longer is followed at once.
func (p *program) pause(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(at.Sub(p.now()))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func hexList(ids []byte) string {
	var out []string
	for _, id := range ids {
		out = append(out, fmt.Sprintf("%02X", id))
	}
	return strings.Join(out, ", ")
}
