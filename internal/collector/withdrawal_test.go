package collector_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"obdgate/internal/collector"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

func tell(t testing.TB, c *http.Client, url string, body []byte) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+collector.WithdrawalPath, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func withdrawal(action, receipt string, envelopes ...string) *wire.Withdrawal {
	w := &wire.Withdrawal{Station: "station-1", Action: action, Receipts: []string{receipt}, Envelopes: envelopes}
	w.Canonicalise()
	return w
}

func TestWithdrawals(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		s := serve(t, o)
		b, other := enrol(t, s, "station-1"), enrol(t, s, "station-2")
		c := client(t, b, false)
		e, later := envelope(t), envelope(t, func(e *wire.Envelope) { e.Day = "2026-11-21" })
		status, receipt := post(t, c, s.url, e.Append(nil))
		require.Equal(t, 200, status)

		stop := withdrawal(wire.ActionStop, "r-1", e.ID, later.ID)
		status, _ = tell(t, client(t, other, false), s.url, stop.Append(nil))
		require.Equal(t, 403, status, "another station cannot withdraw for this one")
		status, _ = tell(t, client(t, b, true), s.url, stop.Append(nil))
		require.Equal(t, 403, status, "nor can somebody without a certificate")
		status, _ = tell(t, c, s.url, append(stop.Append(nil), ' '))
		require.Equal(t, 422, status)

		status, first := tell(t, c, s.url, stop.Append(nil))
		require.Equal(t, 200, status, first)
		st, err := wire.ParseStatement([]byte(first))
		require.NoError(t, err)
		require.NoError(t, st.Verify(b.ReceiptKey))
		require.True(t, st.Answers(stop))
		require.Equal(t, []string{e.ID}, st.Held, "a stop does not undo the past")
		require.Equal(t, []string{later.ID}, st.Absent)
		_, again := tell(t, c, s.url, stop.Append(nil))
		require.Equal(t, first, again, "one withdrawal, one statement")

		status, text := post(t, c, s.url, later.Append(nil))
		require.Equal(t, 410, status, "nothing more under this receipt")
		require.Contains(t, text, "urn:obdgate:problem:withdrawn")
		status, same := post(t, c, s.url, e.Append(nil))
		require.Equal(t, 200, status)
		require.Equal(t, receipt, same, "what was held is acknowledged as before")
		require.Equal(t, 1, count(t, s))
		status, _ = post(t, c, s.url, envelope(t, func(e *wire.Envelope) { e.Receipt = "r-2" }).Append(nil))
		require.Equal(t, 200, status, "another receipt is another yes")

		erase := withdrawal(wire.ActionErase, "r-1", e.ID)
		status, text = tell(t, c, s.url, erase.Append(nil))
		require.Equal(t, 200, status, text)
		st, err = wire.ParseStatement([]byte(text))
		require.NoError(t, err)
		require.True(t, st.Answers(erase))
		require.Equal(t, []string{e.ID}, st.Erased)
		require.Equal(t, 1, count(t, s))
		n := 0
		require.NoError(t, s.Withdrawals(t.Context(), func(wire.Statement) error { n++; return nil }))
		require.Equal(t, 2, n)
	})
}

// A station cannot have another's envelopes erased by naming them.
func TestWithdrawalTouchesOnlyTheStationsOwn(t *testing.T) {
	s := serve(t, collector.Options{})
	b, other := enrol(t, s, "station-1"), enrol(t, s, "station-2")
	theirs := envelope(t, func(e *wire.Envelope) { e.Station = "station-2" })
	status, _ := post(t, client(t, other, false), s.url, theirs.Append(nil))
	require.Equal(t, 200, status)
	status, text := tell(t, client(t, b, false), s.url, withdrawal(wire.ActionErase, "r-1", theirs.ID).Append(nil))
	require.Equal(t, 200, status)
	st, err := wire.ParseStatement([]byte(text))
	require.NoError(t, err)
	require.Equal(t, []string{theirs.ID}, st.Absent)
	require.Equal(t, 1, count(t, s))
	status, _ = post(t, client(t, other, false), s.url, envelope(t, func(e *wire.Envelope) { e.Station, e.Day = "station-2", "2026-11-21" }).Append(nil))
	require.Equal(t, 200, status, "a receipt of the same number at another station is another receipt")
}
