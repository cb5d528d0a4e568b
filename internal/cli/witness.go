package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"obdgate/internal/ledger"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) ledgerHead() *cobra.Command {
	var since uint64
	c := &cobra.Command{
		Use: "head", Short: "Print the signed head of the log, for somebody else to keep", Args: exactArgs(0),
		Long: `head prints what a second party keeps: how long the log is and its root, signed, with the proof that the log as it
stood with --since entries is its beginning. It names nobody. ledger witness checks and keeps it, elsewhere.`,
		Example: "  obdgate ledger head > head.json\n  obdgate ledger head --since 4120 > head.json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				state, err := s.Ledger().State(c.Context(), s.Station().ID(), since)
				if errors.Is(err, ledger.ErrNoEntry) {
					return fail(exitData, "the log has fewer entries than that: if somebody kept such a head, it was cut short", err)
				}
				if err != nil {
					return store.Explain(err)
				}
				return p.writeJSON(state)
			})
		},
	}
	c.Flags().Uint64Var(&since, "since", 0, "size of the head that the other party keeps (ledger witness says it)")
	return c
}

func (p *program) ledgerWitness() *cobra.Command {
	var kept, key string
	c := &cobra.Command{
		Use: "witness HEAD", Short: "As a second party: check a station's head against those kept, and keep it", Args: exactArgs(1),
		Long: `witness is for whoever does not trust the station's own word: the manufacturer, an auditor, the customers'
association. It needs no state of its own but the file it keeps. The first head pins the station's key (or --station-key
does); each later one must continue the one before. A log that was rewritten, cut short, put back, or shown to two
parties in two versions is told as a fork, and exits with 65.`,
		Example: "  obdgate ledger witness head.json --kept garage-noord.json",
		RunE: func(c *cobra.Command, args []string) error {
			if kept == "" {
				return usage("--kept FILE", errors.New("where are the heads kept?"))
			}
			public, err := stationKey(key)
			if err != nil {
				return err
			}
			return p.witness(args[0], kept, public)
		},
	}
	c.Flags().StringVar(&kept, "kept", "", "file with the heads kept; made when it is not there")
	c.Flags().StringVar(&key, "station-key", "", "public key of the station, hexadecimal (default: the one kept, or the first seen)")
	return c
}

// stationKey reads a public key as obdgate prints it; "" is nil.
func stationKey(s string) (ed25519.PublicKey, error) {
	if s == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, usage("64 hexadecimal digits; obdgate workshop prints a station's", errors.New("not a public key"))
	}
	return b, nil
}

func (p *program) witness(file, keptFile string, key ed25519.PublicKey) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s, err := ledger.ParseStatement(b)
	if err != nil {
		return fail(exitData, "give the file that obdgate ledger head printed", err)
	}
	var k ledger.Kept
	b, err = os.ReadFile(keptFile)
	switch {
	case err == nil:
		if k, err = ledger.ParseKept(b); err != nil {
			return fail(exitData, "give the file that ledger witness made", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	before := len(k.Heads)
	k, err = ledger.Witness(k, s, key, p.now())
	switch {
	case errors.Is(err, ledger.ErrUnproved):
		return fail(exitData, "obdgate ledger head --since SIZE, on the station", err)
	case errors.Is(err, ledger.ErrFork):
		return fail(exitData, "keep both files and tell the supervisory authority or whoever asked you to keep heads", err)
	case err != nil:
		return fail(exitData, "ask the station for its head again; compare its key with the one you know", err)
	}
	if len(k.Heads) > before {
		if b, err = json.MarshalIndent(k, "", "  "); err != nil {
			return err
		}
		if err := replaceFile(keptFile, append(b, '\n')); err != nil {
			return fail(exitCantCreate, "choose another file", err)
		}
	}
	if p.json {
		return p.writeJSON(k)
	}
	last := k.Heads[len(k.Heads)-1]
	p.say("ledger.kept", k.Station, last.Size, len(k.Heads), k.Key)
	return nil
}

// replaceFile writes beside the file and renames: what was kept is never half written.
func replaceFile(file string, b []byte) error {
	part := file + ".part"
	if err := os.WriteFile(part, b, 0o600); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// showLeaves prints the bytes the tree is built over, a line each.
func (p *program) showLeaves(ctx context.Context, s *store.Store) error {
	const page = 500
	for seq := uint64(0); ; {
		es, err := s.Ledger().Entries(ctx, seq, page)
		if err != nil {
			return store.Explain(err)
		}
		for _, e := range es {
			if _, err := p.Out.Write(append(e.Leaf(), '\n')); err != nil {
				return err
			}
		}
		if len(es) < page {
			return nil
		}
		seq += uint64(len(es))
	}
}

// keptNotes takes the signed heads out of a file: a head as verify prints it, a statement, or what a second party keeps.
func keptNotes(b []byte) [][]byte {
	if k, err := ledger.ParseKept(b); err == nil {
		var all [][]byte
		for _, h := range k.Heads {
			all = append(all, []byte(h.Head))
		}
		return all
	}
	if s, err := ledger.ParseStatement(b); err == nil {
		return [][]byte{[]byte(s.Head)}
	}
	return [][]byte{b}
}
