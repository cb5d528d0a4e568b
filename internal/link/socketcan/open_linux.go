package socketcan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"obdgate/internal/link"

	"golang.org/x/sys/unix"
)

// receiveBuffer is asked of the kernel in bytes. With its default of 208 KiB a flood of frames outruns any reader; with
// 8 MiB a plain reader loses none. Without CAP_NET_ADMIN the kernel grants at most net.core.rmem_max.
const receiveBuffer = 8 << 20

// stampFlags ask for the controller's time stamp of what is received, and for the kernel's beside it: a driver without
// the first leaves it out.
const stampFlags = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE |
	unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE

// Open opens the CAN interface of uri (can://can0). The interface must be up. Options: fd=1 refuses an interface without
// CAN FD, fd=0 keeps to classic frames; errors=frames makes Recv deliver the controller's reports as frames with
// frame.Error instead of errors.
//
// A missing interface, one that is down, missing rights and a kernel without CAN are link.ErrNoAdapter; the Hint is the
// command to type.
func Open(ctx context.Context, uri string) (link.Link, error) {
	a, err := parse(uri)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, a.failed("open", err, "")
	}
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_RAW)
	if err != nil {
		return nil, a.noSocket(err)
	}
	l, err := a.setUp(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return l, nil
}

// failed makes the error every caller sees.
func (a address) failed(op string, err error, hint string) error {
	return &link.Error{Op: op, URI: a.uri, Err: err, Hint: hint}
}

func (a address) noAdapter(why, hint string) error {
	return a.failed("open", fmt.Errorf("%w: %s", link.ErrNoAdapter, why), hint)
}

// noSocket explains why the kernel gave no CAN socket.
func (a address) noSocket(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		return a.noAdapter("this kernel has no CAN", noCANHint)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return a.noAdapter("CAN sockets are not allowed", rightsHint)
	}
	return a.failed("open", fmt.Errorf("%w: %w", link.ErrNoAdapter, err), "")
}

// setUp binds the socket and makes a Link of it; the caller closes fd if it fails.
func (a address) setUp(fd int) (*Link, error) {
	ifi, err := net.InterfaceByName(a.name)
	if err != nil {
		var others []string
		all, _ := Interfaces()
		for _, i := range all {
			others = append(others, i.Name)
		}
		return nil, a.noAdapter("no interface "+a.name, missingHint(a.name, others))
	}
	about := describe(*ifi)
	switch {
	case !isCAN(a.name):
		return nil, a.noAdapter(a.name+" is not a CAN interface", "ip -br link show type can lists those that are")
	case !about.Up:
		return nil, a.noAdapter(a.name+" is down", upCommand(a.name))
	case a.fd == fdForced && !about.FD:
		return nil, a.noAdapter(a.name+" has CAN FD switched off", fdCommand(a.name))
	}
	about.FD = about.FD && a.fd != fdRefused

	option := func(level, name, value int) {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, value))
		}
	}
	err = nil
	if about.FD {
		option(unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1)
	}
	option(unix.SOL_CAN_RAW, unix.CAN_RAW_ERR_FILTER, unix.CAN_ERR_MASK)
	// The other programs on this machine see what we send; we do not.
	option(unix.SOL_CAN_RAW, unix.CAN_RAW_LOOPBACK, 1)
	option(unix.SOL_CAN_RAW, unix.CAN_RAW_RECV_OWN_MSGS, 0)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stampFlags) != nil {
		option(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	option(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		option(unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrCAN{Ifindex: ifi.Index}))
	}
	if err != nil {
		return nil, a.failed("open", fmt.Errorf("%w: %w", link.ErrNoAdapter, err), "")
	}
	// An interface that went down in between leaves its error on the socket.
	if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
		return nil, a.noAdapter(fmt.Sprintf("%s: %v", a.name, unix.Errno(code)), upCommand(a.name))
	}

	l := &Link{address: a, about: about, file: os.NewFile(uintptr(fd), a.uri), opened: time.Now(), closing: make(chan struct{})}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, a.failed("open", err, "")
	}
	l.readOnce, l.readMore, l.writeOnce, l.wake = l.read, l.more, l.write, l.interrupt
	return l, nil
}
