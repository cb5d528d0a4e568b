package elm327

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// latencyFile is where Linux keeps how long the driver of a USB serial port holds short answers back, in milliseconds, below
// /sys. FTDI's chips come with 16, which a question then takes longer; others have no such file.
const latencyFile = "bus/usb-serial/devices/%/latency_timer"

// HeldBack is how long the driver of this link's USB cable holds each answer back, and the file in which a smaller number
// makes it faster (whole milliseconds; 1 is best). It is 0 where there is no such driver, or it is as fast as it can be.
func (l *Link) HeldBack() (d time.Duration, file string) {
	port := l.addr.port
	if real, err := filepath.EvalSymlinks(port); err == nil { // /dev/serial/by-id/...
		port = real
	}
	d, file = heldBack(os.DirFS("/sys"), port)
	return d, file
}

func heldBack(sys fs.FS, port string) (time.Duration, string) {
	name := filepath.Base(port)
	if port == "" || !fs.ValidPath(name) {
		return 0, ""
	}
	file := strings.Replace(latencyFile, "%", name, 1)
	b, err := fs.ReadFile(sys, file)
	if err != nil {
		return 0, ""
	}
	ms, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || ms < 2 || ms > 255 {
		return 0, ""
	}
	return time.Duration(ms) * time.Millisecond, "/sys/" + file
}
