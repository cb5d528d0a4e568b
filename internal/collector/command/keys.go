package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"obdgate/internal/collector"

	"github.com/spf13/cobra"
)

type keysOptions struct {
	station, out               string
	name, country, role, where string
}

func newKeys(g *global) *cobra.Command {
	var o keysOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make keys, enrol a station, list stations",
		Long: `The first time it makes the collector's keys in --home. With --station it issues a certificate and writes the enrolment
file for "obdgate recipient add": the file holds a private key, so carry it as you would a password, and delete it once it
is added. Name, country and address are given once and kept; given again they replace what was kept. Without --station it
lists who is enrolled.`,
		Example: `  obdgate-collector keys --name 'Dealer NV' --country BE --url https://collector.example:8443 --station lane-1 --out lane-1.json
  obdgate-collector keys --station lane-2 --out lane-2.json
  obdgate-collector keys
  obdgate-collector keys revoke lane-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (o.station == "") != (o.out == "") {
				return usage("--station and --out belong together")
			}
			if o.role != "" && o.role != "controller" && o.role != "processor" {
				return usage("--role is controller or processor")
			}
			c, err := g.open(cmd.Context(), collector.Options{Name: o.name, Country: o.country, Role: o.role, URL: o.where}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			if o.station == "" {
				return list(cmd, c, asJSON)
			}
			return enrol(cmd, c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.station, "station", "", "name of the station to enrol")
	f.StringVar(&o.out, "out", "", `file for its enrolment, "-" for standard output`)
	f.StringVar(&o.where, "url", "", "https address stations reach this collector at")
	f.StringVar(&o.name, "name", "", "your organisation, as customers read it")
	f.StringVar(&o.country, "country", "", "country where the data is held, such as NL")
	f.StringVar(&o.role, "role", "", "controller (default) or processor")
	f.BoolVar(&asJSON, "json", false, "list as JSON")
	cmd.AddCommand(newRevoke(g))
	return cmd
}

func enrol(cmd *cobra.Command, c *collector.Collector, o keysOptions) error {
	w, done := cmd.OutOrStdout(), func() error { return nil }
	if o.out != "-" {
		// Made before the certificate: a file that cannot be written must not leave an enrolment nobody holds.
		f, err := os.OpenFile(o.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		w, done = f, f.Close
	}
	err := writeBundle(cmd, c, o.station, w)
	if cerr := done(); err == nil {
		err = cerr
	}
	if err != nil && o.out != "-" {
		_ = os.Remove(o.out)
	}
	if err == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "enrolled %s; on the station: obdgate recipient add %s --agreement REFERENCE\n", o.station, o.out)
	}
	return err
}

func writeBundle(cmd *cobra.Command, c *collector.Collector, station string, w io.Writer) error {
	b, err := c.Enroll(cmd.Context(), station)
	if err != nil {
		return err
	}
	text, err := b.Encode()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func list(cmd *cobra.Command, c *collector.Collector, asJSON bool) error {
	all, err := c.Stations(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		if all == nil {
			all = []collector.Station{}
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STATION\tISSUED\tEXPIRES\tREVOKED")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.Issued, s.Expires, s.Revoked)
	}
	return w.Flush()
}

func newRevoke(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke STATION",
		Short:   "Refuse a station from now on",
		Example: "  obdgate-collector keys revoke lane-1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one station")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.open(cmd.Context(), collector.Options{MustExist: true}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			n, err := c.Revoke(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if n == 0 {
				return &failure{exitNoInput, fmt.Errorf("%s is not enrolled, or was revoked before", args[0]), "list them: obdgate-collector keys"}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "revoked %d certificate(s) of %s\n", n, args[0])
			return nil
		},
	}
}
