package sim

import (
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/ike"
)

// Quiet reports whether no host has anything under way: all IKE SAs are current, and all children are up.
func (w *World) Quiet() bool {
	for _, h := range w.hosts {
		for _, sa := range h.Snapshot() {
			if !sa.Current || slices.ContainsFunc(sa.Children, func(c ike.ChildInfo) bool { return c.State != "up" }) {
				return false
			}
		}
	}
	return true
}

// CheckQuiet checks what must hold when nothing is under way any more: every IKE SA and every Child SA is known at two
// hosts, which agree about it, there is one Child SA for a policy at most, and nothing is left of others.
func (w *World) CheckQuiet() {
	for _, h := range w.hosts {
		h.Give(ike.Tick{}) // SPIs are given back when the endpoint is called again
		list := h.Snapshot()
		w.checkIKE(h, list)
		w.checkChildren(h, list)
		w.checkTable(h)
	}
}

// checkIKE: all IKE SAs are current, and the peer has them too.
func (w *World) checkIKE(h *Host, list []ike.SAInfo) {
	for _, sa := range list {
		if !sa.Current {
			w.fail("at quiet %s has an IKE SA that is %s", h.Name, sa.State)
			continue
		}
		if !slices.ContainsFunc(w.hosts, func(o *Host) bool { return o != h && o.has(sa) }) {
			w.fail("at quiet %s alone has the IKE SA %016x-%016x", h.Name, sa.SPIi, sa.SPIr)
		}
	}
}

// has reports whether the host has the other end of an IKE SA.
func (h *Host) has(sa ike.SAInfo) bool {
	return slices.ContainsFunc(h.Snapshot(), func(o ike.SAInfo) bool {
		return o.SPIi == sa.SPIi && o.SPIr == sa.SPIr && o.Initiator != sa.Initiator
	})
}

// checkChildren: what the endpoint says is what was installed, one for each policy.
func (w *World) checkChildren(h *Host, list []ike.SAInfo) {
	type policy struct{ conn, child, traffic string } // the peer may have divided the traffic
	count := make(map[policy]int)
	said := 0
	for _, sa := range list {
		for _, c := range sa.Children {
			said++
			count[policy{sa.Conn, c.Name, fmt.Sprint(c.Local, c.Remote)}]++
			if c.State != "up" {
				w.fail("at quiet the child %s of %s is %s", c.Name, h.Name, c.State)
			}
			if in := h.table.in[c.In]; in == nil || !slices.ContainsFunc(h.table.out, func(o *outbound) bool { return o.SPI == c.Out && o.Pair == c.In }) {
				w.fail("at quiet the child %s of %s is not installed in both directions", c.Name, h.Name)
			}
		}
	}
	for p, n := range count {
		if n > 1 {
			w.fail("at quiet %s has %d Child SAs for %s", h.Name, n, p.child)
		}
	}
	if len(h.table.in) != said || len(h.table.out) != said || len(h.table.held) != said {
		w.fail("at quiet %s has %d Child SAs, but %d inbound and %d outbound halves and %d SPIs", h.Name, said,
			len(h.table.in), len(h.table.out), len(h.table.held))
	}
}

// checkTable: each half has its other half elsewhere.
func (w *World) checkTable(h *Host) {
	for _, o := range h.table.out {
		var peer *inbound
		for _, other := range w.hosts {
			if in := other.table.in[o.SPI]; other != h && in != nil {
				peer = in
			}
		}
		switch {
		case peer == nil:
			w.fail("at quiet %s sends under %08x, which nobody receives", h.Name, o.SPI)
		case string(peer.EncKey) != string(o.EncKey):
			w.fail("at quiet the keys of %08x differ", o.SPI)
		case !fit(o.Install, peer.Install):
			w.fail("at quiet the selectors of %08x differ", o.SPI)
		}
	}
	for spi := range h.table.in {
		sends := func(other *Host) bool {
			return other != h && slices.ContainsFunc(other.table.out, func(o *outbound) bool { return o.SPI == spi })
		}
		if !slices.ContainsFunc(w.hosts, sends) {
			w.fail("at quiet %s receives under %08x, which nobody sends under", h.Name, spi)
		}
	}
}

// CheckGone checks that nothing is left of a host that was shut down, some minutes later.
func (w *World) CheckGone() {
	for _, h := range w.hosts {
		h.Give(ike.Tick{})
		_, waits := h.Deadline()
		if !h.Idle() || waits || len(h.Snapshot()) > 0 {
			w.fail("%s is not done: %d IKE SAs, waiting: %v", h.Name, len(h.Snapshot()), waits)
		}
		if n := len(h.table.held) + len(h.table.in) + len(h.table.out); n > 0 {
			w.fail("%s left %d SPIs and halves of Child SAs behind", h.Name, n)
		}
	}
}

// Up counts the Child SAs of a child that are up in both directions and have no successor.
func (h *Host) Up(conn, child string) int {
	n := 0
	for _, sa := range h.Snapshot() {
		for _, c := range sa.Children {
			if sa.Conn == conn && c.Name == child && c.State == "up" {
				n++
			}
		}
	}
	return n
}

// Current is the IKE SA of a connection that is up and has no successor, if there is one.
func (h *Host) Current(conn string) (ike.SAInfo, bool) {
	for _, sa := range h.Snapshot() {
		if sa.Conn == conn && sa.Current {
			return sa, true
		}
	}
	return ike.SAInfo{}, false
}
