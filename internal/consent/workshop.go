package consent

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Workshop is who asks, as the customer knows it: name, address and ways to reach it stand on every receipt and document.
type Workshop struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Country string `json:"country,omitempty"` // ISO 3166-1 alpha-2; decides which authority is named
	Email   string `json:"email,omitempty"`
	Phone   string `json:"phone,omitempty"`
	URL     string `json:"url,omitempty"`
	Contact string `json:"contact,omitempty"` // who answers questions on data protection
}

// Validate reports what keeps w from standing on a receipt, wrapping ErrInvalid.
func (w Workshop) Validate() error {
	for _, s := range []string{w.Name, w.Address, w.Country, w.Email, w.Phone, w.URL, w.Contact} {
		if !plain(s) {
			return invalid("the workshop's data hold control characters or more than 200 characters")
		}
	}
	switch u, err := url.Parse(w.URL); {
	case w.Name == "" || w.Address == "":
		return invalid("a workshop has a name and an address")
	case len(w.Country) != 2 || strings.ToUpper(w.Country) != w.Country:
		return invalid("the country is an ISO code of two capital letters, such as NL")
	case w.Email != "" && !strings.Contains(w.Email, "@"):
		return invalid("the e-mail address has no @")
	case w.URL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http"):
		return invalid("the web address must begin with https://")
	}
	return nil
}

// orDefault stands in where nobody has entered the workshop yet: the customer has it on the order.
func (w Workshop) orDefault(station string) Workshop {
	if w.Name == "" {
		w.Name = "workshop " + station
	}
	if w.Address == "" {
		w.Address = "as on the workshop order"
	}
	return w
}

// Authority is a supervisory authority for data protection (Regulation (EU) 2016/679, Art. 77).
type Authority struct {
	Country string `json:"country"`
	Name    string `json:"name"`
	URL     string `json:"url"`
}

//go:embed authorities.json
var authorityFile embed.FS

var authorities = sync.OnceValues(func() ([]Authority, error) {
	b, err := authorityFile.ReadFile("authorities.json")
	if err != nil {
		return nil, err
	}
	var all []Authority
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("consent: authorities.json: %w", err)
	}
	return all, nil
})

// AuthorityOf returns the authority of a country; for a country that is not in the data, the European Data Protection
// Board, which lists them all.
func AuthorityOf(country string) Authority {
	board := Authority{Country: "EU", Name: "European Data Protection Board (list of the national authorities)",
		URL: "https://www.edpb.europa.eu/about-edpb/about-edpb/members_en"}
	all, err := authorities()
	if err != nil {
		return board // the file is embedded; a test reads it
	}
	if i := slices.IndexFunc(all, func(a Authority) bool { return a.Country == country }); i >= 0 {
		return all[i]
	}
	return board
}
