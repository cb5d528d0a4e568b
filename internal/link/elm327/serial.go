//go:build linux || windows || cgo

package elm327

import (
	"errors"
	"fmt"
	"io"
	"time"

	"obdgate/internal/crash"

	"github.com/tarm/serial"
)

// serialPort is the one place where tarm/serial is used. Its traps, and what is done about them:
//   - without ReadTimeout a Read never ends and Close waits for it: ReadTimeout is always set (100 ms is its least);
//   - "nothing yet" is 0, io.EOF on Linux and 0, nil on Windows: both are 0, nil here;
//   - an unplugged port also says 0, io.EOF, but at once: a run of quick ones means gone;
//   - a Write may block for good on a port whose peer holds flow control: it is given up after two seconds.
type serialPort struct {
	port  *serial.Port
	quick int // EOFs in a row that came without the wait
	stuck bool
}

const (
	quickEOF  = 20 * time.Millisecond
	quickGone = 5
)

var (
	errUnplugged = errors.New("the port has gone away")
	errStuck     = errors.New("the port takes no more bytes")
)

func openSerial(name string, baud int) (port, error) {
	p, err := serial.OpenPort(&serial.Config{Name: name, Baud: baud, ReadTimeout: readSlice})
	if err != nil {
		return nil, fmt.Errorf("%d baud: %w", baud, err)
	}
	return &serialPort{port: p}, nil
}

func (p *serialPort) Read(b []byte) (int, error) {
	began := time.Now()
	n, err := p.port.Read(b)
	switch {
	case n > 0:
		p.quick = 0
		return n, nil
	case err == nil:
		return 0, nil
	case !errors.Is(err, io.EOF):
		return 0, err
	case time.Since(began) >= quickEOF:
		p.quick = 0
		return 0, nil
	}
	if p.quick++; p.quick >= quickGone {
		return 0, errUnplugged
	}
	return 0, nil
}

func (p *serialPort) Write(b []byte) (int, error) {
	if p.stuck {
		return 0, errStuck
	}
	var net crash.Net
	var n int
	var err error
	ended := net.Start(func() { n, err = p.port.Write(b) })
	t := time.NewTimer(writeLimit)
	defer t.Stop()
	select {
	case <-ended:
		net.Raise()
		return n, err
	case <-t.C:
		p.stuck = true
		return 0, errStuck
	}
}

func (p *serialPort) Close() error { return p.port.Close() }
