//go:build !linux

package gateway

import (
	"fmt"
	"net"
	"runtime"
)

// NewHost is implemented on Linux only.
func NewHost() (Host, error) {
	return nil, fmt.Errorf("routing traffic into the tunnel is not implemented on %s: "+
		"route the remote networks to the tunnel's device with the tools of the system, and keep the peers' addresses out of it", runtime.GOOS)
}

// markedDNS is the usual resolver where packets cannot be marked.
func markedDNS() *net.Resolver { return net.DefaultResolver }

// Hints has nothing to say where NewHost does not work.
func Hints(...Policy) []Hint { return nil }
