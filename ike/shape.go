package ike

import (
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// content is the payloads of a message, each in its place. What IKE knows but these exchanges have no use for is left
// out.
type content struct {
	sa       *wire.SA
	ke       *wire.KE
	nonce    *wire.Nonce
	idi, idr *wire.ID
	auth     *wire.Auth
	tsi, tsr *wire.TS
	cp       *wire.CP
	notifies []*wire.Notify
	deletes  []*wire.Delete
	// culvert: the peer says that it is one of us.
	culvert bool
}

// vendorID tells another Culvert in which form we force UDP encapsulation, so that it knows for certain whether we are behind a
// NAT (RFC 7296 3.12).
const vendorID = "Culvert"

// collect puts payloads in their places. A payload that can stand once must not stand twice.
func collect(payloads []wire.Payload) (*content, error) {
	c := &content{}
	for _, p := range payloads {
		twice := false
		switch p := p.(type) {
		case *wire.SA:
			twice, c.sa = c.sa != nil, p
		case *wire.KE:
			twice, c.ke = c.ke != nil, p
		case *wire.Nonce:
			twice, c.nonce = c.nonce != nil, p
		case *wire.ID:
			place := &c.idi
			if p.Responder {
				place = &c.idr
			}
			twice, *place = *place != nil, p
		case *wire.Auth:
			twice, c.auth = c.auth != nil, p
		case *wire.TS:
			place := &c.tsi
			if p.Responder {
				place = &c.tsr
			}
			twice, *place = *place != nil, p
		case *wire.CP:
			twice, c.cp = c.cp != nil, p
		case *wire.Notify:
			c.notifies = append(c.notifies, p)
		case *wire.Delete:
			c.deletes = append(c.deletes, p)
		case *wire.Vendor:
			c.culvert = c.culvert || string(p.Data) == vendorID
		}
		if twice {
			return nil, &wire.SyntaxError{Payload: p.Type(), Reason: "stands twice"}
		}
	}
	return c, nil
}

// isAuthentic reports whether an error of opening a message is about what the peer really sent.
func isAuthentic(err error) bool {
	var syntax *wire.SyntaxError
	var critical *wire.UnknownCritical
	return errors.As(err, &syntax) || errors.As(err, &critical)
}

// complaint is the error notify for a request that cannot be read (RFC 7296 2.5, 2.21.3).
func complaint(err error) *wire.Notify {
	var critical *wire.UnknownCritical
	if errors.As(err, &critical) {
		return &wire.Notify{Kind: wire.UNSUPPORTED_CRITICAL_PAYLOAD, Data: []byte{byte(critical.Type)}}
	}
	return &wire.Notify{Kind: wire.INVALID_SYNTAX}
}

// shape is what a message must carry to be acted upon.
type shape struct {
	name string
	must []wire.PayloadType
}

// The shapes of RFC 7296 1.2 and 1.3, for messages that are not errors.
var (
	shapeInit         = shape{"IKE_SA_INIT", []wire.PayloadType{wire.TypeSA, wire.TypeKE, wire.TypeNONCE}}
	shapeAuthRequest  = shape{"IKE_AUTH request", []wire.PayloadType{wire.TypeIDi, wire.TypeAUTH}}
	shapeAuthResponse = shape{"IKE_AUTH response", []wire.PayloadType{wire.TypeIDr, wire.TypeAUTH}}
	shapeChildAuth    = shape{"child in IKE_AUTH", []wire.PayloadType{wire.TypeSA, wire.TypeTSi, wire.TypeTSr}}
	shapeChild        = shape{"CREATE_CHILD_SA of a child", []wire.PayloadType{wire.TypeSA, wire.TypeNONCE, wire.TypeTSi, wire.TypeTSr}}
	shapeRekeyIKE     = shape{"CREATE_CHILD_SA of an IKE SA", []wire.PayloadType{wire.TypeSA, wire.TypeNONCE, wire.TypeKE}}
)

// check reports what is missing.
func (s shape) check(c *content) error {
	for _, t := range s.must {
		if !c.has(t) {
			return fmt.Errorf("%s without %v", s.name, t)
		}
	}
	return nil
}

func (c *content) has(t wire.PayloadType) bool {
	switch t {
	case wire.TypeSA:
		return c.sa != nil
	case wire.TypeKE:
		return c.ke != nil
	case wire.TypeNONCE:
		return c.nonce != nil
	case wire.TypeIDi:
		return c.idi != nil
	case wire.TypeIDr:
		return c.idr != nil
	case wire.TypeAUTH:
		return c.auth != nil
	case wire.TypeTSi:
		return c.tsi != nil
	case wire.TypeTSr:
		return c.tsr != nil
	}
	return false
}

// notify is the first notify of a kind, or nil.
func (c *content) notify(kind wire.NotifyType) *wire.Notify {
	for _, n := range c.notifies {
		if n.Kind == kind {
			return n
		}
	}
	return nil
}

// deletesIKE reports whether the message closes the IKE SA.
func (c *content) deletesIKE() bool {
	return slices.ContainsFunc(c.deletes, func(d *wire.Delete) bool { return d.Protocol == suite.IKE })
}

// refusal is the first error notify, or nil.
func (c *content) refusal() *wire.Notify {
	for _, n := range c.notifies {
		if n.Kind.IsError() {
			return n
		}
	}
	return nil
}

// offers are the proposals of an SA payload for a protocol, with the numbers that the
// peer gave them, which start at 1 (RFC 7296 3.3.1).
func (c *content) offers(protocol suite.Protocol, spiLen int) (list []suite.Proposal, from []wire.Proposal) {
	if c.sa.Proposals[0].Number != 1 {
		return nil, nil
	}
	for _, p := range c.sa.Proposals {
		if p.Protocol == protocol && len(p.SPI) == spiLen {
			list = append(list, p.Proposal)
			from = append(from, p)
		}
	}
	return list, from
}

// chosen is the one proposal of an answer, if it is one of ours: its number, and transforms of that number only (RFC
// 7296 3.3, 3.3.6).
func (c *content) chosen(ours []suite.Proposal, protocol suite.Protocol, spiLen int) (wire.Proposal, bool) {
	if len(c.sa.Proposals) != 1 {
		return wire.Proposal{}, false
	}
	p := c.sa.Proposals[0]
	n := int(p.Number)
	if n < 1 || n > len(ours) || p.Protocol != protocol || len(p.SPI) != spiLen {
		return wire.Proposal{}, false
	}
	return p, suite.Accepts(ours[n-1:n], p.Proposal)
}

// number gives proposals the numbers 1, 2, 3 ... and an SPI (RFC 7296 3.3.1).
func number(proposals []suite.Proposal, spi []byte) *wire.SA {
	sa := &wire.SA{}
	for i, p := range proposals {
		sa.Proposals = append(sa.Proposals, wire.Proposal{Number: uint8(i + 1), SPI: spi, Proposal: p})
	}
	return sa
}

func notifyOf(kind wire.NotifyType) []wire.Payload {
	return []wire.Payload{&wire.Notify{Kind: kind}}
}
