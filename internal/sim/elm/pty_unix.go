//go:build linux || darwin

package elm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"obdgate/internal/sim"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// ServePTY offers an adapter with v plugged in as a serial port until ctx ends; it then returns nil. path becomes a symbolic
// link to the port and is removed afterwards; an empty path is left out and only Options.Ready tells the port's name. A path
// that exists is refused unless it is such a link left behind.
func ServePTY(ctx context.Context, path string, v *sim.Vehicle, p Personality, o Options) error {
	master, slave, err := pty.Open()
	if err != nil {
		return fmt.Errorf("a pseudo terminal: %w", err)
	}
	// The slave stays open so that the master can be read while no client is there.
	defer slave.Close() //nolint:errcheck // it is being given up
	m, err := pollable(master)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // it is being given up
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		return fmt.Errorf("the pseudo terminal's settings: %w", err)
	}
	name := slave.Name()
	if path != "" {
		if err := publish(name, path); err != nil {
			return err
		}
		defer os.Remove(path) //nolint:errcheck // the link may have been removed by hand
		name = path
	}
	if o.Ready != nil {
		o.Ready("elm:" + name)
	}
	return New(v, p, o).Serve(ctx, m)
}

// publish links path to the port, replacing a link to a pseudo terminal that is no longer there.
func publish(name, path string) error {
	err := os.Symlink(name, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if target, lerr := os.Readlink(path); lerr != nil || !strings.HasPrefix(target, "/dev/") {
		return fmt.Errorf("%s is in the way: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(name, path)
}

// pollable trades a blocking master for one whose reads and writes end when it is closed.
func pollable(master *os.File) (*ptyMaster, error) {
	defer master.Close() //nolint:errcheck // its duplicate lives on
	fd, err := syscall.Dup(int(master.Fd()))
	if err != nil {
		return nil, fmt.Errorf("the pseudo terminal: %w", err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("the pseudo terminal: %w", err)
	}
	return &ptyMaster{File: os.NewFile(uintptr(fd), master.Name())}, nil
}

// ptyMaster may be closed more than once.
type ptyMaster struct {
	*os.File
	once sync.Once
	err  error
}

func (m *ptyMaster) Close() error {
	m.once.Do(func() { m.err = m.File.Close() })
	return m.err
}
