package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
)

// statusText writes a Status for people. Times are told from the moment it was taken.
type statusText struct {
	w   *tabwriter.Writer
	now time.Time
}

// parts are those of a Status that are written.
type parts struct{ gateway, details bool }

// writeStatus writes what the table leaves open. Each connection is a block of rows with a name each, one row per child below;
// without details it is only said why those failed that are down.
func writeStatus(w io.Writer, s *gateway.Status, p parts) error {
	t := statusText{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), s.Time}
	for i := range s.Connections {
		c := &s.Connections[i]
		switch {
		case p.details:
			fmt.Fprintln(t.w)
			t.connection(c)
		case c.LastFailure != nil && !c.Up:
			fmt.Fprintf(t.w, "\n%s\n", c.Name)
			t.failure("FAILURE", c.Name, *c.LastFailure)
		}
	}
	if !p.gateway {
		return t.w.Flush()
	}
	fmt.Fprintln(t.w)
	t.gateway(s)
	for i := range s.Strangers {
		fmt.Fprintln(t.w, "\nnot known yet")
		t.ikeSA(&s.Strangers[i])
	}
	if len(s.Refused) > 0 {
		fmt.Fprintln(t.w, "\nrefused")
		for _, f := range s.Refused {
			t.failure(cmp.Or(f.Peer, "a peer"), "", f)
		}
	}
	return t.w.Flush()
}

// row writes a name and what it stands for; lines of value after the first stand below it.
func (t *statusText) row(name, format string, args ...any) {
	value := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n  \t")
	fmt.Fprintf(t.w, "  %s\t%s\n", name, value)
}

func (t *statusText) gateway(s *gateway.Status) {
	fmt.Fprintln(t.w, "gateway")
	if !s.Started.IsZero() {
		t.row("running", "for %s", span(s.Time.Sub(s.Started)))
	}
	if s.Device != "" {
		t.row("device", "%s, MTU %d", s.Device, s.MTU)
	}
	t.offloads(s)
	up := 0
	for _, c := range s.Connections {
		if c.Up {
			up++
		}
	}
	t.row("connections", "%d of %d up", up, len(s.Connections))
	for _, shunt := range s.Shunts {
		what := fmt.Sprintf("dropped, %s so far", count(int(min(shunt.Dropped, 1<<31-1)), "packet"))
		if shunt.Mode == "pass" {
			what = "passes outside of all tunnels"
			if shunt.Dropped > 0 {
				what += fmt.Sprintf("; %s the host led into the tunnel's device, and were dropped", count(int(min(shunt.Dropped, 1<<31-1)), "packet"))
			}
		}
		t.row("shunt "+shunt.Name, "%s <-> %s: %s", strings.Join(shunt.Local, ", "), strings.Join(shunt.Remote, ", "), what)
	}
	for i := range s.Pools {
		t.pool(&s.Pools[i])
	}
	for _, w := range s.Warnings {
		t.failure("WARNING", "", w)
	}
	t.drops("packets dropped", s.Drops)
	t.drops("IKE dropped", s.IKEDrops)
}

// offloads tells which fast paths are in use, and why others are not.
func (t *statusText) offloads(s *gateway.Status) {
	names := map[string][]string{}
	for _, o := range s.Offloads {
		names[o.State] = append(names[o.State], o.Name)
	}
	var lines []string
	for _, state := range []struct{ name, words string }{
		{"on", ""}, {"off", "off by order: "}, {"missing", "not on this host: "}, {"unasked", "not asked for: "}, {"unknown", "not known: "},
	} {
		if list := names[state.name]; len(list) > 0 {
			lines = append(lines, state.words+strings.Join(list, ", "))
		}
	}
	if len(lines) > 0 {
		t.row("fast paths", "%s", strings.Join(lines, "\n"))
	}
	if s.AESGCM != "" {
		t.row("AES-GCM", "%s", s.AESGCM)
	}
	if s.Queues > 1 {
		t.row("queues", "%d", s.Queues)
	}
	for _, text := range s.Shortages {
		t.row("SHORTAGE", "%s", text)
	}
}

// drops are counters by reason, the largest first; there is no row without any.
func (t *statusText) drops(name string, by map[string]uint64) {
	reasons := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	words := []string{}
	for _, r := range reasons {
		if by[r] > 0 {
			words = append(words, fmt.Sprintf("%d %s", by[r], r))
		}
	}
	if len(words) > 0 {
		t.row(name, "%s", strings.Join(words, "\n"))
	}
}

