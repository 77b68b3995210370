package compare

import (
	"fmt"
	"slices"
	"strings"
)

// Case is something that is done with each subject in each round.
type Case struct {
	Name  string
	About string
	// main cases are also run with the subjects that are there for comparison only.
	main bool
	what any // a tcpCase, udpCase, rttCase or setupCase
}

// tcpCase has streams carry as much as they can.
type tcpCase struct{ out, in int }

// udpCase floods with datagrams of a size, in bytes of payload, and then looks for the rate at which most arrive.
type udpCase struct {
	size     int
	segments bool
}

// rttCase measures round trips, with so many TCP streams in each direction beside them.
type rttCase struct{ streams int }

// setupCase has the tunnel made anew, again and again.
type setupCase struct{}

// Cases are all cases, in the order in which they are measured.
func Cases() []Case {
	return []Case{
		{"tcp1-out", "TCP, 1 stream, from the initiator", true, tcpCase{1, 0}},
		{"tcp1-in", "TCP, 1 stream, to the initiator", false, tcpCase{0, 1}},
		{"tcp4-out", "TCP, 4 streams, from the initiator", false, tcpCase{4, 0}},
		{"tcp4-in", "TCP, 4 streams, to the initiator", false, tcpCase{0, 4}},
		{"tcp-both", "TCP, 1 stream each way at once", false, tcpCase{1, 1}},
		{"udp64", "UDP, 64 bytes", true, udpCase{64, false}},
		{"udp512", "UDP, 512 bytes", false, udpCase{512, false}},
		{"udp1300", "UDP, 1300 bytes", false, udpCase{1300, false}},
		{"udp64-segments", "UDP, 64 bytes, UDP_SEGMENT", false, udpCase{64, true}},
		{"udp1300-segments", "UDP, 1300 bytes, UDP_SEGMENT", false, udpCase{1300, true}},
		{"rtt-idle", "round trip, idle", false, rttCase{0}},
		{"rtt-load", "round trip, beside 1 TCP stream", true, rttCase{1}},
		{"setup", "making the tunnel anew", true, setupCase{}},
	}
}

// cases are those that the options name; all tells that none were named.
func (o *Options) cases() (list []Case, all bool, err error) {
	if len(o.Cases) == 0 {
		return Cases(), true, nil
	}
	wanted := map[string]bool{}
	for _, name := range o.Cases {
		found := named(name)
		if len(found) == 0 {
			return nil, false, fmt.Errorf("there is no case %q", name)
		}
		for _, c := range found {
			wanted[c.Name] = true
		}
	}
	list = slices.DeleteFunc(Cases(), func(c Case) bool { return !wanted[c.Name] })
	return list, false, nil
}

// named are the cases that a name means: the one that is called so, or else all whose names begin so.
func named(name string) (list []Case) {
	for _, c := range Cases() {
		switch {
		case c.Name == name:
			return []Case{c}
		case strings.HasPrefix(c.Name, name):
			list = append(list, c)
		}
	}
	return list
}
