//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A port that belongs to another user says so.
func TestNoPermission(t *testing.T) {
	// As root everything may be opened: the program runs as nobody then, from a directory nobody may look into.
	dir, err := os.MkdirTemp("", "obdgate-rights-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	port := filepath.Join(dir, "ttyUSB0")
	require.NoError(t, syscall.Mkfifo(port, 0o000))
	s := shop{t, filepath.Join(dir, "nobody"), filepath.Join(dir, "nobody", "state")}
	require.NoError(t, os.Mkdir(s.dir, 0o700))
	self, err := exec.LookPath("obdgate")
	require.NoError(t, err)
	program := filepath.Join(dir, "obdgate")
	if os.Link(self, program) != nil {
		b, err := os.ReadFile(self)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(program, b, 0o755))
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := s.command(ctx, program, "scan", "elm://"+port+"?baud=38400")
	if os.Geteuid() == 0 {
		const nobody = 65534
		require.NoError(t, os.Chown(s.dir, nobody, nobody))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	r := s.wait(ctx, cmd)
	require.Equal(t, 69, r.code, r)
	require.Contains(t, r.errs, "permission")
	require.Regexp(t, `→ .*(dialout|rights|group)`, r.errs)
}
