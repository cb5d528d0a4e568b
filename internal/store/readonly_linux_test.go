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
	base := t.TempDir()
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chmod(filepath.Dir(base), 0o711))
		require.NoError(t, os.Chmod(base, 0o755))
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		require.NoError(t, syscall.Setfsuid(65534))
		t.Cleanup(func() { require.NoError(t, syscall.Setfsuid(0)) })
	} else {
		require.NoError(t, os.Chmod(base, 0o500))
	}
	_, err := store.Open(t.Context(), filepath.Join(base, "home"), store.Options{})
	require.ErrorIs(t, err, store.ErrReadOnly)
}
