package vcan_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/sim/bus"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// patience bounds every wait; the machine is emulated and shares its host.
const patience = 60 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func open(t testing.TB) link.Link {
	t.Helper()
	l, err := socketcan.Open(within(t), "can://"+testtier.Require(t, testtier.VCAN))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// Options of the kernel's ISO-TP sockets (linux/can/isotp.h), which x/sys/unix does not name.
const (
	solIsotp     = unix.SOL_CAN_BASE + unix.CAN_ISOTP
	isotpOpts    = 1
	isotpRecvFC  = 2
	isotpLLOpts  = 5
	isotpExtAddr = 0x002
	isotpTxPad   = 0x004
	isotpRxPad   = 0x008
	isotpChkLen  = 0x010
	isotpChkData = 0x020
	isotpRxExt   = 0x200
)

// kernelEnd says how an ISO-TP socket behaves.
type kernelEnd struct {
	rx, tx    uint32 // identifiers, 29-bit if above 7FF or with wide
	wide      bool
	ext       bool // extended or mixed addressing: txAddr and rxAddr are the first byte
	txAddr    byte
	rxAddr    byte
	pad       bool // frames are padded to 8 bytes
	padByte   byte // with what, 0 = CC
	strict    bool // with pad: what is received must be padded so too
	fd        byte // bytes of a CAN FD frame it sends (8..64), 0 = classic frames
	bs, stmin byte // asked for when it receives
	on        string
}

// socket opens the kernel's ISO-TP: segmentation, flow control and timing by code that shares nothing with ours.
func (k kernelEnd) socket(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_ISOTP)
	require.NoError(t, err)
	var flags uint32
	if k.ext {
		flags |= isotpExtAddr | isotpRxExt
	}
	if k.pad {
		flags |= isotpTxPad
	}
	if k.pad && k.strict {
		flags |= isotpRxPad | isotpChkLen | isotpChkData
	}
	if k.padByte == 0 {
		k.padByte = 0xCC
	}
	options := binary.NativeEndian.AppendUint32(nil, flags)
	options = binary.NativeEndian.AppendUint32(options, 0)
	options = append(options, k.txAddr, k.padByte, k.padByte, k.rxAddr)
	require.NoError(t, unix.SetsockoptString(fd, solIsotp, isotpOpts, string(options)))
	require.NoError(t, unix.SetsockoptString(fd, solIsotp, isotpRecvFC, string([]byte{k.bs, k.stmin, 0})))
	if k.fd > 0 {
		const canfdMTU, brs = 72, 1 // CANFD_MTU, CANFD_BRS
		require.NoError(t, unix.SetsockoptString(fd, solIsotp, isotpLLOpts, string([]byte{canfdMTU, k.fd, brs})))
	}
	id := func(id uint32) uint32 {
		if k.wide || id > 0x7FF {
			return id | unix.CAN_EFF_FLAG
		}
		return id
	}
	on := k.on
	if on == "" {
		on = testtier.Require(t, testtier.VCAN)
	}
	ifi, err := net.InterfaceByName(on)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrCAN{Ifindex: ifi.Index, RxID: id(k.rx), TxID: id(k.tx)}))
	f := os.NewFile(uintptr(fd), "isotp")
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// ecu answers every request on the socket with what reply makes of it, until the test ends.
func ecu(t testing.TB, f *os.File, reply func(request []byte) []byte) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 5000)
		for {
			n, err := f.Read(b)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				continue // a message that broke off; the tester's side of the test tells
			}
			_, _ = f.Write(reply(b[:n]))
		}
	}()
	t.Cleanup(func() { _ = f.Close(); <-done })
}

// pairs are the kinds of addressing OBD and workshop diagnostics use.
var pairs = []struct {
	name string
	ours isotp.Address
	end  kernelEnd
}{
	{"11-bit", isotp.Address{Tx: 0x7E0, Rx: 0x7E8}, kernelEnd{rx: 0x7E0, tx: 0x7E8, pad: true}},
	{"11-bit, short frames", isotp.Address{Tx: 0x7E0, Rx: 0x7E8}, kernelEnd{rx: 0x7E0, tx: 0x7E8}},
	{"29-bit", isotp.Address{Tx: 0x18DA10F1, Rx: 0x18DAF110, Extended29: true}, kernelEnd{rx: 0x18DA10F1, tx: 0x18DAF110, pad: true}},
	{"29-bit, mixed addressing", isotp.Address{Tx: 0x18CE10F1, Rx: 0x18CEF110, Extended29: true, Ext: true, TxTarget: 0x05, RxTarget: 0x05},
		kernelEnd{rx: 0x18CE10F1, tx: 0x18CEF110, ext: true, txAddr: 0x05, rxAddr: 0x05, pad: true}},
	{"extended addressing", isotp.Address{Tx: 0x6F1, Rx: 0x612, Ext: true, TxTarget: 0x12, RxTarget: 0xF1},
		kernelEnd{rx: 0x6F1, tx: 0x612, ext: true, txAddr: 0xF1, rxAddr: 0x12, pad: true}},
}

// between carries frames between two interfaces with these faults until stop is called.
func between(t *testing.T, one, two string, plan bus.Plan) (stop func() bus.Stats) {
	t.Helper()
	left, err := socketcan.Open(within(t), "can://"+one)
	require.NoError(t, err)
	right, err := socketcan.Open(within(t), "can://"+two)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bus.Stats, 1)
	go func() {
		s, _ := bus.Serve(ctx, left, right, plan)
		done <- s
	}()
	return func() bus.Stats {
		cancel()
		s := <-done
		require.NoError(t, left.Close())
		require.NoError(t, right.Close())
		return s
	}
}
