package store_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"obdgate/internal/store"

	"github.com/stretchr/testify/require"
)

// A directory this user may not write. Root may write everything, so the file system is asked as somebody else.
func TestADirectoryThatCannotBeWrittenIsTold(t *testing.T) {
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		base := t.TempDir()
		for d := base; d != "/" && d != "."; d = filepath.Dir(d) {
			info, err := os.Stat(d)
			require.NoError(t, err)
			if info.Mode().Perm()&0o001 == 0 {
				t.Skipf("%s cannot be entered by other users, so the case cannot be made as root", d)
			}
		}
		require.NoError(t, syscall.Setfsuid(65534))
		t.Cleanup(func() { _ = syscall.Setfsuid(0) })
		_, err := store.Open(t.Context(), filepath.Join(base, "home"), store.Options{})
		require.ErrorIs(t, err, store.ErrReadOnly)
		return
	}
	base := t.TempDir()
	require.NoError(t, os.Chmod(base, 0o500))
	_, err := store.Open(t.Context(), filepath.Join(base, "home"), store.Options{})
	require.ErrorIs(t, err, store.ErrReadOnly)
}
