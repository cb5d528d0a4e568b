package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
)

// BreachNotice is what one affected customer is told.
type BreachNotice struct {
	Visit, Order    string
	Opened, Since   time.Time
	Recipients      []string // where data had gone
	Drill           bool
	Shop            consent.Workshop
	What, Happening string // what happened and what is being done, in the workshop's words; may be ""
}

// WriteBreachNotice writes the letter to one customer (Regulation (EU) 2016/679, Art. 34) as plain text.
func WriteBreachNotice(w io.Writer, words *i18n.Catalog, n BreachNotice) error {
	t := words.T
	var b strings.Builder
	if n.Drill {
		b.WriteString(t("breach.drill") + "\n\n")
	}
	b.WriteString(strings.Join(filled(n.Shop.Name, n.Shop.Address), "\n") + "\n\n" + t("breach.title") + "\n\n")
	b.WriteString(t("breach.what", n.Opened.Format("2006-01-02"), nonEmpty(n.Order, n.Visit), n.Since.Format("2006-01-02")) + "\n")
	for _, s := range filled(n.What, n.Happening) {
		b.WriteString(s + "\n")
	}
	b.WriteString("\n" + t("breach.data") + "\n")
	if len(n.Recipients) > 0 {
		b.WriteString(t("breach.elsewhere", strings.Join(n.Recipients, ", ")) + "\n")
	}
	a := consent.AuthorityOf(n.Shop.Country)
	b.WriteString("\n" + t("breach.do") + "\n" + t("breach.contact", nonEmpty(strings.Join(filled(n.Shop.Contact, n.Shop.Email, n.Shop.Phone), ", "), n.Shop.Name), a.Name, a.URL) + "\n")
	_, err := fmt.Fprint(w, b.String())
	return err
}
