package ike

import (
	"slices"

	"github.com/culvert-vpn/culvert/explain"
)

// An IKE SA may be set up without a Child SA in IKE_AUTH, if the responder has announced in IKE_SA_INIT that it takes that (RFC 6023).
// Its children are negotiated as further ones always are: the keeper sees that they are missing.

// announcesChildless reports whether a responder takes IKE_AUTH without a child. Which connection it is for shows in IKE_AUTH, when a
// peer that was told so must not be refused for it (RFC 6023 3): so each that it may be for must take it.
func announcesChildless(conns []*Connection) bool {
	return !slices.ContainsFunc(conns, func(c *Connection) bool { return c.Childless == ChildlessNever })
}

// inAuth is the child for IKE_AUTH of a connection that calls for one; nil is none, which only a peer that has announced it takes (RFC
// 6023 3). ok is false if the two ends cannot agree.
func (c *Connection) inAuth(child *Child, announced bool) (inAuth *Child, ok bool) {
	switch {
	case announced && (c.Childless == ChildlessPrefer || c.Childless == ChildlessForce):
		return nil, true
	case announced:
		return child, true
	}
	return child, child != nil && c.Childless != ChildlessForce
}

// refusesShape says why a responder refuses an IKE_AUTH request for having a child, or for not having one; nil if it does not.
// announced: the peer was told that it may do without.
func (c *Connection) refusesShape(request *content, announced bool) *explain.Diagnosis {
	switch {
	case request.isChildless() && !announced:
		return c.childlessDiffers("the peer wants an IKE SA without a child, which was not announced to it: one of the connections for its address has childless = never", "none", "allow", "never")
	case !request.isChildless() && c.Childless == ChildlessForce:
		return c.childlessDiffers("the peer wants a child in IKE_AUTH, and childless = force", "a child", "allow", "prefer")
	}
	return nil
}

// childlessDiffers tells of two ends that do not agree on whether IKE_AUTH has a child, and which value of the key on one of the sides
// would help.
func (c *Connection) childlessDiffers(text, sent, here, peer string) *explain.Diagnosis {
	fix := func(side explain.Side, value string) explain.Fix {
		set := explain.Set("childless", value)
		return explain.Fix{Side: side, Text: "set " + set, Lines: explain.Lines([]string{set}, "connections", c.Name)}
	}
	return &explain.Diagnosis{
		Cause: explain.ChildlessDiffers, Text: text,
		Compared: []explain.Compared{{What: "a child in IKE_AUTH", Sent: sent, Configured: "childless = " + c.Childless.word()}},
		Fixes:    []explain.Fix{fix(explain.Here, here), fix(explain.Peer, peer)},
	}
}

// isChildless reports whether IKE_AUTH says nothing about a child (RFC 6023 5).
func (c *content) isChildless() bool { return c.sa == nil && c.tsi == nil && c.tsr == nil }
