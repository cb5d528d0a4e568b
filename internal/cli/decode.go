package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"

	"obdgate/internal/decode"
	"obdgate/internal/policy"
	"obdgate/internal/report"

	"github.com/spf13/cobra"
)

// maxLine bounds one JSON line of decode: a 4095-byte answer as adapter text is about 15 kB.
const maxLine = 1 << 20

func (p *program) decode() *cobra.Command {
	return &cobra.Command{
		Use: "decode [REQUEST RESPONSE...]", Short: "Decode recorded answers",
		Long: `decode takes a request and the answers to it, as hexadecimal text, as CAN frames or as an adapter printed them.
With --json and no arguments it reads JSON lines from stdin and writes one object per line:

  {"request":"0917","response":["7E8 10 13 49 17 01 00 00 30","7E8 21 …"]}

A request may say whom it asks, in front of it (7E0 22F190, 6F1 60 03 22 D1 0D): makers' own identifiers are then
read even where the answer has no identifier. Echoes, prompts, times and lost line breaks are understood.`,
		Example: `  obdgate decode 0105 410578
  obdgate decode 03 "7E8 06 43 02 01 33 C1 58"
  obdgate decode "6F1 60 03 22 D1 0D" "660 F1 10 0B 62 D1 0D 00 02" "660 F1 21 86 B3 00 02 86 B3"
  obdgate decode --json < answers.jsonl`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 0 && !p.json {
				return usage("usage: "+c.UseLine(), errors.New("a request and at least one answer are needed, or --json and lines on stdin"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			rules, err := p.rules()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return p.decodeLines(rules)
			}
			d := report.NewDecoded(args[0], decode.Read(decode.Words(args[0], args[1:])), rules, p.words.Lang())
			if p.json {
				err = json.NewEncoder(p.Out).Encode(d)
			} else {
				err = report.NewText(p.Out, p.words).Decoded(d)
			}
			if err == nil && d.Failed() {
				return fail(exitData, "compare the line with what the adapter printed; parts may be missing", errors.New(p.words.T("decode.failed")))
			}
			return err
		},
	}
}

// decodeLines answers every line, damaged ones too, and exits 65 when any could not be decoded.
func (p *program) decodeLines(rules *policy.Policy) error {
	in := bufio.NewScanner(p.In)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	out := bufio.NewWriter(p.Out)
	enc := json.NewEncoder(out)
	bad, n := 0, 0
	for in.Scan() {
		n++
		line := in.Bytes()
		if len(line) == 0 {
			continue
		}
		var rec decode.Record
		d := report.Decoded{ECUs: []report.DecodedECU{}}
		if err := json.Unmarshal(line, &rec); err != nil {
			d.Error = fmt.Sprintf("line %d is no JSON object with request and response", n)
		} else {
			d = report.NewDecoded(rec.Request, decode.Read(rec), rules, p.words.Lang())
		}
		if d.Failed() {
			bad++
		}
		if err := enc.Encode(d); err != nil {
			return err
		}
	}
	if err := errors.Join(in.Err(), out.Flush()); err != nil {
		return fail(exitData, fmt.Sprintf("line %d: at most %d bytes a line", n+1, maxLine), err)
	}
	if bad > 0 {
		return fail(exitData, "the objects with an error say what is wrong", fmt.Errorf("%d of %d lines were not decoded whole", bad, n))
	}
	return nil
}
