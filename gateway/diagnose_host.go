package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike"
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

// nameNotResolved explains that the DNS has no address for a peer.
func nameNotResolved(c *ike.Connection, err error) error {
	host := c.RemoteHost
	return &explain.Error{Err: err, Diagnosis: &explain.Diagnosis{
		Cause:    explain.NameNotResolved,
		Text:     fmt.Sprintf("the name %q of the peer cannot be resolved: %v", host, err),
		Compared: []explain.Compared{{What: "what the DNS says of " + host, Sent: err.Error(), Configured: "remote_addrs = " + host}},
		Fixes: []explain.Fix{
			{Side: explain.Here, Text: "correct the name in remote_addrs, or write the address of the peer"},
			{Side: explain.Here, Text: "see that this host can ask its name server, outside of the tunnel", Lines: []string{"# getent hosts " + host}},
		},
	}}
}

// noRoute explains that the host has no way to a peer. An error that is no want of a route stays as it is.
func noRoute(c *ike.Connection, remote netip.Addr, err error) error {
	d := &explain.Diagnosis{
		Cause: explain.NoRoute,
		Text:  fmt.Sprintf("there is no way to the peer %s: %v", remote, err),
		Compared: []explain.Compared{{
			What: "the kernel's way to " + remote.String(), Sent: err.Error(), Configured: "remote_addrs = " + c.RemoteHost,
		}},
		Fixes: []explain.Fix{
			{Side: explain.Here, Text: fmt.Sprintf("give this host a route to %s, by its default gateway say: `ip route get %s` tells what it has", remote, remote), Lines: []string{"# ip route get " + remote.String()}},
			{Side: explain.Here, Text: "correct remote_addrs"},
		},
	}
	return &explain.Error{Err: err, Diagnosis: d}
}

// otherSource explains that local_addrs forbids the address that the way to a peer leaves from.
func otherSource(c *ike.Connection, remote, local netip.Addr) error {
	var allowed []string
	for _, p := range c.LocalAddrs {
		allowed = append(allowed, p.String())
	}
	return &explain.Error{Diagnosis: &explain.Diagnosis{
		Cause:    explain.NoRoute,
		Text:     fmt.Sprintf("the way to the peer %s leaves from %s, which local_addrs does not allow", remote, local),
		Compared: []explain.Compared{{What: "our address towards the peer", Sent: local.String(), Configured: "local_addrs = " + strings.Join(allowed, ", ")}},
		Fixes: []explain.Fix{{
			Side: explain.Here, Text: "leave local_addrs out, or write the address that this host has", Lines: explain.Lines([]string{"local_addrs = %any"}, "connections", c.Name),
		}},
	}}
}

// reviewClock looks whether the host's clock was set.
func (c *control) reviewClock() {
	if by := c.clock.jumped(); by != 0 {
		c.warn(nil, "", clockSet(by, c.clock.calendar()))
		return
	}
	if !c.clock.judged {
		c.clock.judged = true
		if now := c.clock.calendar(); now.Before(buildTime().Add(-24 * time.Hour)) {
			c.warn(nil, "", clockBehind(now))
		}
	}
}

const clockAffects = "tunnels do not depend on it, but the times in the log and in the status do, and how long inner addresses are remembered"

var keepTime = []explain.Fix{{Side: explain.Here, Text: "have the time kept by NTP: `timedatectl set-ntp true`", Lines: []string{"# timedatectl set-ntp true"}}}

// clockSet explains that the calendar of the host has jumped.
func clockSet(by time.Duration, now time.Time) *explain.Diagnosis {
	where, before := "forward", now.Add(-by)
	if by < 0 {
		where = "back"
	}
	return &explain.Diagnosis{
		Cause:    explain.ClockJumps,
		Text:     fmt.Sprintf("the clock of this host was set %s by %v: %s", where, by.Abs().Round(time.Second), clockAffects),
		Compared: []explain.Compared{{What: "the clock of this host", Sent: now.Format(time.DateTime), Configured: "before it was set: " + before.Format(time.DateTime)}},
		Fixes:    keepTime,
	}
}

// clockBehind explains that the calendar of the host says a time that cannot be.
func clockBehind(now time.Time) *explain.Diagnosis {
	built := buildTime()
	return &explain.Diagnosis{
		Cause:    explain.ClockJumps,
		Text:     fmt.Sprintf("the clock of this host says %s, which is before this program was made: %s", now.Format(time.DateTime), clockAffects),
		Compared: []explain.Compared{{What: "the clock of this host", Sent: now.Format(time.DateTime), Configured: "this program is of " + built.Format(time.DateOnly)}},
		Fixes:    keepTime,
	}
}

// buildTime is a time that is past: that of the commit this program was built from, as far as it is known.
func buildTime() time.Time {
	earliest := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return earliest
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if at, err := time.Parse(time.RFC3339, s.Value); err == nil && at.After(earliest) {
				return at
			}
		}
	}
	return earliest
}
