package socketcan

import (
	"strings"
)

// upCommand is what brings an interface up.
func upCommand(name string) string {
	switch {
	case virtualName(name):
		return "sudo ip link set " + name + " mtu 72 up"
	case strings.HasPrefix(name, "slcan"):
		return "sudo ip link set " + name + " up"
	}
	return "sudo ip link set " + name + " up type can bitrate 500000"
}

// fdCommand is what switches CAN FD on.
func fdCommand(name string) string {
	if virtualName(name) {
		return "sudo ip link set " + name + " down && sudo ip link set " + name + " mtu 72 up"
	}
	return "sudo ip link set " + name + " down && sudo ip link set " + name +
		" up type can bitrate 500000 dbitrate 2000000 fd on"
}

// missingHint is for an interface that does not exist; others are the CAN interfaces there are.
func missingHint(name string, others []string) string {
	if len(others) > 0 {
		return "CAN interfaces here: " + strings.Join(others, ", ")
	}
	switch {
	case strings.HasPrefix(name, "vcan"):
		return "make it: sudo modprobe vcan && sudo ip link add dev " + name + " type vcan && sudo ip link set " + name +
			" mtu 72 up"
	case strings.HasPrefix(name, "slcan"):
		return "attach the serial adapter: sudo slcand -o -c -s6 /dev/ttyUSB0 " + name + " && " + upCommand(name)
	}
	return "no CAN interface here; plug the adapter in and load its driver (ip -br link shows interfaces), then: " +
		upCommand(name)
}

const (
	noCANHint = "this kernel has no CAN, or may not load it; try: sudo modprobe can_raw (containers and cloud kernels often " +
		"have none; an ELM327 adapter, elm:/dev/ttyUSB0, needs no CAN in the kernel)"
	rightsHint = "this process may not open CAN sockets (a container or sandbox forbids it); run it outside, or in the " +
		"host's network: docker run --network host"
)

func virtualName(name string) bool {
	return strings.HasPrefix(name, "vcan") || strings.HasPrefix(name, "vxcan")
}
