package wire

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/suite"
)

// Values of Last Substruc when another structure of the kind follows (RFC 7296 3.3.1, 3.3.2); 0 when none.
const (
	moreProposals  = 2
	moreTransforms = 3
)

// The Key Length attribute is the only one defined. The high bit of the type says that the value follows
// in two bytes (RFC 7296 3.3.5).
const (
	attributeTV  = 0x8000
	keyLengthTV  = attributeTV | 14
	transformLen = 8 // without attributes
	proposalLen  = 8 // without SPI and transforms
)

// readProposals reads the body of an SA payload.
func readProposals(r *reader) []Proposal {
	var proposals []Proposal
	for more := true; more && !r.failed(); {
		if len(proposals) == MaxProposals {
			r.fail("too many proposals")
		}
		var p Proposal
		p, more = readProposal(r)
		// RFC 7296 3.3.1: each is one more than the previous. A lone proposal is an answer as well, with
		// the number of the offer.
		if n := len(proposals); n > 0 && p.Number != proposals[n-1].Number+1 || p.Number == 0 {
			r.fail("proposal number out of order")
		}
		proposals = append(proposals, p)
	}
	return proposals
}

// readProposal reads one proposal; more tells whether another follows, which must agree with the payload.
func readProposal(r *reader) (p Proposal, more bool) {
	more, body := readSubstructure(r, moreProposals)
	p.Number = body.u8()
	p.Protocol = suite.Protocol(body.u8())
	size, count := int(body.u8()), int(body.u8())
	child, ok := childSPISize(p.Protocol)
	switch {
	case ok && size != child, p.Protocol == suite.IKE && size != 0 && size != 8:
		body.fail("SPI size does not fit the protocol")
	case count == 0:
		body.fail("proposal without transforms")
	case count > MaxTransforms:
		body.fail("too many transforms")
	}
	p.SPI = body.take(size)
	if count*transformLen > body.left() {
		body.fail("number of transforms differs from the proposal")
	}
	if body.failed() {
		return p, false
	}
	p.Transforms = make([]suite.Transform, 0, count)
	for moreT := true; moreT && !body.failed(); {
		var t suite.Transform
		t, moreT = readTransform(&body)
		p.Transforms = append(p.Transforms, t)
	}
	if len(p.Transforms) != count {
		body.fail("number of transforms differs from the proposal")
	}
	return p, more
}

// readSubstructure reads the first four bytes of a proposal or transform and returns the rest of it.
func readSubstructure(r *reader, marker uint8) (more bool, body reader) {
	last := r.u8()
	r.skip(1)
	length := int(r.u16())
	if length < 4 {
		r.fail("length of a proposal or transform shorter than its header")
	}
	body = r.sub(length - 4)
	switch {
	case r.failed():
	case last == marker && r.left() == 0:
		r.fail("announced proposal or transform is missing")
	case last == 0 && r.left() != 0:
		r.fail("bytes after the last proposal or transform")
	case last != 0 && last != marker:
		r.fail("bad mark of the last proposal or transform")
	}
	return last == marker && !r.failed(), body
}

func readTransform(r *reader) (t suite.Transform, more bool) {
	more, body := readSubstructure(r, moreTransforms)
	t.Type = suite.Type(body.u8())
	body.skip(1)
	t.ID = body.u16()
	understood := true
	for body.left() > 0 {
		kind, value := body.u16(), body.u16()
		if kind&attributeTV == 0 {
			body.skip(int(value)) // TLV: the value was the length
		}
		// A second Key Length is not allowed (RFC 7296 3.3), nor is one of zero bits an absent one.
		understood = understood && kind == keyLengthTV && value != 0 && t.KeyBits == 0
		t.KeyBits = value
	}
	if !understood {
		t.ID, t.KeyBits = UnusableTransform, 0
	}
	return t, more
}

func (p *SA) append(b []byte) []byte {
	for i, q := range p.Proposals {
		b = q.append(b, i == len(p.Proposals)-1)
	}
	return b
}

func (p *Proposal) append(b []byte, last bool) []byte {
	start := len(b)
	b = append(b, marker(last, moreProposals), 0, 0, 0)
	b = append(b, p.Number, byte(p.Protocol), length8(len(p.SPI)), length8(len(p.Transforms)))
	b = append(b, p.SPI...)
	for i, t := range p.Transforms {
		b = appendTransform(b, t, i == len(p.Transforms)-1)
	}
	putLength(b[start:])
	return b
}

func appendTransform(b []byte, t suite.Transform, last bool) []byte {
	start := len(b)
	b = append(b, marker(last, moreTransforms), 0, 0, 0, byte(t.Type), 0)
	b = binary.BigEndian.AppendUint16(b, t.ID)
	if t.KeyBits != 0 {
		b = binary.BigEndian.AppendUint16(b, keyLengthTV)
		b = binary.BigEndian.AppendUint16(b, t.KeyBits)
	}
	putLength(b[start:])
	return b
}

func marker(last bool, more uint8) uint8 {
	if last {
		return 0
	}
	return more
}
