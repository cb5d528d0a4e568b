package socketcan

import (
	"net"
	"os"
	"strings"

	"go.einride.tech/can/pkg/candevice"
	"golang.org/x/sys/unix"
)

// sysfs is where the kernel lists interfaces; /type holds ARPHRD_CAN for CAN ones.
const sysfs = "/sys/class/net/"

const arphrdCAN = "280"

// Interfaces lists the CAN interfaces of this machine by name. It needs no rights.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []Interface
	for _, i := range all {
		if isCAN(i.Name) {
			found = append(found, describe(i))
		}
	}
	return found, nil
}

func isCAN(name string) bool {
	kind, err := os.ReadFile(sysfs + name + "/type")
	return err == nil && strings.TrimSpace(string(kind)) == arphrdCAN
}

// describe asks the kernel what it knows. Drivers that answer nothing (slcan) leave the zero values.
func describe(i net.Interface) Interface {
	d := Interface{Name: i.Name, Up: i.Flags&net.FlagUp != 0, MTU: i.MTU, FD: i.MTU >= fdSize}
	d.ControllerTime = stampsItself(i.Name)
	device, err := candevice.New(i.Name)
	if err != nil {
		return d
	}
	info, err := device.Info()
	if err != nil {
		return d
	}
	d.Virtual = info.Type == candevice.VcanLinkType || info.Type == candevice.VxcanLinkType
	d.Bitrate = info.BitTiming.Bitrate
	d.ListenOnly = info.CtrlMode.Flags&unix.CAN_CTRLMODE_LISTENONLY != 0
	return d
}

// stampsItself asks the driver whether the controller stamps what it receives (ethtool -T). No rights are needed.
func stampsItself(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	const both = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	info, err := unix.IoctlGetEthtoolTsInfo(fd, name)
	return err == nil && info.So_timestamping&both == both
}
