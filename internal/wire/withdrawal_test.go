package wire

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func withdrawal(change ...func(*Withdrawal)) *Withdrawal {
	w := &Withdrawal{Station: "station-1", Action: ActionErase, Receipts: []string{"r2", "r1", "r1"},
		Envelopes: []string{strings.Repeat("b", 64), strings.Repeat("a", 64)}}
	for _, f := range change {
		f(w)
	}
	w.Canonicalise()
	return w
}

func statement(w *Withdrawal) Statement {
	s := Statement{Withdrawal: w.ID, Station: w.Station, Collector: "Dealer", Action: w.Action, Receipts: w.Receipts, Erased: w.Envelopes[:1], Absent: w.Envelopes[1:]}
	s.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), time.Date(2026, 11, 20, 9, 0, 0, 5, time.UTC))
	return s
}

func TestWithdrawalHasOneSpelling(t *testing.T) {
	w := withdrawal()
	back, err := ParseWithdrawal(w.Append(nil))
	require.NoError(t, err)
	require.Equal(t, w, back)
	require.Equal(t, []string{"r1", "r2"}, w.Receipts)
	good := string(w.Append(nil))
	for name, bad := range map[string]string{
		"space": good[:1] + " " + good[1:], "order": strings.Replace(good, `"r1","r2"`, `"r2","r1"`, 1), "extra": strings.Replace(good, "{", `{"vin":"X",`, 1),
		"action": strings.Replace(good, `"erase"`, `"sell"`, 1), "no receipt": strings.Replace(good, `["r1","r2"]`, `[]`, 1),
		"hash": strings.Replace(good, "station-1", "station-2", 1), "two": good + good, "long": strings.Replace(good, "r1", strings.Repeat("r", 97), 1),
	} {
		_, err := ParseWithdrawal([]byte(bad))
		require.Error(t, err, name)
	}
}

func TestStatementAnswersItsWithdrawalOnly(t *testing.T) {
	w := withdrawal()
	s := statement(w)
	pub := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	require.NoError(t, s.Verify(pub))
	require.True(t, s.Answers(w))
	back, err := ParseStatement(s.Append(nil))
	require.NoError(t, err)
	require.Equal(t, s, back)
	for name, f := range map[string]func(*Statement){
		"another withdrawal": func(s *Statement) { s.Withdrawal = strings.Repeat("0", 64) },
		"another station":    func(s *Statement) { s.Station = "station-2" },
		"stop for erase":     func(s *Statement) { s.Action = ActionStop },
		"a receipt left out": func(s *Statement) { s.Receipts = s.Receipts[:1] },
		"an envelope silent": func(s *Statement) { s.Erased = []string{} },
		"kept all the same":  func(s *Statement) { s.Held, s.Erased = s.Erased, []string{} },
		"erased and absent":  func(s *Statement) { s.Erased, s.Absent = w.Envelopes, w.Envelopes[1:] },
	} {
		c := s
		f(&c)
		require.False(t, c.Answers(w), name)
		require.Error(t, c.Verify(pub), name)
	}
}

func FuzzParseWithdrawal(f *testing.F) {
	f.Add(withdrawal().Append(nil))
	f.Add(withdrawal(func(w *Withdrawal) { w.Action, w.Envelopes = ActionStop, nil }).Append(nil))
	f.Add([]byte(`{"schema":"obdgate/withdrawal/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := ParseWithdrawal(b); err == nil && !bytes.Equal(w.Append(nil), b) {
			t.Fatalf("accepted %q and writes %q", b, w.Append(nil))
		}
	})
}
