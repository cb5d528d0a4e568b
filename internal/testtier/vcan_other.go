//go:build !linux

package testtier

import "errors"

func vcan(string) error { return errors.New("SocketCAN exists on Linux only") }
