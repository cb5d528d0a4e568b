package elm327

import (
	"path/filepath"
	"regexp"
	"sync"
)

// uartNames are ports with a UART of the rate they are told: USB bridges and the computer's own. Behind rfcomm is a radio, behind
// ttyACM mostly a chip that takes any rate for the same.
var uartNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/dev/tty(USB|S|AMA)[0-9]+$`) })

// wired reports whether the port is a cable on which a higher rate is a faster one.
func wired(name string) bool {
	path, err := filepath.EvalSymlinks(name) // /dev/serial/by-id
	return err == nil && uartNames().MatchString(path)
}

// wiredPort is a serial port that can be tuned. tarm/serial sets the rate in opening only, but the rate belongs to the terminal
// and not to who has it open: opened a second time with another one, it has that for all, at once and with nothing lost.
type wiredPort struct {
	*serialPort
	name string
}

func (p *wiredPort) Tune(baud int) error {
	second, err := openSerial(p.name, baud)
	if err != nil {
		return err
	}
	return second.Close()
}

func openPort(name string, baud int) (port, error) {
	p, err := openSerial(name, baud)
	if s, ok := p.(*serialPort); ok && err == nil && wired(name) {
		return &wiredPort{s, name}, nil
	}
	return p, err
}
