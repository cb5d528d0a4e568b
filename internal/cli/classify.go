package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/canlog/open"
	"obdgate/internal/classify"
	"obdgate/internal/report"
	"obdgate/internal/scan"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

type classifyOptions struct {
	files      []string
	to         string
	only, mask string
	dbc        []string
	svg        string
	ids        string
}

func (p *program) classify() *cobra.Command {
	var o classifyOptions
	c := &cobra.Command{
		Use: "classify FILE...", Short: "Tag a recorded log: what is technical, what is personal, and what may be passed on",
		Long: `classify reads recordings (candump, as logged or as printed, ASC, pcapng, pcap, BLF, each also with gzip or zstd; - is stdin) and shows how much
of what is in them, and when. With --to it writes the frames instead, in order, to stdout.

--only technical leaves out every frame that is not technical. --mask personal keeps all frames and sets every
byte that is not technical to zero. Both are safe to send to a supplier: nothing personal, and nothing that no
rule knows, has any influence on a byte of them. What is technical stays, the VIN among it, and so do
interfaces, identifiers and times; lines that pass unchanged are copied as they are. In pcapng the tag is the comment of the packet, so that Wireshark shows it.

--ids 7E8,18DAF110 lets only these identifiers pass, --ids not:7E8 all but these; frames left out count nowhere. With
--to candump alone, the other lines are copied byte for byte.

A maker's own control units (710 and 77A are Volkswagen's) and places of the mileage are known from the recording's first VIN
on, once the tester has asked there; before that such frames are personal.

Damaged lines are counted, told and never written. The exit code is then 65, and all else is done.

Without --dbc every broadcast frame is personal: what its identifier means is the maker's. Name your database; its
signals are technical where the file says so: BA_ "PrivacyClass" SG_ id name "technical".` + exitHelp,
		Example: `  obdgate classify drive.log
  obdgate classify --to candump --mask personal --dbc body.dbc drive.log > for-supplier.log
  obdgate classify --to jsonl drive.log.gz > drive.jsonl
  obdgate classify --to pcapng drive.asc > drive.pcapng
  obdgate classify --to candump --ids not:7E8,18DAF110 drive.log > without.log`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("usage: "+c.UseLine(), errors.New("no recording named; - is stdin"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			return p.runClassify(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "summary", "what to write: summary, candump, jsonl or pcapng")
	f.StringVar(&o.only, "only", "", "technical: leave out frames that are not")
	f.StringVar(&o.mask, "mask", "", "personal: set bytes that are not technical to zero")
	f.StringArrayVar(&o.dbc, "dbc", nil, "broadcast database with privacy attributes; may be repeated")
	f.StringVar(&o.ids, "ids", "", "only these identifiers, as 7E8,18DAF110; not:7E8 = all but these")
	f.StringVar(&o.svg, "svg", "", "also draw bytes by category over time into this file")
	return c
}

var classifyFormats = map[string]classify.Format{"summary": classify.Nothing, "candump": classify.Candump, "jsonl": classify.JSONL, "pcapng": classify.PCAPNG}

func (p *program) runClassify(ctx context.Context, o classifyOptions) error {
	to, known := classifyFormats[o.to]
	ids, wrong := canlog.ParseIDs(o.ids)
	switch {
	case !known:
		return usage("--to summary, candump, jsonl or pcapng", fmt.Errorf("there is no --to %q", o.to))
	case o.only != "" && o.only != "technical":
		return usage("--only technical", fmt.Errorf("there is no --only %q", o.only))
	case o.mask != "" && o.mask != "personal":
		return usage("--mask personal", fmt.Errorf("there is no --mask %q", o.mask))
	case to == classify.Nothing && (o.only != "" || o.mask != ""):
		return usage("add --to candump, jsonl or pcapng", errors.New("--only and --mask shape what is written, and nothing is"))
	case o.ids != "" && wrong != nil:
		return usage("--ids 7E8,18DAF110 or --ids not:7E8", wrong)
	case o.svg != "" && len(o.files) > 1:
		return usage("draw one recording at a time", errors.New("--svg is one picture"))
	}
	// What is read to begin with is about as much as the least the collector waits for: it would look through all of it once,
	// and find nothing to free. Frames need no memory.
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	run := classify.Options{To: to, Only: o.only != "", Mask: o.mask != "", Count: o.svg != ""}
	if o.ids != "" {
		run.IDs = ids
	}
	doc := report.NewClassified("")
	if !run.Sieves() || len(o.dbc) > 0 {
		if err := p.classifyBy(&run, o.dbc); err != nil {
			return err
		}
		if to == classify.Nothing {
			doc = report.NewClassified(run.Policy.Version())
		}
	}
	if len(o.dbc) == 0 && (o.only != "" || o.mask != "") {
		fmt.Fprintln(p.Err, p.words.T("classify.no-database"))
	}
	damaged := 0
	for _, name := range o.files {
		s, err := p.classifyFile(ctx, name, run)
		if err != nil {
			return err
		}
		damaged += s.Damaged
		doc.Add(name, s)
		for _, f := range s.Faults {
			fmt.Fprintf(p.Err, "%s: %v\n", name, f)
		}
		if n := s.Damaged - len(s.Faults); n > 0 {
			fmt.Fprintln(p.Err, p.words.T("classify.more-damaged", name, n))
		}
		if s.LeftOut > 0 {
			fmt.Fprintln(p.Err, p.words.T("classify.left-out", name, s.LeftOut))
		}
	}
	if err := p.showClassified(doc, o); err != nil {
		return err
	}
	if damaged > 0 {
		return fail(exitData, p.words.T("classify.damaged-hint"), errors.New(p.words.T("classify.damaged-error", damaged)))
	}
	return nil
}

// classifyBy puts the rules, what is known of makers and the broadcast databases of these names into o.
func (p *program) classifyBy(o *classify.Options, names []string) error {
	read := inBackground(func() (err error) { // both take some milliseconds
		o.DB, err = p.signals(names)
		return err
	})
	var err error
	o.Policy, err = p.rules()
	o.Makers = scan.Makers()
	return errors.Join(err, read())
}

func (p *program) showClassified(doc report.Classified, o classifyOptions) error {
	if o.svg != "" {
		f, err := os.Create(o.svg)
		if err != nil {
			return fail(exitCantCreate, "", err)
		}
		err = report.ClassifiedSVG(f, doc.Files[0], p.words)
		if err = errors.Join(err, f.Close()); err != nil {
			return fail(exitIO, "", err)
		}
	}
	switch {
	case o.to != "summary":
		return nil
	case p.json:
		return p.writeJSON(doc)
	}
	t := report.NewText(p.Out, p.words)
	if terminal(p.Out) {
		if columns, _, err := term.GetSize(int(p.Out.(*os.File).Fd())); err == nil {
			t.Fit(columns)
		}
	}
	for i, f := range doc.Files {
		if i > 0 {
			t.Line("")
		}
		if err := t.Classified(f); err != nil {
			return err
		}
	}
	return t.Err()
}

// signals are the broadcast databases named. Without one no broadcast frame is technical: the database that ships with the
// program describes virtual vehicles, on a real one the same identifiers mean other things.
func (p *program) signals(names []string) (*dbc.Database, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var dbs []*dbc.Database
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		d, err := dbc.Parse(name, b)
		if err != nil {
			return nil, fail(exitData, "correct the file at that place", err)
		}
		dbs = append(dbs, d)
	}
	d, err := dbc.Merge(dbs...)
	if err != nil {
		return nil, fail(exitData, "name databases of one vehicle that do not overlap", err)
	}
	return d, nil
}

func (p *program) classifyFile(ctx context.Context, name string, o classify.Options) (*classify.Summary, error) {
	in, size := p.In, int64(0)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	read, done := p.reading(name, size)
	text, other, err := open.Text(io.TeeReader(in, read))
	if err == nil && other != nil {
		text = classify.Text(other)
	}
	var s *classify.Summary
	if err == nil {
		s, err = classify.Run(ctx, text, p.Out, o)
	}
	done()
	switch {
	case err == nil:
	case errors.Is(err, canlog.ErrDamaged):
		return nil, fail(exitData, "what came before the damage was read and written", fmt.Errorf("%s: %w", name, err))
	case errors.Is(err, context.Canceled):
		return nil, err
	default:
		return nil, fail(exitIO, "", fmt.Errorf("%s: %w", name, err))
	}
	if other != nil { // damage is what its own reader could not read
		s.Damaged, s.Faults = other.Damaged(), other.Faults()
	}
	return s, nil
}

// reading shows on stderr how much of a file is read, when that is a terminal and the output is none.
func (p *program) reading(name string, size int64) (io.Writer, func()) {
	if !terminal(p.Err) || terminal(p.Out) && size < 1<<24 || p.verbose || size == 0 {
		return io.Discard, func() {}
	}
	bars := mpb.New(mpb.WithOutput(p.Err), mpb.WithWidth(32))
	bar := bars.AddBar(size, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name(name)),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")))
	return progressTo{bar}, func() { bar.Abort(true); bars.Wait() }
}

type progressTo struct{ bar *mpb.Bar }

func (w progressTo) Write(b []byte) (int, error) { w.bar.IncrBy(len(b)); return len(b), nil }
