package testtier

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// vcan says what is missing for tests on the CAN interface name.
func vcan(name string) error {
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	if err != nil {
		return fmt.Errorf("this kernel has no CAN (%w); run the tests with vcan/test, which brings a machine that has it", err)
	}
	_ = unix.Close(fd)
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("no interface %s; run vcan/up", name)
	}
	kind, err := os.ReadFile("/sys/class/net/" + name + "/type")
	switch {
	case err != nil:
		return err
	case string(kind) != fmt.Sprintf("%d\n", unix.ARPHRD_CAN):
		return fmt.Errorf("%s is not a CAN interface", name)
	case ifi.Flags&net.FlagUp == 0:
		return fmt.Errorf("%s is down; run vcan/up", name)
	case ifi.MTU < 72:
		return fmt.Errorf("%s has CAN FD off (mtu %d); run vcan/up", name, ifi.MTU)
	}
	return nil
}
