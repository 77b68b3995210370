//go:build !linux

package doctor

import "context"

// host looks at this machine, of which only what Go tells of every machine is known here.
func (x *examination) host(context.Context) {
	x.add(Check{ID: "host", Group: Host, Result: Unknown, Text: "hosts are examined on Linux only"})
}
