// Package ts holds traffic selectors: which packets a Child SA carries. It compares, intersects and narrows
// them (RFC 7296 2.9), reads and writes their text form, takes the fields of a packet that selectors look at,
// and finds the policy of a packet in a Table.
package ts

import (
	"errors"
	"net/netip"
)

// Ports that mean something special (RFC 7296 3.13.1).
const (
	anyStart, anyEnd       uint16 = 0, 65535
	opaqueStart, opaqueEnd uint16 = 65535, 0
)

// Selector is one Traffic Selector of types TS_IPV4_ADDR_RANGE and TS_IPV6_ADDR_RANGE (RFC 7296 3.13.1): a
// range of addresses, an IP protocol and a range of ports, all ends inclusive. It is comparable.
type Selector struct {
	// Protocol is the IP protocol number; 0 is any.
	Protocol uint8
	// StartPort and EndPort bound the ports. 0 and 65535 is ANY, 65535 and 0 is OPAQUE: only packets
	// whose ports cannot be seen. For ICMP and ICMPv6 the type is the upper octet and the code the lower;
	// for the Mobility Header the type is the upper octet and the lower one is 0 (RFC 4301 4.4.1.1).
	StartPort, EndPort uint16
	// Start and End are of one family and have no zone.
	Start, End netip.Addr
}

// Errors of Valid.
var (
	ErrAddresses = errors.New("traffic selector: not a range of addresses of one family")
	ErrPorts     = errors.New("traffic selector: not a range of ports")
)

// FromPrefix returns the selector for all traffic of the addresses in p; bits of p's address beyond its length
// do not count. An invalid prefix gives an invalid selector.
func FromPrefix(p netip.Prefix) Selector {
	if !p.IsValid() {
		return Selector{EndPort: anyEnd}
	}
	p = p.Masked()
	return Selector{EndPort: anyEnd, Start: p.Addr(), End: lastAddr(p)}
}

// FromAddr returns the selector for all traffic of one address. An IPv4-mapped IPv6 address counts as IPv4, and
// a zone is dropped.
func FromAddr(a netip.Addr) Selector {
	a = a.Unmap().WithZone("")
	return Selector{EndPort: anyEnd, Start: a, End: a}
}

// Is6 reports whether s selects IPv6.
func (s Selector) Is6() bool { return s.Start.Is6() }

// Valid returns nil, ErrAddresses or ErrPorts. Ports without a protocol are let pass although RFC 7296 3.13.1
// wants ANY there: they have a plain meaning, and peers send them.
func (s Selector) Valid() error {
	if !s.Start.IsValid() || !s.End.IsValid() || s.Start.BitLen() != s.End.BitLen() ||
		s.Start.Zone() != "" || s.End.Zone() != "" || s.End.Less(s.Start) {
		return ErrAddresses
	}
	if s.StartPort > s.EndPort && !s.opaque() {
		return ErrPorts
	}
	return nil
}

func (s Selector) anyPort() bool { return s.StartPort == anyStart && s.EndPort == anyEnd }
func (s Selector) opaque() bool  { return s.StartPort == opaqueStart && s.EndPort == opaqueEnd }

// hasAddr reports whether a is in the range of addresses. Addresses of the other family never are: Compare
// orders by family first.
func (s Selector) hasAddr(a netip.Addr) bool {
	return s.Start.Compare(a) <= 0 && a.Compare(s.End) <= 0
}

// Contains reports whether every packet that o selects is selected by s. Both must be valid.
func (s Selector) Contains(o Selector) bool {
	if !s.hasAddr(o.Start) || !s.hasAddr(o.End) {
		return false
	}
	if s.Protocol != 0 && s.Protocol != o.Protocol {
		return false
	}
	switch {
	case s.anyPort(): // ANY includes OPAQUE (RFC 4301 4.4.1)
		return true
	case s.opaque() || o.opaque():
		return s.opaque() && o.opaque()
	}
	return s.StartPort <= o.StartPort && o.EndPort <= s.EndPort
}

// Intersect returns the selector of the packets that both select; ok is false if there are none. Both must be
// valid.
func (s Selector) Intersect(o Selector) (both Selector, ok bool) {
	if s.Start.BitLen() != o.Start.BitLen() {
		return Selector{}, false
	}
	both = Selector{Protocol: s.Protocol, Start: s.Start, End: s.End}
	if both.Start.Less(o.Start) {
		both.Start = o.Start
	}
	if o.End.Less(both.End) {
		both.End = o.End
	}
	if both.End.Less(both.Start) {
		return Selector{}, false
	}
	switch {
	case s.Protocol == 0:
		both.Protocol = o.Protocol
	case o.Protocol != 0 && o.Protocol != s.Protocol:
		return Selector{}, false
	}
	both.StartPort, both.EndPort, ok = intersectPorts(s, o)
	if !ok {
		return Selector{}, false
	}
	return both, true
}

func intersectPorts(s, o Selector) (start, end uint16, ok bool) {
	switch {
	case s.anyPort():
		return o.StartPort, o.EndPort, true
	case o.anyPort():
		return s.StartPort, s.EndPort, true
	case s.opaque() || o.opaque():
		return opaqueStart, opaqueEnd, s.opaque() && o.opaque()
	}
	start, end = max(s.StartPort, o.StartPort), min(s.EndPort, o.EndPort)
	return start, end, start <= end
}
