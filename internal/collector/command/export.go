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
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what was received",
		Long: `Writes what was received. jsonl: one envelope a line, exactly as it came. eea: CSV with the OBFCM columns of the EEA data
set; one row per whole VIN and year, plausible records only, the highest total distance of several; columns of layouts that
no vehicle has confirmed stay empty.`,
		Example: `  obdgate-collector export > envelopes.jsonl
  obdgate-collector export --format eea --out obfcm-2026.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if format != "jsonl" && format != "eea" {
				return usage("--format is jsonl or eea")
			}
			c, err := g.open(cmd.Context(), collector.Options{MustExist: true}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			w := cmd.OutOrStdout()
			if out != "" && out != "-" {
				f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return err
				}
				defer func() {
					if cerr := f.Close(); err == nil {
						err = cerr
					}
				}()
				w = f
			}
			b := bufio.NewWriter(w)
			if format == "eea" {
				err = c.ExportEEA(cmd.Context(), b)
			} else {
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
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl or eea")
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
