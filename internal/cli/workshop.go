package cli

import (
	"encoding/hex"
	"errors"

	"obdgate/internal/consent"
	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) workshop() *cobra.Command {
	var w consent.Workshop
	c := &cobra.Command{
		Use: "workshop", Short: "Show or enter who stands on receipts: the workshop's name, address and contact", Args: exactArgs(0),
		Long: `workshop without flags shows what is entered, and the public key customers check receipts with. With flags it
enters; what is not given stays. The country decides which supervisory authority receipts name.`,
		Example: `  obdgate workshop --name "Garage Noord" --address "Dorpsstraat 1, 1000 AA Noord" --country NL --contact dpo@garage.example`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				have, err := s.Workshop(c.Context())
				if err != nil {
					return err
				}
				if c.Flags().NFlag() > 0 && merge(&have, w) {
					if err := s.SetWorkshop(c.Context(), have); errors.Is(err, consent.ErrInvalid) {
						return usage(`for example --name "Garage Noord" --address "Dorpsstraat 1" --country NL`, err)
					} else if err != nil {
						return err
					}
				}
				key := hex.EncodeToString(s.Station().Public())
				if p.json {
					return p.writeJSON(map[string]any{"workshop": have, "station": s.Station().ID(), "key": key, "authority": consent.AuthorityOf(have.Country)})
				}
				return report.NewText(p.Out, p.words).Workshop(have, s.Station().ID(), key)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&w.Name, "name", "", "the workshop's name")
	f.StringVar(&w.Address, "address", "", "its address, on one line")
	f.StringVar(&w.Country, "country", "", "where it is, NL, BE, DE, …")
	f.StringVar(&w.Email, "email", "", "e-mail address for customers")
	f.StringVar(&w.Phone, "phone", "", "telephone number for customers")
	f.StringVar(&w.Contact, "contact", "", "who answers questions on data protection")
	return c
}

// merge lays what is set in add over have and reports whether anything was.
func merge(have *consent.Workshop, add consent.Workshop) bool {
	set := false
	for _, f := range []struct{ to, from *string }{{&have.Name, &add.Name}, {&have.Address, &add.Address}, {&have.Country, &add.Country},
		{&have.Email, &add.Email}, {&have.Phone, &add.Phone}, {&have.Contact, &add.Contact}} {
		if *f.from != "" {
			*f.to, set = *f.from, true
		}
	}
	return set
}
