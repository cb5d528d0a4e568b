package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/monitor"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/scan"
	"obdgate/internal/sim"

	"github.com/spf13/cobra"
)

type monitorOptions struct {
	only, mask, stats string
	decode            bool
	count             uint64
}

func (p *program) monitor() *cobra.Command {
	var o monitorOptions
	c := &cobra.Command{
		Use: "monitor [LINK...]", Short: "Show live frames with their tags", Args: argsBetween(0, 16),
		Long: `monitor shows every frame on a bus as it comes, like candump, with its tag (technical or personal) and category.
It only listens: no question is ever sent. It ends when it is interrupted, when --count frames were shown or when
a recording ends; then it says how many frames there were, and how many were lost. LINK is one of

  can://can0              SocketCAN (Linux)
  sim:golf8?traffic=1     a built-in virtual vehicle with its broadcast traffic
  replay:car.log          a recording (candump, ASC, pcapng, pcap, BLF; gzip, zstd), as fast as it can be read
  auto                    the only CAN interface that is up (default)

Several CAN interfaces are watched together: name each.

A frame of a longer diagnostic message waits for the rest of it, because only then it is known what its bytes mean. A maker's
own control units are known once a tester has asked for the VIN and then there; before that their frames are personal.`,
		Example: `  obdgate monitor can://can0
  obdgate monitor can://can0 --only technical --json --count 1000
  obdgate monitor can://can0 can://can1
  obdgate monitor sim:golf8?traffic=1 --decode --mask personal
  obdgate monitor replay:drive.blf --stats`,
		RunE: func(c *cobra.Command, args []string) error { return p.runMonitor(c.Context(), args, o) },
	}
	f := c.Flags()
	f.StringVar(&o.only, "only", "", "technical or personal: leave out frames of the other tag")
	f.StringVar(&o.mask, "mask", "", "personal: zeros in place of what is not technical")
	f.BoolVar(&o.decode, "decode", false, "show the values of known broadcast signals, each with its own tag")
	f.StringVar(&o.stats, "stats", "", "count instead of showing: by identifier and category, at the end or every second (--stats=1s)")
	f.Lookup("stats").NoOptDefVal = "end"
	f.Uint64Var(&o.count, "count", 0, "end after so many frames; 0 = never")
	return c
}

// watchOptions checks what was typed.
func (p *program) watchOptions(o monitorOptions) (w monitor.Options, err error) {
	w = monitor.Options{Decode: o.decode, JSON: p.json, Count: o.count, Silent: o.stats != ""}
	switch o.only {
	case "":
	case "technical":
		w.Only = policy.Technical
	case "personal":
		w.Only = policy.Personal
	default:
		return w, usage("--only technical or --only personal", fmt.Errorf("there is no tag %q", o.only))
	}
	switch o.mask {
	case "":
	case "personal":
		w.Mask = true
	default:
		return w, usage("--mask personal", fmt.Errorf("%q cannot be masked", o.mask))
	}
	if o.stats != "" && o.stats != "end" {
		if w.Every, err = time.ParseDuration(o.stats); err != nil || w.Every < 100*time.Millisecond {
			return w, usage("--stats, or --stats=1s for every second", fmt.Errorf("no such interval: %q", o.stats))
		}
	}
	w.Makers = scan.Makers()
	w.Policy, err = p.rules()
	return w, err
}

// ear is an open feed and what can be known about it.
type ear struct {
	feed    monitor.Feed
	buses   []string // their names, none = the recording's
	source  canlog.Source
	lost    func() uint64
	live    bool
	closing func() error
}

func (p *program) runMonitor(ctx context.Context, uris []string, o monitorOptions) (err error) {
	uri := first(uris, "auto")
	w, err := p.watchOptions(o)
	if err != nil {
		return err
	}
	if w.DBC, err = broadcasts(uri); err != nil {
		return err
	}
	var e ear
	if len(uris) > 1 {
		e, err = p.listenAll(ctx, uris)
	} else {
		e, err = p.listen(ctx, uri)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.closing()) }()
	w.Live = e.live
	w.Bus = func(i uint8) string {
		if e.source == nil {
			return e.buses[min(int(i), len(e.buses)-1)]
		}
		// The recording is read in another goroutine: its list of names is not to be looked at here.
		return "can" + strconv.Itoa(int(i))
	}
	if w.Every > 0 {
		w.Report = func(c *monitor.Counts) { _ = p.printCounts(c, w.Bus) }
	}
	w.Ended = func(bus int, err error) {
		if len(e.buses) > 1 {
			p.say("monitor.ended", e.buses[bus], err)
		}
	}
	counts, err := monitor.Run(ctx, e.feed, p.Out, w)
	if e.lost != nil {
		counts.Dropped += e.lost()
	}
	if o.stats != "" {
		err = errors.Join(err, p.printCounts(counts, w.Bus))
	}
	p.say("monitor.summary", counts.Frames, counts.Technical, counts.Personal)
	if counts.Dropped > 0 {
		p.say("monitor.dropped", counts.Dropped)
	}
	if counts.Faults > 0 {
		p.say("monitor.faults", counts.Faults)
	}
	if e.source != nil {
		p.tellDamage(e.source)
	}
	switch {
	case errors.Is(err, monitor.ErrNotABus):
		return usage("listen on can://can0 or sim:golf8?traffic=1", fmt.Errorf("%s speaks only when it is asked", uri))
	case errors.Is(err, canlog.ErrDamaged):
		return fail(exitData, "", err)
	case err == nil && e.source != nil && ctx.Err() == nil && counts.Frames == 0:
		return fail(exitData, "a candump log, ASC, pcapng, pcap or BLF is wanted", errors.New("the recording holds no frame"))
	}
	return err
}

