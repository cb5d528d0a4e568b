package command

import (
	"fmt"
	"net"

	"obdgate/internal/collector"

	"github.com/spf13/cobra"
)

func newServe(g *global) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Receive envelopes until interrupted",
		Long: `Receives envelopes until interrupted, then finishes what is under way. Prints one line "ready https://ADDRESS" when it
listens. Logs are JSON lines on stderr and hold hashes and sizes only. GET /healthz answers "ok" while the database does.`,
		Example: `  obdgate-collector serve --home /var/lib/obdgate-collector --listen 0.0.0.0:8443
  obdgate-collector serve --db 'postgres://collector@db1,db2/obdgate?target_session_attrs=read-write'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.open(cmd.Context(), collector.Options{MustExist: true}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer c.Close()
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return &failure{exitConfig, fmt.Errorf("cannot listen on %s: %w", listen, err), "choose a free address with --listen"}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ready https://%s\n", ln.Addr())
			return c.Serve(cmd.Context(), ln)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "address and port")
	return cmd
}
