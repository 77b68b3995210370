package suite

import (
	"slices"
	"strings"
)

// Proposal is one proposal of an SA payload: the transforms offered for one protocol. Inside a type the order is the
// order of preference. The SPI and the number on the wire are not part of it.
type Proposal struct {
	Protocol   Protocol
	Transforms []Transform
}

// Get returns the first transform of a type, the preferred one.
func (p Proposal) Get(t Type) (Transform, bool) {
	for _, tr := range p.Transforms {
		if tr.Type == t {
			return tr, true
		}
	}
	return Transform{}, false
}

// All returns the transforms of a type in order of preference, in a slice of its own.
func (p Proposal) All(t Type) []Transform {
	var all []Transform
	for _, tr := range p.Transforms {
		if tr.Type == t {
			all = append(all, tr)
		}
	}
	return all
}

// Group is the ID of the preferred key exchange method, KE_NONE if there is none: the two ways to say "no key exchange", no
// transform and the transform NONE, come out the same.
func (p Proposal) Group() uint16 {
	t, _ := p.Get(TypeKE)
	return t.ID
}

// WithoutKE is the proposal without its key exchange transforms, as the first Child SA offers it: IKE_AUTH carries no KE
// payload, and NONE is better left out than written (RFC 7296 1.2). p is not changed.
func (p Proposal) WithoutKE() Proposal {
	q := Proposal{Protocol: p.Protocol}
	for _, tr := range p.Transforms {
		if tr.Type != TypeKE {
			q.Transforms = append(q.Transforms, tr)
		}
	}
	return q
}

// String writes the proposal in the language of swanctl.conf, "aes256gcm16-prfsha256-x25519". ParseProposal reads a
// proposal it made back to an equal one. Left out is what goes without saying: NO_ESN alone, and AUTH_NONE. Transforms
// that have no keyword, as the offer of a peer may contain, are written by their registry names.
func (p Proposal) String() string {
	var words []string
	for _, t := range []Type{TypeENCR, TypeINTEG, TypePRF, TypeKE, TypeESN} {
		all := p.All(t)
		if t == TypeESN && len(all) == 1 && all[0].ID == NO_ESN {
			continue
		}
		for _, tr := range all {
			if t != TypeINTEG || tr.ID != AUTH_NONE {
				words = append(words, wordOf(tr))
			}
		}
	}
	for _, tr := range p.Transforms {
		if tr.Type < TypeENCR || tr.Type > TypeESN {
			words = append(words, wordOf(tr))
		}
	}
	return strings.Join(words, "-")
}

// Default is what the keyword "default" stands for: a proposal of AEAD ciphers and one of CBC and HMAC, each strong first.
//
// SHA-1 is not among them, nor are MODP 6144 and 8192, whose cost a stranger could make a responder pay; a configuration can
// name them. ESP prefers perfect forward secrecy and accepts its absence, so that rekeying works with peers of either
// habit: the key exchange method NONE comes last (RFC 7296 3.3.2). ESP offers 32-bit sequence numbers only: that is what
// every peer expects by default, and 2^32 packets outlast the default lifetime of a Child SA at the speed of a user-space
// datapath. A configuration says "esn-noesn" where more is wanted.
func Default(proto Protocol) []Proposal {
	const groups = "x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048"
	var texts []string
	switch proto {
	case IKE:
		texts = []string{
			"aes256gcm16-aes128gcm16-chacha20poly1305-prfsha512-prfsha384-prfsha256-" + groups,
			"aes256-aes192-aes128-sha512-sha384-sha256-prfsha512-prfsha384-prfsha256-" + groups,
		}
	case ESP:
		texts = []string{
			"aes256gcm16-aes128gcm16-chacha20poly1305-" + groups + "-none",
			"aes256-aes192-aes128-sha512-sha384-sha256-" + groups + "-none",
		}
	}
	var all []Proposal
	for _, text := range texts {
		if p, err := ParseProposal(proto, text); err == nil {
			all = append(all, p)
		}
	}
	return slices.Clip(all)
}
