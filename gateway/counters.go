package gateway

import (
	"fmt"
	"sync/atomic"

	"github.com/culvert-vpn/culvert/esp"
)

// Drop is a reason why a packet or datagram was not passed on.
type Drop uint8

// The reasons. Those of the way out come first, then those of the way in.
const (
	// DropNotIP is what the host sent into the tunnel and is no sound IP packet.
	DropNotIP Drop = iota
	// DropNoPolicy is a packet that no child is configured for.
	DropNoPolicy
	// DropShunt is a packet that a child with mode = drop is for; DropPass one that mode = pass is for and that the host's
	// routing led into the device all the same.
	DropShunt
	DropPass
	// DropNoSA is a packet of a configured child that is not up: it never leaves in clear.
	DropNoSA
	// DropSpent is a packet for a Child SA that has reached a hard limit.
	DropSpent
	// DropTooBig is a packet larger than the path allows, whose sender was told so.
	DropTooBig
	// DropSuper is a superpacket that cannot be cut.
	DropSuper
	// DropFragment is a fragment for a Child SA in transport mode, which carries whole datagrams only (RFC 4303
	// 3.3.4); DropHeader a packet for one with IP options or extension headers that belong in front of ESP.
	DropFragment
	DropHeader
	// DropSendTooBig is a datagram that the kernel finds too big, DropSendUnreachable one without a way to the peer,
	// DropSendNoBuffers one that it has no room for, DropSendDenied one that the firewall refuses; DropSendOther is
	// any other error of sending.
	DropSendTooBig
	DropSendUnreachable
	DropSendNoBuffers
	DropSendDenied
	DropSendOther

	// DropJunk is a datagram that is neither IKE nor ESP nor a keepalive.
	DropJunk
	// DropReceive is a datagram that could not be received whole.
	DropReceive
	// DropUnknownSPI is ESP for no SA of ours.
	DropUnknownSPI
	// DropESPShort to DropESPDummy are the reasons of package esp.
	DropESPShort
	DropESPExpired
	DropESPReplay
	DropESPOld
	DropESPIntegrity
	DropESPPadding
	DropESPNextHeader
	DropESPInner
	DropESPDummy
	// DropInnerMalformed is an authentic packet whose inside is no sound IP packet.
	DropInnerMalformed
	// DropSelectors is an authentic packet that the Child SA's traffic selectors do not allow (RFC 4301 5.2).
	DropSelectors
	// DropCongestion is an authentic packet marked as congested on the way whose transport knows only loss
	// (RFC 6040 4.2).
	DropCongestion
	// DropDeviceDown is a packet for the host while the TUN device is down, DropDeviceFull one that the kernel had no
	// room for, DropDeviceRefused one that it does not take.
	DropDeviceDown
	DropDeviceFull
	DropDeviceRefused

	// DropKnownFull is a message of a known IKE SA, or news from the datapath, that found the mailbox full;
	// DropBegunFull one of a peer that was answered and is not authenticated yet, DropUnknownFull one of a stranger.
	DropKnownFull
	DropBegunFull
	DropUnknownFull

	dropEnd // one more than the last reason
)

var dropNames = [dropEnd]string{
	DropNotIP: "out-not-ip", DropNoPolicy: "out-no-policy", DropShunt: "out-drop-policy", DropPass: "out-pass-policy", DropNoSA: "out-no-sa", DropSpent: "out-spent",
	DropTooBig: "out-too-big", DropSuper: "out-superpacket", DropFragment: "out-fragment", DropHeader: "out-header", DropSendTooBig: "send-too-big",
	DropSendUnreachable: "send-unreachable", DropSendNoBuffers: "send-no-buffers", DropSendDenied: "send-denied",
	DropSendOther: "send-failed",
	DropJunk:      "in-junk", DropReceive: "in-receive", DropUnknownSPI: "in-unknown-spi",
	DropESPShort: "esp-short", DropESPExpired: "esp-expired", DropESPReplay: "esp-replay", DropESPOld: "esp-old",
	DropESPIntegrity: "esp-integrity", DropESPPadding: "esp-padding", DropESPNextHeader: "esp-next-header",
	DropESPInner: "esp-inner", DropESPDummy: "esp-dummy", DropInnerMalformed: "in-malformed",
	DropSelectors: "in-selectors", DropCongestion: "in-congestion", DropDeviceDown: "device-down",
	DropDeviceFull: "device-full", DropDeviceRefused: "device-refused",
	DropKnownFull: "mailbox-known-full", DropBegunFull: "mailbox-begun-full", DropUnknownFull: "mailbox-unknown-full",
}

// String is the reason in lower case, with hyphens, fit to label a counter.
func (d Drop) String() string {
	if d < dropEnd {
		return dropNames[d]
	}
	return fmt.Sprintf("drop-%d", uint8(d))
}

// dropOfESP translates the reasons of package esp. ErrSPI cannot occur: an SA is only asked about its own packets.
var dropOfESP = [...]Drop{
	esp.ErrShort: DropESPShort, esp.ErrSPI: DropUnknownSPI, esp.ErrExpired: DropESPExpired, esp.ErrReplay: DropESPReplay,
	esp.ErrOld: DropESPOld, esp.ErrIntegrity: DropESPIntegrity, esp.ErrPadding: DropESPPadding,
	esp.ErrNextHeader: DropESPNextHeader, esp.ErrInner: DropESPInner, esp.ErrDummy: DropESPDummy,
}

// counters are written by any goroutine and read by any.
type counters struct {
	drops [dropEnd]atomic.Uint64
	// keepalives and junk need no key, so they tell nothing of a peer.
	keepalivesIn, keepalivesOut atomic.Uint64
	ikeIn                       atomic.Uint64 // IKE messages that arrived, whatever became of them
	// ecnUnused counts pairs of congestion marks that no sender makes (RFC 6040 4.2).
	ecnUnused atomic.Uint64
	// handling is how long the control loop takes for an input, waiting how long inputs wait for it.
	handling, waiting latency
}

func (c *counters) drop(d Drop)         { c.drops[d].Add(1) }
func (c *counters) dropN(d Drop, n int) { c.drops[d].Add(uint64(n)) }

// byReason are the drops so far; reasons that never occurred are left out.
func (c *counters) byReason() map[string]uint64 {
	m := make(map[string]uint64)
	for d := range c.drops {
		if n := c.drops[d].Load(); n != 0 {
			m[Drop(d).String()] = n
		}
	}
	return m
}
