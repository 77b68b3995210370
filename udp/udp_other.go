//go:build !linux

package udp

import (
	"errors"
	"net/netip"
)

// nativeSocket: trains, source addresses and TOS are Linux detail; elsewhere there is the plain socket.
const nativeSocket = false

func listenNative(netip.AddrPort, Options) (Conn, error) { return nil, errors.ErrUnsupported }