func (t *statusText) connection(c *gateway.ConnectionStatus) {
	state := "down"
	if c.Up {
		state = "UP"
	}
	if c.Source == "vici" {
		state += ", loaded over vici"
	}
	fmt.Fprintf(t.w, "%s\t%s\n", c.Name, state)
	if len(c.IKE) == 0 {
		t.row("identities", "%s <-> %s", cmp.Or(c.LocalID, "our address"), c.RemoteID)
		t.row("calls", "%s", cmp.Or(c.Peer, "nobody, waits for the peer"))
	}
	for i := range c.IKE {
		if i == maxShown {
			t.row("IKE SA", "and %d more", len(c.IKE)-maxShown)
			break
		}
		t.ikeSA(&c.IKE[i])
	}
	if c.Assigned != nil {
		t.assigned(c.Assigned)
	}
	for i := range c.Children {
		t.child(c, &c.Children[i])
	}
	if c.LastFailure != nil {
		name := "last failure"
		if !c.Up {
			name = "FAILURE"
		}
		t.failure(name, c.Name, *c.LastFailure)
	}
	for _, w := range c.Warnings {
		t.failure("WARNING", "", w)
	}
}

// assigned tells what came with our inner addresses, and those that are kept while the connection is down.
func (t *statusText) assigned(a *gateway.AssignedStatus) {
	var lines []string
	if len(a.Servers) > 0 {
		line := strings.Join(a.Servers, ", ") + " for all names"
		if len(a.Domains) > 0 {
			line = strings.Join(a.Servers, ", ") + " for " + strings.Join(a.Domains, ", ")
		}
		if a.Unused != "" {
			line += "\nNOT IN USE: " + a.Unused
		}
		lines = append(lines, line)
	}
	text := strings.Join(a.Addresses, ", ")
	if len(a.Networks) > 0 {
		text += ", behind the peer: " + strings.Join(a.Networks, ", ")
	}
	t.row("assigned", "%s", text)
	if len(lines) > 0 {
		t.row("name servers", "%s", strings.Join(lines, "\n"))
	}
}

// maxShown is how many leases of a pool and peers of a connection are listed for people; --json has all.
const maxShown = 20

func (t *statusText) pool(p *gateway.PoolStatus) {
	lines := []string{fmt.Sprintf("%s to %s, %d of %d in use, %d kept for who had them", p.First, p.Last, p.Online, p.Size, p.Offline)}
	if p.Source == "vici" {
		lines = append(lines, "loaded over vici")
	}
	for i, l := range p.Leases {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("and %d more", len(p.Leases)-maxShown))
			break
		}
		use := "was there " + span(t.now.Sub(l.Since)) + " ago"
		if l.Online {
			use = "for " + span(t.now.Sub(l.Since))
		}
		lines = append(lines, fmt.Sprintf("%s  %s, %s", l.Address, l.Identity, use))
	}
	t.row("pool "+p.Name, "%s", strings.Join(lines, "\n"))
}

// failure tells of one; conn is empty if the peer belongs to no connection.
func (t *statusText) failure(name, conn string, f gateway.Failure) {
	text := fmt.Sprintf("%s ago: %s", span(t.now.Sub(f.Time)), cmp.Or(f.Text, f.Kind))
	if f.Child != "" {
		text = fmt.Sprintf("%s ago, child %s: %s", span(t.now.Sub(f.Time)), f.Child, cmp.Or(f.Text, f.Kind))
	}
	if f.Remedy != "" {
		text += "\nremedy: " + f.Remedy
	}
	if f.Diagnosis != nil {
		text += strings.TrimRight("\nexplain: culvert explain "+conn, " ")
	}
	t.row(name, "%s", text)
}