// listen opens what uri names for listening.
func (p *program) listen(ctx context.Context, uri string) (ear, error) {
	if uri == "auto" {
		found, err := canInterfaces()
		if err != nil || len(found) != 1 {
			return ear{}, fail(exitUnavailable, "name one: obdgate monitor can://can0, or sim:golf8?traffic=1 without any hardware",
				errors.Join(err, fmt.Errorf("%d CAN interfaces are up: %s", len(found), strings.Join(found, ", "))))
		}
		p.say("scan.found", found[0])
		uri = found[0]
	}
	scheme, rest, _ := link.Split(uri)
	switch scheme {
	case "replay":
		src, file, err := openRecording(rest)
		if err != nil {
			return ear{}, err
		}
		return ear{feed: monitor.Recorded(src), source: src, closing: file.Close}, nil
	case "sim":
		l, err := sim.Open(ctx, uri)
		if err != nil {
			return ear{}, err
		}
		return ear{feed: l, buses: []string{"sim"}, live: !l.Caps().Instant, closing: l.Close}, nil
	case "can":
		name, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
		if !strings.Contains(uri, "?") {
			uri += "?errors=frames"
		} else if !strings.Contains(uri, "errors=") {
			uri += "&errors=frames"
		}
		l, err := socketcan.Open(ctx, uri)
		if err != nil {
			return ear{}, err
		}
		e := ear{feed: l, buses: []string{name}, live: true, closing: l.Close}
		if s, ok := l.(interface{ Stats() socketcan.Stats }); ok {
			e.lost = func() uint64 { return s.Stats().Lost }
		}
		return e, nil
	}
	return ear{}, usage("can://can0, sim:golf8?traffic=1 or replay:car.log", fmt.Errorf("there is nothing to listen to at %q", uri))
}

// listenAll opens several CAN interfaces. Their clocks begin together.
func (p *program) listenAll(ctx context.Context, uris []string) (ear, error) {
	all := ear{live: true}
	var feeds monitor.Several
	var ears []ear
	all.closing = func() (err error) {
		for _, e := range ears {
			err = errors.Join(err, e.closing())
		}
		return err
	}
	var began time.Time
	for i, uri := range uris {
		if scheme, _, _ := link.Split(uri); scheme != "can" {
			return ear{}, errors.Join(usage("several CAN interfaces can be watched together: can://can0 can://can1",
				fmt.Errorf("%q is not one of several CAN interfaces", uri)), all.closing())
		}
		e, err := p.listen(ctx, uri)
		if err != nil {
			return ear{}, errors.Join(err, all.closing())
		}
		if i == 0 {
			began = p.now()
		}
		ears = append(ears, e)
		feeds = append(feeds, e.feed)
		if many, ok := e.feed.(monitor.BatchFeed); ok {
			feeds[i] = later{many, p.now().Sub(began)}
		}
		all.buses = append(all.buses, e.buses...)
	}
	all.feed = feeds
	all.lost = func() (n uint64) {
		for _, e := range ears {
			if e.lost != nil {
				n += e.lost()
			}
		}
		return n
	}
	return all, nil
}

// later is an interface that was opened later than another, whose clock it keeps.
type later struct {
	monitor.BatchFeed
	by time.Duration
}

func (l later) RecvBatch(ctx context.Context, into []frame.Frame) (int, error) {
	n, err := l.BatchFeed.RecvBatch(ctx, into)
	for i := range into[:n] {
		into[i].Time += l.by
	}
	return n, err
}

func canInterfaces() (up []string, err error) {
	all, err := socketcan.Interfaces()
	for _, c := range all {
		if c.Up {
			up = append(up, "can://"+c.Name)
		}
	}
	return up, err
}

// printCounts prints the table of --stats, or its JSON object on one line.
func (p *program) printCounts(c *monitor.Counts, bus func(uint8) string) error {
	t := report.Traffic{Frames: c.Frames, Technical: c.Technical, Personal: c.Personal, Bytes: c.Bytes, Dropped: c.Dropped,
		Faults: c.Faults, OtherIDs: c.OtherIDs, IDs: []report.TrafficID{}, Categories: []report.TrafficCategory{}}
	for _, i := range c.IDs() {
		t.IDs = append(t.IDs, report.TrafficID{ID: i.String(), Bus: bus(i.Bus), Frames: i.Frames, Bytes: i.Bytes, Rate: i.Rate(),
			Technical: i.Technical, Personal: i.Personal})
	}
	for _, k := range c.ByBytes() {
		t.Categories = append(t.Categories, report.TrafficCategory{Category: string(k.Category), Frames: k.Frames, Bytes: k.Bytes, PersonalBytes: k.PersonalBytes})
	}
	if p.json {
		return json.NewEncoder(p.Out).Encode(t)
	}
	return report.NewText(p.Out, p.words).Traffic(t)
}
