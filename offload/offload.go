// Package offload names the fast paths of the datapath, each of which has a slow twin that gives the same packets. A Set
// of them says which are off, by order of an operator whose driver or kernel misbehaves, or of a test; or which are in
// use. What a kernel lacks is off by itself.
package offload

import (
	"fmt"
	"math/bits"
	"strings"
)

// Set is a set of fast paths. The zero value is none.
type Set uint16

// The fast paths. The order is that of String.
const (
	// TSO: bursts of TCP come from the TUN device as one superpacket, and the kernel leaves checksums to us.
	TSO Set = 1 << iota
	// USO: bursts of UDP come from the TUN device as one superpacket.
	USO
	// Queues: the TUN device has the several queues that were asked for.
	Queues
	// Coalesce: neighbours of a flow that come out of the tunnel are written to the TUN device as one superpacket.
	Coalesce
	// Segment: a train of datagrams is sent in one call (UDP_SEGMENT).
	Segment
	// GRO: a train of datagrams is received in one call (UDP_GRO).
	GRO
	// Batch: datagrams that are no train are sent and received several in one call (sendmmsg, recvmmsg).
	Batch

	end
	// All are all of them.
	All = end - 1
)

// paths has for each fast path, in the order of the bits, its name and what it does.
var paths = [...]struct{ name, what string }{
	{"tso", "bursts of TCP are read from the TUN device as one packet"},
	{"uso", "bursts of UDP are read from the TUN device as one packet"},
	{"queues", "the TUN device has several queues, as was asked for"},
	{"coalesce", "neighbours of a flow are written to the TUN device as one packet"},
	{"udp-segment", "trains of datagrams are sent in one call"},
	{"udp-gro", "trains of datagrams are received in one call"},
	{"batch", "datagrams that are no train are sent and received several in one call"},
}

// Has reports whether all of other are in s.
func (s Set) Has(other Set) bool { return s&other == other }

// Each returns the fast paths of s one by one.
func (s Set) Each() []Set {
	var list []Set
	for s &= All; s != 0; s &= s - 1 {
		list = append(list, s&-s)
	}
	return list
}

// String is the names with commas between them, or "none".
func (s Set) String() string {
	var names []string
	for _, one := range s.Each() {
		names = append(names, paths[one.place()].name)
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// What says in words what a single fast path does.
func (s Set) What() string { return paths[s.place()].what }

func (s Set) place() int { return bits.TrailingZeros16(uint16(s)) }

// Parse reads a list of names with commas or spaces between them; "all" and "none" are names too. An empty list is none.
// The error names the word that is wrong and those that are known.
func Parse(text string) (Set, error) {
	var s Set
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		one, ok := find(strings.ToLower(word))
		if !ok {
			return 0, fmt.Errorf("there is no offload %q: choose among %s, or all", word, strings.ReplaceAll(All.String(), ",", ", "))
		}
		s |= one
	}
	return s, nil
}

func find(name string) (Set, bool) {
	switch name {
	case "all":
		return All, true
	case "none":
		return 0, true
	}
	for i, p := range paths {
		if p.name == name {
			return 1 << i, true
		}
	}
	return 0, false
}