func (t *statusText) ikeSA(sa *gateway.IKEStatus) {
	caller := "the peer called"
	if sa.Initiator {
		caller = "we called"
	}
	words := []string{sa.State, caller}
	if !sa.Established.IsZero() {
		words = append(words, "for "+span(t.now.Sub(sa.Established)), t.ahead(sa.RekeyAt, sa.ExpireAt))
		if !sa.ReauthAt.IsZero() {
			words = append(words, "authenticates anew "+t.in(sa.ReauthAt))
		}
	}
	spis := fmt.Sprintf("SPIs %s, %s", sa.SPIi, cmp.Or(sa.SPIr, "?"))
	if sa.Proposal != "" {
		spis += "; " + sa.Proposal
	}
	t.row("IKE SA", "%s\n%s", strings.Join(words, ", "), spis)
	if sa.LocalID != "" || sa.RemoteID != "" {
		t.row("identities", "%s <-> %s", cmp.Or(sa.LocalID, "?"), cmp.Or(sa.RemoteID, "?"))
	}
	t.row("addresses", "%s <-> %s", sa.Local, sa.Remote)
	if sa.RedirectedBy != "" {
		t.row("redirected", "to this gateway by %s", sa.RedirectedBy)
	}
	t.row("NAT", "%s", sa.NAT)
	if sa.Up {
		t.row("MOBIKE", "%s", mobikeText(sa))
	}
	if len(sa.LocalVIPs) > 0 {
		t.row("inner address", "%s, of the peer", strings.Join(sa.LocalVIPs, ", "))
	}
	if len(sa.RemoteVIPs) > 0 {
		t.row("inner address", "of the peer: %s", strings.Join(sa.RemoteVIPs, ", "))
	}
	if sa.Secret != "" {
		t.row("secret", "%s", sa.Secret)
	}
}

// mobikeText says whether the tunnel outlives a change of addresses.
func mobikeText(sa *gateway.IKEStatus) string {
	switch {
	case !sa.MOBIKE:
		return "no"
	case len(sa.PeerAddresses) > 0:
		return "yes, the peer is also at " + strings.Join(sa.PeerAddresses, ", ")
	}
	return "yes"
}

// ahead tells what comes next, new keys or the end.
func (t *statusText) ahead(rekey, expire time.Time) string {
	switch {
	case !rekey.IsZero():
		return "new keys " + t.in(rekey)
	case !expire.IsZero():
		return "ends " + t.in(expire)
	}
	return "no new keys"
}

// in is when something happens, from now on.
func (t *statusText) in(at time.Time) string {
	if !at.After(t.now) {
		return "now"
	}
	return "in " + span(at.Sub(t.now))
}

// child writes what is configured, what is wanted, and the Child SAs that carry it.
func (t *statusText) child(conn *gateway.ConnectionStatus, c *gateway.ChildStatus) {
	state := "down"
	switch {
	case c.Up:
		state = "UP"
	case c.Held:
		state = "down, by order"
	case c.Wanted && c.Attempts > 0:
		state = fmt.Sprintf("down, %s without success, next %s", count(c.Attempts, "attempt"), t.in(c.NextTry))
	case c.Wanted:
		state = "being set up"
	}
	lines := []string{state + ", " + strings.Join(c.Local, ", ") + " <-> " + strings.Join(c.Remote, ", ")}
	for _, sa := range conn.IKE[:min(len(conn.IKE), maxShown)] {
		for _, child := range sa.Children {
			if child.Name == c.Name {
				lines = append(lines, t.childSA(&child)...)
			}
		}
	}
	if c.DroppedNoSA > 0 {
		lines = append(lines, fmt.Sprintf("%s dropped because it was not up", count(int(min(c.DroppedNoSA, 1<<31-1)), "packet")))
	}
	t.row("child "+c.Name, "%s", strings.Join(lines, "\n"))
}

func (t *statusText) childSA(c *gateway.ChildSAStatus) []string {
	first := fmt.Sprintf("%s for %s, %s", c.State, span(t.now.Sub(c.Born)), t.ahead(c.RekeyAt, c.ExpireAt))
	if c.Mode == "transport" {
		first += ", transport mode"
	}
	if c.MTU > 0 {
		first += fmt.Sprintf(", MTU %d", c.MTU)
	}
	lines := []string{
		first,
		fmt.Sprintf("SPIs %s in, %s out; %s", c.SPIIn, c.SPIOut, c.Proposal),
		fmt.Sprintf("in %s in %d packets, out %s in %d packets", size(c.BytesIn), c.PacketsIn, size(c.BytesOut), c.PacketsOut),
	}
	for _, reason := range slices.Sorted(maps.Keys(c.DropsIn)) {
		if n := c.DropsIn[reason]; n > 0 {
			lines = append(lines, fmt.Sprintf("%d dropped: %s", n, reason))
		}
	}
	return lines
}

// size is a number of bytes with at most four digits.
func size(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	f, i := float64(n), 0
	for f >= 999.95 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// span is a length of time with its two largest units.
func span(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	hours, minutes, seconds := rest/time.Hour, rest/time.Minute%60, rest/time.Second%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm %ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}
