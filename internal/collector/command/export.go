package command

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"obdgate/internal/collector"

	"github.com/spf13/cobra"
)

func newExport(g *global) *cobra.Command {
	var format, out string
	var k int
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what was received",
		Long: `Writes what was received. jsonl: one envelope a line, exactly as it came. eea: CSV with the OBFCM columns of the EEA data
set; one row per whole VIN and year, plausible records only, the highest total distance of several; columns of layouts that
no vehicle has confirmed stay empty. quality: anonymised counts in groups of at least --k vehicles; periods, mileage and fuel are
made coarser until no more than a tenth is left out; the document states how. Refused when every group is too small.`,
		Example: `  obdgate-collector export > envelopes.jsonl
  obdgate-collector export --format eea --out obfcm-2026.csv
  obdgate-collector export --format quality --k 10 --out quality.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if format != "jsonl" && format != "eea" && format != "quality" {
				return usage("--format is jsonl, eea or quality")
			}
			if k < collector.MinK {
				return usage("--k is %d or more: smaller groups are not anonymous", collector.MinK)
			}
			c, err := g.open(cmd.Context(), collector.Options{MustExist: true}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			w := cmd.OutOrStdout()
			if out != "" && out != "-" {
				f, oerr := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if oerr != nil {
					return oerr
				}
				defer func() {
					if cerr := f.Close(); err == nil {
						err = cerr
					}
					if err != nil {
						_ = os.Remove(out) // half an export is none
					}
				}()
				w = f
			}
			b := bufio.NewWriter(w)
			switch format {
			case "eea":
				err = c.ExportEEA(cmd.Context(), b)
			case "quality":
				err = c.ExportQuality(cmd.Context(), b, k)
			default:
				err = c.ExportJSONL(cmd.Context(), b)
			}
			if err != nil {
				return err
			}
			if err := b.Flush(); err != nil {
				return &failure{exitIO, err, ""}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl, eea or quality")
	cmd.Flags().IntVar(&k, "k", collector.MinK, "quality: vehicles in the smallest group")
	cmd.Flags().StringVar(&out, "out", "", "file to make; standard output without it")
	return cmd
}

func newErase(g *global) *cobra.Command {
	var vin, envelope string
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Erase what was received, with a signed statement",
		Long: `Erases the content of one envelope, or of all envelopes of a VIN, and prints a signed statement for each, one JSON document
a line. The statement and the receipt are kept; they hold no values. A VIN that was sent cut to 11 characters is found by
these 11.`,
		Example: `  obdgate-collector erase --envelope 5f2c…
  obdgate-collector erase --vin - < vin.txt      (keeps the VIN out of the shell's history)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (vin == "") == (envelope == "") {
				return usage("give either --vin or --envelope")
			}
			if vin == "-" {
				line, err := io.ReadAll(io.LimitReader(g.stdin, 256))
				if err != nil {
					return &failure{exitIO, err, ""}
				}
				if vin = strings.TrimSpace(string(line)); vin == "" {
					return usage("no VIN on standard input")
				}
			}
			c, err := g.open(cmd.Context(), collector.Options{MustExist: true}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			erase := c.EraseEnvelope
			if envelope == "" {
				envelope, erase = vin, c.EraseVIN
			}
			statements, err := erase(cmd.Context(), envelope)
			for _, s := range statements {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", s.Append(nil))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&vin, "vin", "", `VIN, whole or its first 11 characters; "-" reads it from standard input`)
	cmd.Flags().StringVar(&envelope, "envelope", "", "content hash of one envelope")
	return cmd
}
