package config

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Describe writes the policy that is in effect, defaults included, for people to read. Of secrets it tells
// the names and whose they are.
func (c *Config) Describe(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, conn := range c.Connections {
		describeConnection(t, conn, c.Retransmit)
	}
	for _, s := range c.Shunts {
		describeShunt(t, &s)
	}
	for _, p := range c.Pools {
		describePool(t, p)
	}
	for _, s := range c.SecretEntries {
		fmt.Fprintf(t, "secret %s\tof %s\n", s.Name, ownerNames(s.Owners))
	}
	if c.NoOffload != 0 {
		fmt.Fprintf(t, "no offload\t%v\n", c.NoOffload)
	}
	return t.Flush()
}

func describeConnection(w io.Writer, c *ike.Connection, retransmit ike.Retransmit) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	local := "the local address"
	if !c.LocalID.IsZero() {
		local = c.LocalID.String()
	}
	fmt.Fprintf(w, "connection %s\n", c.Name)
	row("local", "%s at %s, port %d", local, prefixes(c.LocalAddrs), c.LocalPort)
	row("remote", "%s at %s, port %d", c.RemoteID, prefixes(c.RemoteAddrs), c.RemotePort)
	row("calls", "%s", cmp.Or(c.RemoteHost, "nobody, waits for the peer"))
	row("proposals", "%s", proposals(c.Proposals))
	row("rekeyed", "%s", repeat(c.RekeyTime, c))
	row("reauthenticated", "%s", repeat(c.ReauthTime, c))
	if c.ReauthTime > 0 {
		row("", "%s", map[bool]string{false: "next to the old IKE SA, without an interruption", true: "after the old IKE SA is closed, with an interruption"}[c.BreakBeforeMake])
	}
	liveness := "never"
	if c.DPDDelay > 0 {
		liveness = "after " + span(c.DPDDelay) + " of silence"
	}
	row("peer probed", "%s", liveness)
	row("silent peer", "%s", givenUp(cmp.Or(c.Retransmit, retransmit)))
	row("restarts", "%s", map[bool]string{true: "noticed by tokens, if both sides give them", false: "noticed by silence"}[c.CrashDetection])
	row("requests at once", "%d, if the peer takes as many", c.Window)
	row("encapsulation", "always in UDP")
	row("addresses", "%s", map[bool]string{true: "may change, if the peer does MOBIKE", false: "are those that the tunnel was set up with"}[c.MOBIKE])
	if c.RemoteHost != "" {
		row("redirects", "%s", map[bool]string{true: "followed", false: "not followed"}[c.FollowRedirects])
	}
	row("large messages", "%s", fragmentationWords[c.Fragmentation])
	row("without a child", "%s", childlessWords[c.Childless])
	row("second SA of the peer", "%s", uniqueWords[c.Unique])
	if len(c.VIPs) > 0 {
		row("asks the peer for", "%s", wishes(c.VIPs))
	}
	if len(c.Pools) > 0 {
		row("lends addresses of", "%s", poolNames(c.Pools))
	}
	for _, child := range c.Children {
		describeChild(w, child)
	}
	fmt.Fprintln(w)
}

// givenUp says how long the answer to a request is waited for.
func givenUp(r ike.Retransmit) string {
	return fmt.Sprintf("given up after %d retransmissions of a request, in all %s", r.Tries, span(r.Patience()))
}

// wishes says which inner addresses are asked for.
func wishes(vips []netip.Addr) string {
	var words []string
	for _, a := range vips {
		switch {
		case !a.IsUnspecified():
			words = append(words, "the address "+a.String())
		case a.Is4():
			words = append(words, "an IPv4 address")
		default:
			words = append(words, "an IPv6 address")
		}
	}
	return strings.Join(words, ", ")
}

func poolNames(pools []*ike.Pool) string {
	var words []string
	for _, p := range pools {
		words = append(words, "pool "+p.Name)
	}
	return strings.Join(words, ", ")
}

func describePool(w io.Writer, p *ike.Pool) {
	row := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(w, "  %s\t%s\n", name, strings.Join(values, ", "))
		}
	}
	fmt.Fprintf(w, "pool %s\n", p.Name)
	row("lends", []string{fmt.Sprintf("%v to %v", p.First, p.Last)})
	row("name servers", texts(p.DNS))
	row("for the domains", p.Domains)
	row("NetBIOS servers", texts(p.NBNS))
	row("DHCP servers", texts(p.DHCP))
	row("networks", texts(p.Subnets))
	row("other networks", texts(p.Excluded))
	if p.Netmask.IsValid() {
		row("netmask", []string{p.Netmask.String()})
	}
	fmt.Fprintln(w)
}

