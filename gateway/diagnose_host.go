package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/udp"
)

// listen opens a socket. If others have the port the error is an explain.Error.
func listen(addr netip.AddrPort, o udp.Options) (udp.Conn, error) {
	conn, err := udp.Listen(addr, o)
	var taken *udp.InUse
	if errors.As(err, &taken) {
		return nil, &explain.Error{Diagnosis: portInUse(taken), Err: err}
	}
	return conn, err
}

// portInUse explains who has a port of ours.
func portInUse(taken *udp.InUse) *explain.Diagnosis {
	port := taken.Addr.Port()
	d := &explain.Diagnosis{Cause: explain.PortInUse}
	var names []string
	for _, p := range taken.Holders {
		name := p.String()
		if product := p.Product(); product != "" {
			name += ", which is " + product
		}
		names = append(names, name)
		if fix := p.Fix(port); !slices.ContainsFunc(d.Fixes, func(f explain.Fix) bool { return f.Text == fix.Text }) {
			d.Fixes = append(d.Fixes, fix)
		}
	}
	by := "another program"
	if len(names) > 0 {
		by = strings.Join(names, " and ")
	}
	d.Text = fmt.Sprintf("UDP port %d is in use by %s: IKE needs it, and one program of a host can have it", port, by)
	return d
}
