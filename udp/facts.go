package udp

import (
	"fmt"
	"strings"

	"github.com/culvert-vpn/culvert/offload"
)

// Facts are what a socket has got of its kernel.
type Facts struct {
	Offloads offload.Set // that are in use now: of Segment, GRO and Batch
	Recv     Buffer
	Send     Buffer
}

// Buffer is a buffer of a socket, in bytes. Granted is 0 where it is not known.
type Buffer struct {
	Asked   int `json:"asked"`
	Granted int `json:"granted"`
}

// Short reports whether the kernel gave less than it was asked for.
func (b Buffer) Short() bool { return b.Granted > 0 && b.Granted < b.Asked }

// Described is a Conn that knows what it has got.
type Described interface {
	// Facts may be called by any goroutine. Segment goes from Offloads when it is found that it does not work.
	Facts() Facts
}

// Shortage says in one sentence what buffer is smaller than asked for and what to change, or nothing.
func (f *Facts) Shortage() string {
	var short, remedy []string
	for _, b := range []struct {
		name, sysctl string
		Buffer
	}{{"receive", "net.core.rmem_max", f.Recv}, {"send", "net.core.wmem_max", f.Send}} {
		if b.Short() {
			short = append(short, fmt.Sprintf("the %s buffer has %d bytes instead of %d", b.name, b.Granted, b.Asked))
			remedy = append(remedy, fmt.Sprintf("`sysctl -w %s=%d`", b.sysctl, b.Asked))
		}
	}
	if short == nil {
		return ""
	}
	return fmt.Sprintf("%s, so that bursts are lost sooner: run with CAP_NET_ADMIN, or set %s", strings.Join(short, " and "), strings.Join(remedy, " and "))
}
