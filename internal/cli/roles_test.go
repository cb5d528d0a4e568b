package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each role does its duties and nothing else; without a file one user does everything.
func TestRoles(t *testing.T) {
	c := newCounter(t)
	v := c.visit()
	me := osUser()
	require.NotEmpty(t, me)
	as := func(role string) {
		t.Helper()
		other := adviser
		if role == adviser {
			other = technician
		}
		require.NoError(t, os.WriteFile(filepath.Join(c.home, rolesFile), []byte(`{"`+role+`":["`+strings.ReplaceAll(me, `\`, `\\`)+`"],"`+other+`":["somebody"]}`), 0o644))
	}
	for role, may := range map[string]map[string]bool{
		technician: {"visit show " + v: true, "scan sim:golf8 --visit " + v: true, "recipient list": false, "rights access " + v + " --identity seen": false, "ledger verify": false,
			"rights open " + v + " --request erasure": true, "consent count": true, "rights sweep": false, "workshop": false, "recipient add x": false},
		adviser: {"consent show " + v: true, "visit list": true, "rights list": true, "visit show " + v: false, "scan sim:golf8": false, "clear": false,
			"ledger verify": false, "recipient list": false, "rights erase " + v: false},
		dpo: {"visit show " + v: true, "scan sim:golf8 --visit " + v: false, "rights access " + v + " --identity seen": true, "ledger verify": true, "upload --dry-run": false,
			"ledger head": true, "consent count": true, "rights breach --since 2020-01-01 --drill": true, "clear": false, "recipient add x": false},
		administrator: {"visit show " + v: false, "recipient list": true, "scan sim:golf8": false, "rights access " + v: false, "ledger verify": true},
	} {
		as(role)
		for line, yes := range may {
			code, _, text := c.run(strings.Fields(line)...)
			if yes {
				require.Zero(t, code, "%s: %s: %s", role, line, text)
			} else {
				require.Equal(t, exitNoPerm, code, "%s: %s", role, line)
				require.Contains(t, text, errRole.Error())
			}
		}
		c.ok("explain", "obd.01.05") // touches no state
	}
	require.NoError(t, os.WriteFile(filepath.Join(c.home, rolesFile), []byte(`{"technician":["somebody"]}`), 0o644))
	code, _, text := c.run("visit", "list")
	require.Equal(t, exitNoPerm, code, "who has no role has no duty")
	require.Contains(t, text, technician)
	require.NoError(t, os.WriteFile(filepath.Join(c.home, rolesFile), []byte(`{"boss":["x"]}`), 0o644))
	code, _, _ = c.run("visit", "list")
	require.Equal(t, exitConfig, code, "a file nobody can read right opens nothing")
}

// Whoever looks at a visit leaves a line in the log.
func TestLookingIsLogged(t *testing.T) {
	c := newCounter(t)
	v := c.visit()
	before := strings.Count(c.ok("--json", "ledger", "show"), `"accessed"`)
	c.ok("visit", "show", v)
	c.ok("visit", "report", v)
	c.ok("consent", "show", v)
	c.ok("consent", "form", "--visit", v, "--to", filepath.Join(t.TempDir(), "form.html"))
	require.Equal(t, before+4, strings.Count(c.ok("--json", "ledger", "show"), `"accessed"`))
}
