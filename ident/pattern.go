package ident

import (
	"fmt"
	"math/bits"
	"net/netip"
)

// Pattern is what a configuration says of an identity: a literal, a wildcard, a range of addresses or anyone.
// It is a comparable value; the zero Pattern matches anyone.
type Pattern struct {
	form       form
	id         ID         // literal: the identity; wildcard: its kind and what follows the asterisk, ".example.com"
	start, end netip.Addr // addresses: both inclusive, of one family
}

type form uint8

const (
	anyone form = iota
	literal
	wildcard
	addresses
)

// Specificity says how closely a pattern describes an identity it matches; more is closer. From low to high:
//
//	NoMatch       it does not match
//	%any          anyone
//	addresses     the fewer addresses in the prefix or range, the higher
//	wildcards     the longer the text after the asterisk, the higher
//	Exact         the literal identity
//
// Addresses and wildcards never match the same identity, so their order among each other means nothing.
type Specificity int

const (
	NoMatch Specificity = 0
	Exact   Specificity = 1 << 16

	anyoneMatch Specificity = 1
	partMatch   Specificity = 2 // and more, up to MaxLen+2
)

// Literal is the pattern that matches one identity; of the zero ID, the pattern that matches anyone.
func Literal(id ID) Pattern {
	if id.IsZero() {
		return Pattern{}
	}
	return Pattern{form: literal, id: id}
}

func fromPrefix(p netip.Prefix) Pattern {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return fromRange(p.Addr(), end)
}

// fromRange makes one address a literal, so that equal meaning is equal value.
func fromRange(start, end netip.Addr) Pattern {
	if start == end {
		return Literal(literalAddr(start))
	}
	return Pattern{form: addresses, start: start, end: end}
}

// Match tells whether and how closely p describes id. %any matches the zero ID too; no other pattern does. A
// wildcard matches no name with a control character in it, which only an attacker sends.
func (p Pattern) Match(id ID) Specificity {
	switch p.form {
	case anyone:
		return anyoneMatch
	case literal:
		if p.id.Equal(id) {
			return Exact
		}
	case wildcard:
		if id.kind == p.id.kind && len(id.data) > len(p.id.data) && hasSuffixFold(id.data, p.id.data) && !hasControl(id.data) {
			return partMatch + Specificity(len(p.id.data))
		}
	case addresses:
		if addr, ok := id.Addr(); ok && p.contains(addr) {
			return partMatch + Specificity(p.start.BitLen()-p.sizeBits())
		}
	}
	return NoMatch
}

func (p Pattern) contains(addr netip.Addr) bool {
	return addr.Is4() == p.start.Is4() && !addr.Less(p.start) && !p.end.Less(addr)
}

// sizeBits is the number of bits needed to count through the range: 8 for a /24.
func (p Pattern) sizeBits() int {
	a, b := p.start.As16(), p.end.As16()
	lo, borrow := bits.Sub64(be64(b[8:]), be64(a[8:]), 0)
	hi, _ := bits.Sub64(be64(b[:8]), be64(a[:8]), borrow)
	if hi != 0 {
		return 64 + bits.Len64(hi)
	}
	return bits.Len64(lo)
}

func be64(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// addrKind is the kind of identity an address pattern or literal is about.
func (p Pattern) addrKind() Kind {
	if p.form == addresses {
		return literalAddr(p.start).kind
	}
	return p.id.kind
}

// ID is the identity of a literal pattern.
func (p Pattern) ID() (id ID, ok bool) {
	if p.form != literal {
		return ID{}, false
	}
	return p.id, true
}

// IsAny reports the pattern that matches anyone.
func (p Pattern) IsAny() bool { return p.form == anyone }

// String is the text form that ParsePattern reads back to an equal Pattern. It holds only printable characters.
func (p Pattern) String() string {
	switch p.form {
	case literal:
		return p.id.String()
	case wildcard:
		if text := "*" + p.id.data; parsesTo(text, p) {
			return text
		}
		return p.id.prefix() + "*" + p.id.data
	case addresses:
		size := p.sizeBits()
		if prefix := netip.PrefixFrom(p.start, p.start.BitLen()-size); parsesTo(prefix.String(), p) {
			return prefix.String()
		}
		return fmt.Sprintf("%v-%v", p.start, p.end)
	}
	return "%any"
}

func parsesTo(text string, want Pattern) bool {
	p, err := ParsePattern(text)
	return err == nil && p == want
}

// MarshalText is String, for JSON and the like.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// base is a wildcard's text without the asterisk and what joins it: "example.com".
func (p Pattern) base() string { return p.id.data[1:] }
