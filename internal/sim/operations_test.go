package sim

import (
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/psk"
)

// operation is something that can happen to the reference case at any time.
type operation struct {
	name string
	// weight is how often TestSeeds does it, against the weights of the others; 0: only FuzzOperations does.
	weight int
	// do lets it happen, to a host if it is about one. how is its argument: every value means something.
	do func(s *scene, h *Host, how byte)
}

// operations are all operations, for TestSeeds and FuzzOperations alike. New ones go to the end: inputs of FuzzOperations name
// them by their number.
var operations = []operation{
	{"rekey the child", 8, func(_ *scene, h *Host, _ byte) { h.Rekey(conn, child) }},
	{"rekey the IKE SA", 8, func(_ *scene, h *Host, _ byte) { h.Rekey(conn, "") }},
	{"both rekey, or nearly at once", 4, func(s *scene, _ *Host, how byte) {
		for i, h := range []*Host{s.a, s.b} {
			what := []string{child, ""}[how>>i&1]
			s.After(time.Duration(how>>2)*time.Duration(i)*2*time.Millisecond, func() { h.Rekey(conn, what) })
		}
	}},
	{"close the child for a while", 6, func(s *scene, h *Host, how byte) {
		h.Terminate(conn, child)
		s.After(time.Duration(how)*100*time.Millisecond, func() { h.Initiate(conn, child) })
	}},
	{"close everything for a while", 3, func(s *scene, h *Host, how byte) {
		h.Terminate(conn, "")
		s.After(time.Duration(how)*100*time.Millisecond, func() { h.Initiate(conn, child) })
	}},
	{"close", 0, func(_ *scene, h *Host, how byte) { h.Terminate(conn, []string{child, "", other}[how%3]) }},
	{"create", 3, func(_ *scene, h *Host, how byte) { h.Initiate(conn, []string{child, "", other}[how%3]) }},
	{"close the other child", 2, func(_ *scene, h *Host, _ byte) { h.Terminate(conn, other) }},
	{"a packet asks", 3, func(_ *scene, h *Host, how byte) {
		h.Give(ike.Acquire{Conn: conn, Child: []string{child, other}[how%2]})
	}},
	{"reboot", 3, func(_ *scene, h *Host, _ byte) { h.Reboot() }},
	{"off the network for a while", 2, func(s *scene, h *Host, how byte) {
		h.SetDown(true)
		s.After(time.Duration(how)*time.Second, func() { h.SetDown(false) })
	}},
	{"the NAT boxes forget", 4, func(s *scene, _ *Host, _ byte) {
		for _, n := range s.nats {
			n.Rebind()
		}
	}},
	{"the clock steps", 1, func(_ *scene, h *Host, how byte) { h.StepClock(time.Duration(how) * time.Minute) }},
	{"the link changes", 0, func(s *scene, _ *Host, how byte) {
		s.Link.Loss, s.Link.Double = float64(how%64)/100, float64(how/64)/10
		s.Link.Jitter = time.Duration(how) * 5 * time.Millisecond
	}},
	{"of the next eight messages, those are lost that have a bit", 0, func(s *scene, _ *Host, how byte) {
		n := 0
		s.Lose = func(*Datagram) bool {
			n++
			return n <= 8 && how>>(n-1)&1 == 1
		}
	}},
	{"5 ms to a minute pass", 0, func(s *scene, _ *Host, how byte) {
		s.Run(5*time.Millisecond + time.Duration(how)*time.Duration(how)*time.Millisecond)
	}},
	{"several things at once", 4, func(_ *scene, h *Host, how byte) {
		for i, name := range []string{child, other, moreName(0), moreName(1), moreName(2), ""} {
			if how>>i&1 == 1 {
				h.Rekey(conn, name)
			}
		}
		if how>>6 == 3 {
			h.Terminate(conn, other)
			h.Initiate(conn, other)
		}
	}},
	{"another configuration is loaded", 4, func(s *scene, h *Host, how byte) { s.reload(h, how) }},
	{"the first configuration is loaded again", 2, func(s *scene, h *Host, _ byte) { h.Reconfigure(s.sideOf(h).config()) }},
	{"another address", 6, func(s *scene, h *Host, how byte) { s.move(h, how) }},
	{"reauthenticate", 5, func(_ *scene, h *Host, _ byte) { h.Give(ike.Reauth{Conn: conn}) }},
	{"both reauthenticate, or nearly at once", 3, func(s *scene, _ *Host, how byte) {
		for i, h := range []*Host{s.a, s.b} {
			s.After(time.Duration(how)*time.Duration(i)*2*time.Millisecond, func() { h.Give(ike.Reauth{Conn: conn}) })
		}
	}},
}

// move takes a host to another place, or home.
func (s *scene) move(h *Host, how byte) {
	i, home := 0, s.homes[0]
	if h == s.b {
		i, home = 1, s.homes[1]
	}
	elsewhere := []netip.Addr{elsewhereA, elsewhereB}[i]
	switch how % 4 {
	case 0:
		h.Move(home.nat, home.addr)
	case 1: // in the open
		h.Move(nil, elsewhere)
	case 2: // a second address at home
		h.Move(home.nat, home.addr, home.addr.Next())
	case 3: // the second one only
		h.Move(home.nat, home.addr.Next())
	}
}

// sideOf is what a host was configured with in the beginning.
func (s *scene) sideOf(h *Host) side {
	if h == s.a {
		return s.sides[0]
	}
	return s.sides[1]
}

// reload changes the configuration of a host in one of several ways, all of which let it connect sooner or later.
func (s *scene) reload(h *Host, how byte) {
	c := s.sideOf(h)
	later := time.Duration(how) * 50 * time.Millisecond
	switch how % 8 {
	case 0:
		c.dpd, c.soft.Time, c.hard.Time = 10*time.Second, time.Minute, 2*time.Minute
	case 1:
		c.ike = append([]string{"aes256gcm16-prfsha384-x25519"}, append(c.ike, "aes128gcm16-prfsha256-x25519")...)
	case 2:
		c.soft.Packets = 50
	case 3:
		c.local = strings.Replace(c.local, "/24", "/16", 1)
	case 4:
		c.second = !c.second
	case 5:
		c.fragmentation, c.childless = ike.FragmentationAccept, ike.ChildlessPrefer
	case 6:
		// The peer hears of it later.
		c.secret = "asdfgh"
		for _, o := range []*Host{s.a, s.b} {
			if other := s.sideOf(o); o != h {
				other.secret = c.secret
				s.After(later, func() { o.Reconfigure(other.config()) })
			}
		}
	case 7:
		h.Reconfigure(Config{Secrets: psk.NewStore()})
		s.After(later, func() { h.Reconfigure(c.config()) })
		return
	}
	h.Reconfigure(c.config())
}

// byLot draws an operation by its weight, a host and an argument, and lets it happen.
func (s *scene) byLot() {
	sum := 0
	for _, o := range operations {
		sum += o.weight
	}
	lot := s.Rand().IntN(sum)
	for _, o := range operations {
		if lot -= o.weight; lot < 0 {
			s.let(o, s.Rand().IntN(2), byte(s.Rand().Uint32()))
			return
		}
	}
}

// let lets an operation happen.
func (s *scene) let(o operation, host int, how byte) {
	h := []*Host{s.a, s.b}[host]
	s.trace.note(s.World, h, "* "+o.name)
	o.do(s, h, how)
}
