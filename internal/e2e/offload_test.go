//go:build linux

package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/offload"
)

// without is Culvert without some fast paths.
func without(off offload.Set) daemon {
	return func(h *Host, conf string) Peer { return NewCulvert(h, conf, "--no-offload="+off.String()) }
}

// TestOffloadOff has A do without each fast path, and without all, while B has all that the kernel gives: so each way of sending
// meets the other way of receiving. Streams and datagrams arrive as they were sent, in their order, whatever is off.
func TestOffloadOff(t *testing.T) {
	t.Parallel()
	for _, off := range append(offload.All.Each(), offload.All, 0) {
		name := off.String()
		if off == offload.All {
			name = "all"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			confA, confB := withIPv6(referenceA), withIPv6(referenceB)
			a, b := match{a: without(off), b: culvert}.start(t, ref, confA, confB)
			status, err := a.(*Culvert).Status()
			Must(t, err)
			for _, o := range status.Offloads {
				one, err := offload.Parse(o.Name)
				Must(t, err)
				if (o.State == "off") != off.Has(one) {
					t.Errorf("%s is %s", o.Name, o.State)
				}
			}
			l := load{T: t, ref: ref, bytes: 2 << 20}
			l.bothWays()
			l.calm()
			if n := logged(a, "fast paths"); n != 1 {
				t.Errorf("A's log tells of its fast paths %d times", n)
			}
			if t.Failed() {
				t.Log(tails(a, b))
			}
		})
	}
}

// TestOffloadInUse looks at what this kernel gives a daemon that may have all of it.
func TestOffloadInUse(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	a, _ := matches[2].start(t, ref, referenceA, referenceB)
	status, err := a.(*Culvert).Status()
	Must(t, err)
	text, err := a.(*Culvert).Ctl("status")
	Must(t, err)
	t.Log(text)
	for _, o := range status.Offloads {
		switch one, err := offload.Parse(o.Name); {
		case err != nil:
			t.Error(err)
		case (offload.TSO | offload.Coalesce | offload.Segment | offload.GRO | offload.Batch).Has(one) && o.State != "on" && !switchedOff(t).Has(one):
			t.Errorf("%s is %s", o.Name, o.State) // every kernel since 5.0 has these
		}
	}
	for _, s := range status.Sockets {
		for _, buffer := range []CulvertBuffer{s.Recv, s.Send} {
			if buffer.Asked < 1<<20 || buffer.Granted < buffer.Asked { // it has CAP_NET_ADMIN
				t.Errorf("%s: asked for a buffer of %d bytes, got %d", s.Address, buffer.Asked, buffer.Granted)
			}
		}
	}
	if len(status.Sockets) < 4 || len(status.Shortages) > 0 || status.Queues < 1 {
		t.Errorf("%d sockets, %d queues, shortages %v", len(status.Sockets), status.Queues, status.Shortages)
	}
}

// switchedOff are the fast paths that the environment has every daemon do without.
func switchedOff(t *testing.T) offload.Set {
	t.Helper()
	off, err := offload.Parse(noOffload())
	Must(t, err)
	return off
}

// withIPv6 has the Child SA of the reference case carry IPv6 too.
func withIPv6(conf string) string {
	return edit(conf, "10.103.0.0/24", "10.103.0.0/24,fd00:103::/64", "10.104.0.0/24", "10.104.0.0/24,fd00:104::/64")
}

// load is traffic between the clients.
type load struct {
	*testing.T
	ref   *Reference
	bytes int64 // of each stream
}

// bothWays sends streams and datagrams, from A to B and from B to A, over IPv4 and IPv6.
func (l *load) bothWays() {
	l.Helper()
	for _, way := range [][2]*Host{{l.ref.A.Client, l.ref.B.Client}, {l.ref.B.Client, l.ref.A.Client}} {
		for _, six := range []bool{false, true} {
			if six {
				l.learn(way[0], way[1].Addr6())
			}
			l.stream(way[0], way[1], six)
			for _, d := range []Datagrams{
				{Bytes: l.bytes / 2, Size: 1300, Trains: true},
				{Bytes: l.bytes / 2, Size: 1200},
				{Bytes: l.bytes / 64, Size: 64, Trains: true},
				// In fragments. One that is short would come on another queue of the device: the kernel knows the flow of fragments by
				// their addresses alone.
				{Bytes: l.bytes / 64, Size: 3000, Even: true},
			} {
				l.datagrams(way[0], way[1], six, d)
			}
		}
	}
}

// learn has a client find out how long its IPv6 packets may be: the first that is too long is lost.
func (l *load) learn(from *Host, to netip.Addr) {
	l.Helper()
	if !eventually(soon, func() bool {
		r, err := from.Ping(to, Ping{Size: 3000, Patience: 500 * time.Millisecond})
		Must(l.T, err)
		return r.Lost() == 0
	}) {
		l.Fatalf("long packets never get from %s to %v", from.Name, to)
	}
}

func (l *load) stream(from, to *Host, six bool) {
	l.Helper()
	result, err := from.Transfer(to, addrOf(to, six), l.bytes)
	if err != nil || !result.Intact() || result.Bytes != l.bytes {
		l.Errorf("a stream from %s to %v: %v, %v", from.Name, addrOf(to, six), result, err)
	}
}

func (l *load) datagrams(from, to *Host, six bool, d Datagrams) {
	l.Helper()
	result, err := from.Datagrams(to, addrOf(to, six), d)
	if err != nil || !result.Intact() || result.Early > 0 {
		l.Errorf("%+v from %s to %v: %v, %v", d, from.Name, addrOf(to, six), result, err)
	}
}

// calm checks that no kernel has seen a damaged packet, and that a client hardly ever saw segments in another order than that of their
// sending. Now and then one does: where a thread moves to another processor, a virtual cable may deliver from both at once, and a queue
// may be full.
func (l *load) calm() {
	l.Helper()
	for _, h := range []*Host{l.ref.A.Client, l.ref.B.Client, l.ref.A.Host, l.ref.B.Host} {
		n := h.Counters()
		for _, name := range []string{"TcpInCsumErrors", "UdpInCsumErrors", "Udp6InCsumErrors", "IcmpInCsumErrors", "IpInHdrErrors", "Ip6InHdrErrors"} {
			if n[name] != 0 {
				l.Errorf("%s: %s = %d", h.Name, name, n[name])
			}
		}
		if early := n["TcpExtTCPOFOQueue"]; early > 2+n["TcpInSegs"]/1000 {
			l.Errorf("%s: %d of %d segments came early", h.Name, early, n["TcpInSegs"])
		}
	}
}

func addrOf(h *Host, six bool) netip.Addr {
	if six {
		return h.Addr6()
	}
	return h.Addr()
}
