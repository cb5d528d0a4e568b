// Package testtier lets a test say what it needs beyond Go: a kernel with CAN, a PostgreSQL server, a browser,
// another tool as a peer. Where that is missing the test is skipped with the reason, or fails if the run was told to have
// it. Only tests import it.
//
//	OBDGATE_REQUIRE=vcan,postgres   a test of these tiers fails instead of being skipped
//	OBDGATE_TIER_LOG=FILE           each test that got what it needs adds one line "TIER TEST" to FILE
package testtier

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tier names something a test needs.
type Tier string

const (
	// VCAN is a virtual CAN interface with CAN FD on: "vcan0", or OBDGATE_TEST_VCAN. What Require returns is its name.
	VCAN Tier = "vcan"
	// Postgres is a PostgreSQL server a test may create databases in: OBDGATE_TEST_POSTGRES, returned as it stands (a
	// connection string or URL).
	Postgres Tier = "postgres"
	// Chromium is a browser for tests of pages: OBDGATE_TEST_CHROMIUM or a chromium in PATH. What Require returns is its
	// path.
	Chromium Tier = "chromium"
	// TShark is Wireshark's dissector for terminals. What Require returns is its path.
	TShark Tier = "tshark"
	// CANUtils are candump, asc2log and the others of can-utils. What Require returns is the directory they are in.
	CANUtils Tier = "can-utils"
	// PythonCAN is a Python that has python-can: OBDGATE_TEST_PYTHON or Debian's python3-can. What Require returns is its path.
	PythonCAN Tier = "python-can"
	// JQ reads JSON in shell scripts. What Require returns is its path.
	JQ Tier = "jq"
)

// Require returns what the tier offers. If it is not there, it skips the test and says why; if OBDGATE_REQUIRE names the
// tier, it fails the test instead.
func Require(t testing.TB, tier Tier) string {
	t.Helper()
	offer, err := find(tier)
	if err != nil {
		if Required(tier) {
			t.Fatalf("tier %s is required (OBDGATE_REQUIRE) but missing: %v", tier, err)
		}
		t.Skipf("needs tier %s: %v", tier, err)
	}
	if err := log(tier, t.Name()); err != nil {
		t.Fatalf("OBDGATE_TIER_LOG: %v", err)
	}
	return offer
}

// Required reports whether OBDGATE_REQUIRE names the tier.
func Required(tier Tier) bool {
	for name := range strings.SplitSeq(os.Getenv("OBDGATE_REQUIRE"), ",") {
		if Tier(strings.TrimSpace(name)) == tier {
			return true
		}
	}
	return false
}

func find(tier Tier) (string, error) {
	switch tier {
	case VCAN:
		name := os.Getenv("OBDGATE_TEST_VCAN")
		if name == "" {
			name = "vcan0"
		}
		return name, vcan(name)
	case Postgres:
		if dsn := os.Getenv("OBDGATE_TEST_POSTGRES"); dsn != "" {
			return dsn, nil
		}
		return "", fmt.Errorf("set OBDGATE_TEST_POSTGRES to a server where databases may be created, " +
			"for example postgres://postgres@127.0.0.1:5432/postgres")
	case Chromium:
		return chromium()
	case TShark:
		return program("tshark", "tshark")
	case JQ:
		return program("jq", "jq")
	case PythonCAN:
		return pythonCAN()
	case CANUtils:
		path, err := program("asc2log", "can-utils")
		return filepath.Dir(path), err
	}
	return "", fmt.Errorf("no such tier")
}

// program looks for a program in PATH without running anything.
func program(name, debian string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), string(os.PathListSeparator)) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in PATH (Debian: apt-get install %s)", name, debian)
}

// chromium looks for a browser without running anything.
func chromium() (string, error) {
	if path := os.Getenv("OBDGATE_TEST_CHROMIUM"); path != "" {
		_, err := os.Stat(path)
		return path, err
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := program(name, "chromium"); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no chromium in PATH (Debian: apt-get install chromium) and OBDGATE_TEST_CHROMIUM is not set")
}

// pythonCAN looks for the module without running anything: where Debian puts it.
func pythonCAN() (string, error) {
	if path := os.Getenv("OBDGATE_TEST_PYTHON"); path != "" {
		_, err := os.Stat(path)
		return path, err
	}
	const python = "/usr/bin/python3"
	if found, _ := filepath.Glob("/usr/lib/python3*/dist-packages/can/__init__.py"); len(found) > 0 {
		if _, err := os.Stat(python); err == nil {
			return python, nil
		}
	}
	return "", fmt.Errorf("no python-can (Debian: apt-get install python3-can) and OBDGATE_TEST_PYTHON is not set")
}

// log adds the line in one write, so that test binaries that run side by side do not mix theirs.
func log(tier Tier, test string) error {
	path := os.Getenv("OBDGATE_TIER_LOG")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s %s\n", tier, test)
	return err
}

// Machine reports whether the test runs as root in the test machine of vcan/vm. Tests that take interfaces down or add
// faults to them do so only there, never on a developer's host.
func Machine() bool { return os.Getenv("OBDGATE_VM") == "1" && os.Geteuid() == 0 }
