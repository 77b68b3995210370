package ike

import (
	"fmt"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
)

// IKEv1 (RFC 2408 3.1): the version of its header, and the exchanges by which a peer calls.
const (
	majorIKEv1     = 1
	mainMode       = wire.Exchange(2) // Identity Protection
	aggressiveMode = wire.Exchange(4)
)

// otherMajor explains that a peer we called knows no IKEv2. major is the version of the header that it answered with, if that is what it
// told it by, and not by a notify.
func (sa *ikeSA) otherMajor(major uint8) *explain.Diagnosis {
	from := sa.path.Remote
	sent := "INVALID_MAJOR_VERSION"
	text := fmt.Sprintf("the peer %v answers INVALID_MAJOR_VERSION to IKE_SA_INIT: it speaks another version of IKE, most likely IKEv1 only", from)
	if major != 0 {
		sent = fmt.Sprintf("a message of IKEv%d", major)
		text = fmt.Sprintf("the peer %v answers IKE_SA_INIT in IKEv%d: it does not speak IKEv2, at least not with us", from, major)
	}
	return speaksIKEv1(text, sent, sa.conn.Name)
}

// calledByIKEv1 tells, within limits, of a peer that calls with IKEv1. It gets no answer.
func (e *Endpoint) calledByIKEv1(d Datagram, h wire.Header) {
	mode := map[wire.Exchange]string{mainMode: "Main Mode", aggressiveMode: "Aggressive Mode"}[h.Exchange]
	if h.Major != majorIKEv1 || h.SPIi == 0 || h.SPIr != 0 || mode == "" || !e.complaints.allow(e.now, d.Path.Remote.Addr()) {
		return
	}
	name, names := "", namesOf(e.reachable(d.Path))
	if len(names) > 0 {
		name = names[0]
	}
	why := speaksIKEv1(fmt.Sprintf("the peer %v calls with IKEv1 (%s): Culvert speaks IKEv2 only", d.Path.Remote, mode), "IKEv1, "+mode, name)
	why.Connections = names
	e.emit(Event{Kind: Failed, Path: d.Path}.because(why))
}

// namesOf are those of the first few connections, for a diagnosis.
func namesOf(conns []*Connection) (names []string) {
	for _, c := range conns[:min(len(conns), maxNamed)] {
		names = append(names, c.Name)
	}
	return names
}

// speaksIKEv1 is what to do about a peer of the past.
func speaksIKEv1(text, sent, conn string) *explain.Diagnosis {
	fix := explain.Fix{
		Side: explain.Peer, Text: "switch to IKEv2: strongSwan version = 2 (in ipsec.conf keyexchange=ikev2), FortiGate set ike-version 2, MikroTik exchange-mode=ike2, Libreswan ikev2=yes",
	}
	if conn != "" {
		fix.Lines = explain.Lines([]string{"version = 2"}, "connections", conn)
	}
	return &explain.Diagnosis{
		Cause: explain.IKEv1Only, Text: text, Fixes: []explain.Fix{fix},
		Compared: []explain.Compared{{What: "version of IKE", Sent: sent, Configured: "IKEv2"}},
	}
}

// noEncapsulation explains that a peer, which may be that of these connections, does not do NAT traversal.
func noEncapsulation(conns ...*Connection) *explain.Diagnosis {
	return &explain.Diagnosis{
		Cause: explain.NoEncapsulation, Connections: namesOf(conns),
		Text: "the peer does not do NAT traversal: its first message has no NAT detection; Culvert carries ESP in UDP only, since bare ESP does not cross a NAT",
		Compared: []explain.Compared{{
			What: "NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP (RFC 7296 2.23)", Sent: "not both", Configured: "both, always",
		}},
		Fixes: []explain.Fix{{
			Side: explain.Peer, Text: "enable NAT traversal (UDP encapsulation): FortiGate set nattraversal enable, Cisco crypto ipsec nat-transparency udp-encapsulation, Libreswan encapsulation=yes",
		}},
	}
}
