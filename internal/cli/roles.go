package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"obdgate/internal/ledger"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

// rolesFile binds roles to users of the operating system; it lies in the state directory. Without it there is one user, who
// may do everything.
//
//	{"technician": ["jan"], "adviser": ["an"], "dpo": ["els"], "administrator": ["root"]}
const rolesFile = "roles.json"

// The roles. A command that no role but the administrator needs is left out of duties.
const (
	technician    = "technician"    // reads vehicles, takes answers
	adviser       = "adviser"       // takes answers, hands out receipts, passes requests on
	dpo           = "dpo"           // answers requests, checks the log; reads no vehicle, sends nothing
	administrator = "administrator" // recipients, keys, the workshop; sees no visit's values unless another role says so
)

// duties says which commands a role may use, by the command's path without the program's name; a path ends with a space
// where everything below it is meant.
var duties = map[string][]string{
	technician: {"scan", "visit ", "consent ", "upload", "clear", "monitor", "classify", "replay", "rights list", "rights open"},
	adviser:    {"visit open", "visit list", "visit close", "consent ", "rights list", "rights open", "rights letter", "upload"},
	dpo: {"rights ", "ledger ", "consent show", "consent count", "consent receipt", "consent withdraw", "visit list", "visit show", "recipient list",
		"recipient show", "workshop"},
	administrator: {"recipient ", "workshop", "upload", "ledger ", "rights sweep", "rights retention", "visit list", "serve"},
}

// free are commands that touch no state.
var free = []string{"", "ledger witness", "rights check", "demo", "explain", "policy ", "decode", "sim", "doctor", "help", "completion ", "classify", "monitor", "replay"}

var errRole = errors.New("this is not among the duties of your role")

// permit lets a command run when the user's roles include it.
func (p *program) permit(c *cobra.Command) error {
	home := p.stateDir()
	if home == "" {
		return nil // opening the state tells it better
	}
	b, err := os.ReadFile(filepath.Join(home, rolesFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // opening the state tells what is wrong with the directory
	}
	if err != nil {
		return fail(exitConfig, "the file of roles must be readable by everybody who uses the station", err)
	}
	roles, err := parseRoles(b)
	if err != nil {
		return fail(exitConfig, `roles.json: {"technician": ["jan"], "adviser": ["an"], "dpo": ["els"], "administrator": ["root"]}`, err)
	}
	name := osUser()
	_, path, _ := strings.Cut(c.CommandPath(), " ")
	if covers(free, path) {
		return nil
	}
	var mine []string
	for role, users := range roles {
		if slices.Contains(users, name) {
			mine = append(mine, role)
			if covers(duties[role], path) {
				return nil
			}
		}
	}
	slices.Sort(mine)
	return fail(exitNoPerm, "ask "+strings.Join(able(path), " or "), fmt.Errorf("%s (%s): %s: %w", name, strings.Join(append(mine, "user"), ", "), path, errRole))
}

func parseRoles(b []byte) (map[string][]string, error) {
	var roles map[string][]string
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&roles); err != nil {
		return nil, errors.New("not JSON of roles and users")
	}
	for role := range roles {
		if _, known := duties[role]; !known {
			return nil, fmt.Errorf("there is no role %q", role)
		}
	}
	return roles, nil
}

// covers reports whether one of the paths is path, or ends with a space and begins it.
func covers(paths []string, path string) bool {
	return slices.ContainsFunc(paths, func(d string) bool {
		return d == path || strings.HasSuffix(d, " ") && strings.HasPrefix(path+" ", d)
	})
}

// able are the roles whose duty a command is.
func able(path string) (roles []string) {
	for _, role := range []string{technician, adviser, dpo, administrator} {
		if covers(duties[role], path) {
			roles = append(roles, role)
		}
	}
	if roles == nil {
		roles = []string{administrator}
	}
	return roles
}

func osUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// accessed logs that somebody looked at a visit's personal part.
func (p *program) accessed(ctx context.Context, s *store.Store, visit, how string) error {
	_, err := s.Ledger().Record(ctx, ledger.Event{Kind: ledger.Accessed, Visit: visit, At: p.now(), Facts: ledger.Facts{Reason: how}})
	return store.Explain(err)
}