func texts[T fmt.Stringer](list []T) []string {
	var words []string
	for _, x := range list {
		words = append(words, x.String())
	}
	return words
}

// repeat says when an IKE SA is renewed, and what happens if that does not succeed.
func repeat(every time.Duration, c *ike.Connection) string {
	if every == 0 {
		return "never"
	}
	return fmt.Sprintf("after %s less up to %s, closed %s after that", span(every), span(c.RandTime), span(c.OverTime))
}

var fragmentationWords = [...]string{
	ike.FragmentationYes:    "in fragments, if the peer takes them",
	ike.FragmentationAccept: "sent whole, taken in fragments",
	ike.FragmentationNo:     "whole",
}

var childlessWords = [...]string{
	ike.ChildlessAllow:  "if the peer calls so",
	ike.ChildlessPrefer: "if the peer takes it, or calls so",
	ike.ChildlessForce:  "always, other peers are refused",
	ike.ChildlessNever:  "never, such peers are refused",
}

var uniqueWords = [...]string{
	ike.UniqueNo:      "replaces the first after INITIAL_CONTACT",
	ike.UniqueNever:   "is another one",
	ike.UniqueKeep:    "is refused",
	ike.UniqueReplace: "replaces the first",
}

func describeChild(w io.Writer, c *ike.Child) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "    %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "  child %s\n", c.Name)
	row("traffic", "%s <-> %s", selectors(c.LocalTS), selectors(c.RemoteTS))
	row("proposals", "%s", proposals(c.Proposals))
	row("rekeyed", "%s", cmp.Or(lifetime("after ", c.Rekey)+lifetime(" less up to ", c.Rand), "never"))
	row("closed", "%s", cmp.Or(lifetime("after ", c.Life), "never"))
	if c.KeepUp() {
		row("kept up", "started at once, and again when it is closed or the peer vanishes")
	} else {
		row("start, close, dpd", "%s, %s, %s", actionWords[c.StartAction], actionWords[c.CloseAction], actionWords[c.DPDAction])
	}
	window := "default"
	if c.ReplayWindow > 0 {
		window = fmt.Sprintf("%d packets", c.ReplayWindow)
	}
	row("replay window", "%s", window)
	if c.Mode != ike.Tunnel {
		row("mode", "%s, if the peer agrees", c.Mode)
	}
	if c.Inactivity > 0 {
		row("closed when idle", "after %s", span(c.Inactivity))
	}
	switch {
	case c.TFCPadding == ike.TFCPathMTU:
		row("packets padded", "to the longest that the path carries")
	case c.TFCPadding > 0:
		row("packets padded", "to %d bytes", c.TFCPadding)
	}
	row("DSCP copied", "%s", directionWords[c.CopyDSCP])
	if c.Priority > 0 {
		row("priority", "%d", maxPriority+1-c.Priority)
	}
}

var actionWords = [...]string{ike.None: "nothing", ike.Trap: "when a packet asks for it", ike.Start: "at once"}

var directionWords = [...]string{0: "never", ike.In: "from the tunnel", ike.Out: "into the tunnel", ike.In | ike.Out: "into and from the tunnel"}

func prefixes(list []netip.Prefix) string {
	if len(list) == 0 {
		return "any address"
	}
	var words []string
	for _, p := range list {
		if p.IsSingleIP() {
			words = append(words, p.Addr().String())
		} else {
			words = append(words, p.String())
		}
	}
	return strings.Join(words, ", ")
}

func proposals(list []suite.Proposal) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func selectors(list []ts.Spec) string {
	var words []string
	for _, s := range list {
		words = append(words, s.String())
	}
	return strings.Join(words, ", ")
}

// lifetime puts a word before the limits of l; it is "" if there are none.
func lifetime(word string, l ike.Lifetime) string {
	var words []string
	if l.Time > 0 {
		words = append(words, span(l.Time))
	}
	if l.Bytes > 0 {
		words = append(words, fmt.Sprintf("%d bytes", l.Bytes))
	}
	if l.Packets > 0 {
		words = append(words, fmt.Sprintf("%d packets", l.Packets))
	}
	if words == nil {
		return ""
	}
	return word + strings.Join(words, " or ")
}

// span is a time in the language of the file.
func span(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.d && d%unit.d == 0 {
			return fmt.Sprintf("%d%s", d/unit.d, unit.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
