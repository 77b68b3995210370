package doctor

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/gateway"
)

// markedDialer makes connections past the rules of a daemon that may be running: what the doctor asks must not end in the tunnel
// that it asks about. Without CAP_NET_ADMIN they go as those of any program.
func markedDialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, gateway.Mark) })
	}}
}

// markedResolver asks the DNS likewise.
func markedResolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return markedDialer().DialContext(ctx, network, address)
	}}
}
