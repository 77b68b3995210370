// Package holder finds the program that has a UDP port of this host, and knows how to have it let go. It reads /proc, so that it
// finds anything on Linux only.
package holder

import (
	"cmp"
	"fmt"

	"github.com/culvert-vpn/culvert/explain"
)

// Process is a program that has a socket.
type Process struct {
	// Name is that of the program, as "charon"; PID its number. Other users' programs show themselves to root only: then the
	// name is empty and the number 0.
	Name string
	PID  int
	// Unit is the systemd service that the program belongs to, as "strongswan.service"; empty if it is not known to belong to one.
	Unit string
	// Kernel: there is no program, the socket is the kernel's own.
	Kernel bool
}

// daemons are the programs known to use the ports of IKE, and what they are.
var daemons = map[string]string{
	"charon": "strongSwan", "charon-systemd": "strongSwan", "starter": "strongSwan", "pluto": "Libreswan", "iked": "OpenIKED", "racoon": "racoon of ipsec-tools",
	"isakmpd": "isakmpd", "culvert": "another Culvert",
}

// Product is what the program is, as "strongSwan"; empty if it is not known to be an IKE daemon.
func (p Process) Product() string { return daemons[p.Name] }

// String names the program in a sentence.
func (p Process) String() string {
	switch {
	case p.Kernel:
		return "the kernel itself"
	case p.PID == 0:
		return "another program"
	}
	in := fmt.Sprintf("process %d", p.PID)
	if p.Unit != "" {
		in += " of " + p.Unit
	}
	return fmt.Sprintf("%q (%s)", p.Name, in)
}

// Fix is how to have the program let go of a port, for good.
func (p Process) Fix(port uint16) explain.Fix {
	name := cmp.Or(p.Product(), p.Name)
	switch {
	case p.Kernel:
		return explain.Fix{Side: explain.Here, Text: fmt.Sprintf("take down the tunnel device of the kernel that uses UDP port %d", port), Lines: []string{"# ip -details link"}}
	case p.PID == 0:
		return explain.Fix{
			Side: explain.Here, Text: fmt.Sprintf("find the program as root and stop it: `ss -ulnp sport = :%d`", port),
			Lines: []string{fmt.Sprintf("# ss -ulnp sport = :%d", port)},
		}
	case p.Unit != "":
		return explain.Fix{
			Side: explain.Here, Text: fmt.Sprintf("stop %s, and keep it from being started again: `systemctl disable --now %s`", name, p.Unit),
			Lines: []string{"# systemctl disable --now " + p.Unit},
		}
	}
	return explain.Fix{
		Side: explain.Here, Text: fmt.Sprintf("stop %s, `kill %d`, and keep whatever started it from doing so again", name, p.PID),
		Lines: []string{fmt.Sprintf("# kill %d", p.PID)},
	}
}
