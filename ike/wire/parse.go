package wire

import (
	"net/netip"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// Parse reads the message b up to the Encrypted or Encrypted Fragment payload if there is one. The payloads
// borrow from b. The error is a *SyntaxError or an *UnknownCritical; ParseHeader still works after the latter.
//
// Nothing here is authenticated, neither the message nor the error: an error in a message with an SK or SKF
// payload is no reason to change state or to answer, because anybody can put payloads in front of it.
func Parse(b []byte) (*Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	r := newReader(b, 0)
	r.skip(HeaderLen)
	m := &Message{Header: h}
	if err := m.readChain(h.Next, &r); err != nil {
		return nil, err
	}
	return m, nil
}

// ParsePayloads reads the chain of payloads b, whose first has the type first: the inside of an SK payload
// without padding. The payloads borrow from b. The error is a *SyntaxError or an *UnknownCritical.
func ParsePayloads(first PayloadType, b []byte) ([]Payload, error) {
	return parseInner(first, b, 0)
}

// parseInner is ParsePayloads with errors counted from off.
func parseInner(first PayloadType, b []byte, off int) ([]Payload, error) {
	r := newReader(b, off)
	var inside Message
	if err := inside.readChain(first, &r); err != nil {
		return nil, err
	}
	if e := inside.Encrypted; e != nil { // RFC 7296 3.1
		return nil, &SyntaxError{TypeSK, e.Offset, "inside another Encrypted payload"}
	}
	if f := inside.Fragment; f != nil {
		return nil, &SyntaxError{TypeSKF, f.Offset, "inside another Encrypted payload"}
	}
	return inside.Payloads, nil
}

// readChain reads payloads up to the Encrypted or Encrypted Fragment payload or a Next Payload field of zero,
// where the message must end (RFC 7296 3.2).
func (m *Message) readChain(first PayloadType, r *reader) error {
	next := first
	for next != TypeNone {
		kind := next
		r.fault.payload = kind
		if len(m.Payloads) == MaxPayloads {
			r.fail("too many payloads")
		}
		var critical bool
		var body reader
		next, critical, body = readPayloadHeader(r)
		if kind == TypeSK || kind == TypeSKF {
			r.end("bytes after the Encrypted payload") // RFC 7296 3.14, RFC 7383 2.5: it is the last
			m.readEncrypted(kind, next, &body)
			return r.err()
		}
		p := readPayload(kind, &body)
		body.end("longer than its content")
		if r.failed() {
			return r.err()
		}
		if u, ok := p.(*Unknown); ok && critical {
			return &UnknownCritical{Type: u.Kind}
		}
		m.Payloads = append(m.Payloads, p)
	}
	r.fault.payload = TypeNone
	r.end("bytes after the last payload")
	return r.err()
}

// readEncrypted reads the body of an SK or SKF payload.
func (m *Message) readEncrypted(kind, next PayloadType, r *reader) {
	var number, total uint16
	if kind == TypeSKF {
		number, total = r.u16(), r.u16()
		if number == 0 || number > total { // RFC 7383 2.6
			r.fail("fragment number not from 1 to the number of fragments")
		}
	}
	e := Encrypted{Next: next, Offset: r.off}
	e.Body = r.rest()
	if kind == TypeSKF {
		m.Fragment = &Fragment{Encrypted: e, Number: number, Total: total}
		return
	}
	m.Encrypted = &e
}

// readPayloadHeader reads the generic payload header (RFC 7296 3.2) and returns the body behind it.
func readPayloadHeader(r *reader) (next PayloadType, critical bool, body reader) {
	next = PayloadType(r.u8())
	critical = r.u8()&0x80 != 0
	length := int(r.u16())
	if length < payloadHeaderLen {
		r.fail("payload length shorter than the payload header")
	}
	return next, critical, r.sub(length - payloadHeaderLen)
}

// readPayload reads one body. The critical bit of known payloads is ignored (RFC 7296 2.5).
func readPayload(kind PayloadType, r *reader) Payload {
	switch kind {
	case TypeSA:
		return &SA{Proposals: readProposals(r)}
	case TypeKE:
		return readKE(r)
	case TypeIDi, TypeIDr:
		return readID(r, kind == TypeIDr)
	case TypeCERT:
		return &Cert{Body: readOpaque(r, 1)}
	case TypeCERTREQ:
		return &CertReq{Body: readOpaque(r, 1)}
	case TypeAUTH:
		method := AuthMethod(r.u8())
		r.skip(3)
		return &Auth{Method: method, Data: r.rest()}
	case TypeNONCE:
		return readNonce(r)
	case TypeNOTIFY:
		return readNotify(r)
	case TypeDELETE:
		return readDelete(r)
	case TypeVENDOR:
		return &Vendor{Data: r.rest()}
	case TypeTSi, TypeTSr:
		return &TS{Responder: kind == TypeTSr, Selectors: readSelectors(r)}
	case TypeCP:
		return readConfiguration(r)
	case TypeEAP:
		return &EAP{Body: readOpaque(r, 4)}
	}
	return &Unknown{Kind: kind, Body: r.rest()}
}

// readOpaque returns a body of at least min bytes: the fixed fields of its format.
func readOpaque(r *reader, min int) []byte {
	if r.left() < min {
		r.fail("cut short")
	}
	return r.rest()
}

func readKE(r *reader) *KE {
	group := r.u16()
	r.skip(2)
	if r.left() == 0 {
		r.fail("no key exchange data")
	}
	return &KE{Group: group, Data: r.rest()}
}

// readID keeps the body of an identity that cannot be used with a zero ID, because the peer is then answered
// AUTHENTICATION_FAILED and not INVALID_SYNTAX. An identity may have no data at all (ID_NULL, RFC 7619 2.2).
func readID(r *reader, responder bool) *ID {
	p := &ID{Responder: responder, Raw: readOpaque(r, 4)}
	if id, err := ident.ParseWire(p.Raw); err == nil {
		p.ID = id
	}
	return p
}

func readNonce(r *reader) *Nonce {
	if n := r.left(); n < MinNonce || n > MaxNonce {
		r.fail("nonce not of 16 to 256 bytes") // RFC 7296 3.9
	}
	return &Nonce{Data: r.rest()}
}

func readNotify(r *reader) *Notify {
	protocol, size := suite.Protocol(r.u8()), int(r.u8())
	n := &Notify{Kind: NotifyType(r.u16())}
	if size != 0 { // else the Protocol ID is ignored (RFC 7296 3.10)
		n.Protocol = protocol
		if want, ok := childSPISize(protocol); ok && size != want {
			r.fail("SPI size does not fit the protocol")
		}
		n.SPI = r.take(size)
	}
	n.Data = r.rest()
	return n
}

// childSPISize is the length of the SPI of a Child SA's protocol.
func childSPISize(p suite.Protocol) (n int, ok bool) {
	return 4, p == suite.AH || p == suite.ESP
}

func readDelete(r *reader) *Delete {
	d := &Delete{Protocol: suite.Protocol(r.u8())}
	size, count := int(r.u8()), int(r.u16())
	want, child := childSPISize(d.Protocol)
	switch {
	case d.Protocol == suite.IKE:
		if size != 0 || count != 0 { // RFC 7296 3.11: the SPI is in the message header
			r.fail("SPIs in the deletion of an IKE SA")
		}
		return d
	case !child:
		r.fail("unknown protocol")
	case size != want:
		r.fail("SPI size does not fit the protocol")
	case size*count != r.left():
		r.fail("number of SPIs differs from the payload length")
	}
	if count > 0 && !r.failed() {
		d.SPIs = make([][]byte, count)
		for i := range d.SPIs {
			d.SPIs[i] = r.take(size)
		}
	}
	return d
}

// TS Types (RFC 7296 3.13.1).
const (
	tsIPv4AddrRange = 7
	tsIPv6AddrRange = 8
)

// Selector Lengths: type, protocol, length, two ports, two addresses.
const (
	tsHeaderLen = 4
	tsIPv4Len   = 16
	tsIPv6Len   = 40
)

func readSelectors(r *reader) []ts.Selector {
	count := int(r.u8())
	r.skip(3)
	var selectors []ts.Selector
	for ; count > 0 && !r.failed(); count-- {
		if s, ok := readSelector(r); ok {
			selectors = append(selectors, s)
		}
	}
	return selectors
}

// readSelector reads one selector; ok is false for an unknown TS Type, which is passed over.
func readSelector(r *reader) (s ts.Selector, ok bool) {
	kind, protocol, length := r.u8(), r.u8(), int(r.u16())
	if length < tsHeaderLen {
		r.fail("selector length shorter than its header")
	}
	body := r.sub(length - tsHeaderLen)
	switch {
	case kind != tsIPv4AddrRange && kind != tsIPv6AddrRange:
		return s, false
	case kind == tsIPv4AddrRange && length != tsIPv4Len, kind == tsIPv6AddrRange && length != tsIPv6Len:
		r.fail("selector length does not fit its type")
	}
	s = ts.Selector{Protocol: protocol, StartPort: body.u16(), EndPort: body.u16()}
	n := body.left() / 2
	s.Start, _ = netip.AddrFromSlice(body.take(n))
	s.End, _ = netip.AddrFromSlice(body.take(n))
	if !r.failed() && s.Valid() != nil {
		r.fail("selector is not a range")
	}
	return s, !r.failed()
}
