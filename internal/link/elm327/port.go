package elm327

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/link"
)

// port is a byte stream to an adapter. Read returns within about 100 ms: 0, nil means that nothing came. An error means
// that the stream is gone. Read and Write are called from one goroutine each. Close ends Read within the same 100 ms.
type port interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
}

// pump is the one goroutine that reads a port.
type pump struct {
	port port
	rx   chan []byte
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	gone error // why rx was closed; lost tells
	net  crash.Net
	buf  [2][4096]byte
}

func newPump(p port) *pump {
	m := &pump{port: p, rx: make(chan []byte), stop: make(chan struct{})}
	m.wg.Go(func() {
		defer close(m.rx)
		defer m.net.Catch()
		m.run()
	})
	return m
}

// run hands over one buffer while it fills the other: rx has no room, so a buffer is read into again only after the
// receiver has come back for the next one.
func (m *pump) run() {
	for i := 0; ; i ^= 1 {
		n := 0
		for n == 0 {
			select {
			case <-m.stop:
				m.gone = link.ErrClosed
				return
			default:
			}
			var err error
			if n, err = m.port.Read(m.buf[i][:]); err != nil && n == 0 {
				m.gone = fmt.Errorf("%w: %w", link.ErrGone, err)
				return
			}
		}
		select {
		case m.rx <- m.buf[i][:n]:
		case <-m.stop:
			m.gone = link.ErrClosed
			return
		}
	}
}

// lost is why rx was closed. It must not be called before that.
func (m *pump) lost() error {
	m.net.Raise()
	return m.gone
}

// close ends the goroutine and closes the port.
func (m *pump) close() error {
	var err error
	m.once.Do(func() {
		close(m.stop)
		if w, ok := m.port.(interface{ wake() }); ok {
			w.wake()
		}
		m.wg.Wait()
		err = m.port.Close()
	})
	return err
}

// tcpPort is a Wi-Fi adapter.
type tcpPort struct {
	conn net.Conn
	once sync.Once
}

const (
	readSlice    = 100 * time.Millisecond
	writeLimit   = 2 * time.Second
	connectLimit = 4 * time.Second
)

func openTCP(ctx context.Context, host string) (port, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	return &tcpPort{conn: conn}, nil
}

func (p *tcpPort) Read(b []byte) (int, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(readSlice)); err != nil {
		return 0, err
	}
	n, err := p.conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, err
}

func (p *tcpPort) Write(b []byte) (int, error) {
	if err := p.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return p.conn.Write(b)
}

func (p *tcpPort) wake() { p.once.Do(func() { _ = p.conn.Close() }) }

func (p *tcpPort) Close() error {
	p.wake()
	return nil
}

// openError turns what the system says into a link.Error with advice.
func openError(uri string, err error) error {
	e := &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: %w", link.ErrNoAdapter, withoutPath(err))}
	var ne *net.OpError // not net.Error, which every errno is
	switch {
	case errors.Is(err, context.Canceled):
		e.Err = err
	case errors.Is(err, fs.ErrNotExist):
		e.Err = fmt.Errorf("%w: this port does not exist", e.Err)
		e.Hint = "plug the adapter in and look which port appears: " + listPorts()
	case errors.Is(err, fs.ErrPermission):
		e.Hint = permissionHint()
	case errors.Is(err, syscall.EBUSY):
		e.Hint = "another program has the port; close it and try again"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Hint = "nothing listens there: is this computer in the adapter's Wi-Fi, is the port right (usually 35000), does another program use the adapter?"
	case errors.As(err, &ne):
		e.Hint = "the adapter is not reached: join its Wi-Fi network and check address and port (usually 192.168.0.10:35000)"
	case errors.Is(err, syscall.ENOTTY), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENXIO):
		e.Hint = "this is not a serial port"
	}
	return e
}

func withoutPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func listPorts() string {
	switch runtime.GOOS {
	case "windows":
		return "Device Manager, Ports (COM & LPT)"
	case "darwin":
		return "ls /dev/cu.*"
	}
	return "ls /dev/ttyUSB* /dev/ttyACM* /dev/rfcomm*"
}

func permissionHint() string {
	if runtime.GOOS == "linux" {
		return "this user may not use serial ports: sudo usermod -aG dialout $USER, then log in again (on Arch the group is uucp)"
	}
	return "this user may not use the port, or another program has it"
}
