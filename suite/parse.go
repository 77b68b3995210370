package suite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeywordError is a word of a proposal that Culvert does not take.
type KeywordError struct {
	Word    string
	Known   bool   // the word names an algorithm, which Culvert does not implement; Is(err, ErrUnsupported) is true
	Why     string // of a known word: the reason not to implement it, or ""
	Nearest string // of an unknown word: an implemented one that is much like it, or ""
}

func (e *KeywordError) Error() string {
	switch {
	case e.Why != "":
		return fmt.Sprintf("Culvert does not implement the algorithm %q: %s", e.Word, e.Why)
	case e.Known:
		return fmt.Sprintf("Culvert does not implement the algorithm %q", e.Word)
	case e.Nearest != "":
		return fmt.Sprintf("unknown algorithm %q; did you mean %q?", e.Word, e.Nearest)
	}
	return fmt.Sprintf("unknown algorithm %q", e.Word)
}

// Unwrap tells a known algorithm from a misspelt one to errors.Is.
func (e *KeywordError) Unwrap() error {
	if e.Known {
		return ErrUnsupported
	}
	return nil
}

// maxProposalText is far above the text that names every algorithm once, and bounds what a search for near words costs.
const maxProposalText = 2048

// ParseProposal reads one proposal in the language of swanctl.conf, keywords joined by dashes: "aes256gcm16-prfsha256-x25519".
// The order of the words of one type is the order of preference; repeated words count once. The result lists the types in
// the order of their numbers and satisfies what its protocol needs, with the rules of strongSwan:
//
//   - an IKE proposal without a PRF gets those of its integrity algorithms;
//   - integrity algorithms beside AEAD ciphers are then dropped, as are words that mean nothing to the protocol;
//   - an ESP proposal that says neither "esn" nor "noesn" means "noesn".
//
// Each bad word is a *KeywordError; several are joined. The keyword "default" stands for several proposals and is not read
// here, see Default.
func ParseProposal(proto Protocol, text string) (Proposal, error) {
	if proto != IKE && proto != ESP {
		return Proposal{}, fmt.Errorf("no proposals for %s, which Culvert does not implement: %w", proto, ErrUnsupported)
	}
	if len(text) > maxProposalText {
		return Proposal{}, fmt.Errorf("a proposal of %d bytes; the limit is %d", len(text), maxProposalText)
	}
	transforms, err := parseWords(text)
	if err != nil {
		return Proposal{}, err
	}
	p := Proposal{Protocol: proto, Transforms: transforms}
	if err := p.complete(); err != nil {
		return Proposal{}, err
	}
	return p, nil
}

func parseWords(text string) ([]Transform, error) {
	var transforms []Transform
	var errs []error
	known := keywords()
	for word := range strings.SplitSeq(text, "-") {
		word = strings.Trim(word, " \t")
		i := slices.IndexFunc(known, func(k keyword) bool { return k.word == word })
		switch {
		case word == "":
			errs = append(errs, errors.New("an empty word in the proposal"))
		case i >= 0 && Supported(known[i].Transform):
			if !slices.Contains(transforms, known[i].Transform) {
				transforms = append(transforms, known[i].Transform)
			}
		case i >= 0:
			errs = append(errs, &KeywordError{Word: word, Known: true, Why: refusals[known[i].Transform]})
		case elsewhere(word):
			errs = append(errs, &KeywordError{Word: word, Known: true})
		default:
			errs = append(errs, &KeywordError{Word: word, Nearest: nearest(word)})
		}
	}
	return transforms, errors.Join(errs...)
}

// complete turns the words of a proposal into a proposal its protocol can use, or says what is missing or too much.
func (p *Proposal) complete() error {
	encr := p.All(TypeENCR)
	if len(encr) == 0 {
		return fmt.Errorf("a proposal for %s needs an encryption algorithm, for example %q", p.Protocol, "aes256gcm16")
	}
	plain := slices.ContainsFunc(encr, func(t Transform) bool { return !t.aead() })
	if plain && slices.ContainsFunc(encr, Transform.aead) {
		return p.mixed()
	}
	if _, ok := p.Get(TypeINTEG); plain && !ok {
		return fmt.Errorf("%q needs an integrity algorithm beside it, for example %q", wordOf(encr[0]), wordOf(encr[0])+"-sha256")
	}
	if p.Protocol == IKE {
		if err := p.completeIKE(); err != nil {
			return err
		}
	} else {
		p.drop(func(t Transform) bool { return t.Type == TypePRF })
		if _, ok := p.Get(TypeESN); !ok {
			p.Transforms = append(p.Transforms, Transform{Type: TypeESN, ID: NO_ESN})
		}
	}
	if !plain {
		p.drop(func(t Transform) bool { return t.Type == TypeINTEG }) // RFC 5282 8, RFC 7634 4
	}
	slices.SortStableFunc(p.Transforms, func(a, b Transform) int { return int(a.Type) - int(b.Type) })
	return nil
}

func (p *Proposal) completeIKE() error {
	if i := slices.IndexFunc(p.Transforms, func(t Transform) bool { return !t.fits(IKE) }); i >= 0 {
		return fmt.Errorf("%q does not encrypt and is for ESP only; IKE must be encrypted (RFC 4543 5.1)", wordOf(p.Transforms[i]))
	}
	p.drop(func(t Transform) bool { return t.Type == TypeESN || t.Type == TypeKE && t.ID == KE_NONE })
	if _, ok := p.Get(TypePRF); !ok {
		for _, t := range p.All(TypeINTEG) {
			p.Transforms = append(p.Transforms, Transform{Type: TypePRF, ID: prfOf(t.ID)})
		}
	}
	if _, ok := p.Get(TypePRF); !ok {
		return fmt.Errorf("an IKE proposal of AEAD ciphers needs a pseudorandom function, for example %q", "prfsha256")
	}
	if _, ok := p.Get(TypeKE); !ok {
		return fmt.Errorf("an IKE proposal needs a key exchange method, for example %q", "x25519")
	}
	return nil
}

func (p *Proposal) drop(unwanted func(Transform) bool) {
	p.Transforms = slices.DeleteFunc(p.Transforms, unwanted)
}

// prfOf is the pseudorandom function of the same family as an integrity algorithm.
func prfOf(integ uint16) uint16 {
	switch integ {
	case AUTH_AES_XCBC_96:
		return PRF_AES128_XCBC
	case AUTH_AES_CMAC_96:
		return PRF_AES128_CMAC
	case AUTH_HMAC_SHA2_256_128:
		return PRF_HMAC_SHA2_256
	case AUTH_HMAC_SHA2_384_192:
		return PRF_HMAC_SHA2_384
	case AUTH_HMAC_SHA2_512_256:
		return PRF_HMAC_SHA2_512
	}
	return PRF_HMAC_SHA1
}

// mixed is the error for AEAD and other ciphers in one proposal, which RFC 7296 3.3 forbids, with the two proposals that
// say what was meant.
func (p *Proposal) mixed() error {
	var aead, plain []string
	for _, t := range p.Transforms {
		w := wordOf(t)
		switch {
		case t.aead():
			aead = append(aead, w)
		case t.Type == TypeENCR:
			plain = append(plain, w)
		case t.Type == TypeINTEG && p.Protocol == ESP:
			plain = append(plain, w)
		default: // integrity stays in the AEAD proposal of IKE too: it names the pseudorandom function
			aead, plain = append(aead, w), append(plain, w)
		}
	}
	return fmt.Errorf("AEAD and other ciphers cannot be in one proposal; write two: %s, %s",
		strings.Join(aead, "-"), strings.Join(plain, "-"))
}
