package suite

import "slices"

// Choose picks the suite a responder answers with (RFC 7296 3.3, 3.3.6). Our order decides: the first of ours that meets any
// offer, then the first offer it meets, then the first transform of each type. Among the key exchange methods of that pair
// preferKE, the group of the KE payload at hand, is taken if both allow it; 0 prefers none.
//
// index is the place in offered. chosen has exactly one transform of each type the offer contains. So if an offer lists the
// value NONE for integrity or key exchange, chosen says NONE where another chosen proposal has no such transform; Group
// tells both alike. An offer with a transform type we do not know, or without one that its protocol needs, is never
// chosen, and neither are transforms we do not implement or AES without its Key Length attribute.
func Choose(offered, ours []Proposal, preferKE uint16) (index int, chosen Proposal, ok bool) {
	for _, our := range ours {
		for i, offer := range offered {
			if chosen, ok := match(offer, our, preferKE); ok {
				return i, chosen, true
			}
		}
	}
	return 0, Proposal{}, false
}

// typesOf are the transform types of a protocol (RFC 7296 3.3.3), in the order chosen proposals list them.
func typesOf(p Protocol) []Type {
	switch p {
	case IKE:
		return []Type{TypeENCR, TypePRF, TypeINTEG, TypeKE}
	case ESP:
		return []Type{TypeENCR, TypeINTEG, TypeKE, TypeESN}
	}
	return nil
}

// acceptable reports whether each type of an offer is known and belongs to its protocol (RFC 7296 3.3.6).
func acceptable(offer Proposal) bool {
	types := typesOf(offer.Protocol)
	for _, t := range offer.Transforms {
		if !slices.Contains(types, t.Type) {
			return false
		}
	}
	return len(types) != 0
}

// match makes the suite one offer and one of our proposals have in common.
func match(offer, our Proposal, preferKE uint16) (Proposal, bool) {
	if offer.Protocol != our.Protocol || !acceptable(offer) {
		return Proposal{}, false
	}
	chosen := Proposal{Protocol: offer.Protocol}
	encr, ok := common(offer, our, TypeENCR)
	if !ok {
		return Proposal{}, false
	}
	for _, t := range typesOf(offer.Protocol) {
		var tr Transform
		var ok bool
		switch t {
		case TypeENCR:
			tr, ok = encr, true
		case TypeINTEG:
			tr, ok = matchIntegrity(offer, our, encr)
		case TypeKE:
			tr, ok = matchKE(offer, our, preferKE)
		case TypeESN:
			tr, ok = matchESN(offer, our)
		default:
			tr, ok = common(offer, our, t)
		}
		if !ok {
			return Proposal{}, false
		}
		// NONE is written only as the answer to an offer that writes it.
		if !none(tr) || slices.Contains(offer.Transforms, tr) {
			chosen.Transforms = append(chosen.Transforms, tr)
		}
	}
	return chosen, true
}

// fits reports whether a transform may be used for a protocol that has its type. AES-GMAC does not encrypt, which messages of
// IKE must be (RFC 4543 5.1, RFC 7296 3.14).
func (t Transform) fits(p Protocol) bool {
	return p != IKE || t.Type != TypeENCR || t.ID != ENCR_NULL_AUTH_AES_GMAC
}

// none reports whether the transform says that its type is not used. NO_ESN is a value like any other.
func none(t Transform) bool {
	return t == Transform{Type: TypeINTEG, ID: AUTH_NONE} || t == Transform{Type: TypeKE, ID: KE_NONE}
}

// common is our first transform of a type that is offered and implemented, NONE aside. Transforms are equal only with their
// Key Length attributes, so one that lacks it or has one too many is equal to none that is supported.
func common(offer, our Proposal, t Type) (Transform, bool) {
	for _, tr := range our.Transforms {
		if tr.Type == t && !none(tr) && Supported(tr) && tr.fits(our.Protocol) && slices.Contains(offer.Transforms, tr) {
			return tr, true
		}
	}
	return Transform{}, false
}

// matchIntegrity: an AEAD goes with no integrity algorithm, be it NONE or not listed; any other cipher needs one.
func matchIntegrity(offer, our Proposal, encr Transform) (Transform, bool) {
	nothing := Transform{Type: TypeINTEG, ID: AUTH_NONE}
	if encr.aead() {
		return nothing, may(offer, nothing) && may(our, nothing)
	}
	return common(offer, our, TypeINTEG)
}

// matchKE: IKE always exchanges keys, ESP also without, which NONE and no transform at all both say.
func matchKE(offer, our Proposal, prefer uint16) (Transform, bool) {
	nothing := Transform{Type: TypeKE, ID: KE_NONE}
	wanted := Transform{Type: TypeKE, ID: prefer}
	if prefer != KE_NONE && Supported(wanted) &&
		slices.Contains(offer.Transforms, wanted) && slices.Contains(our.Transforms, wanted) {
		return wanted, true
	}
	groups := our.All(TypeKE)
	if len(groups) == 0 {
		groups = []Transform{nothing}
	}
	for _, tr := range groups {
		if tr == nothing {
			if offer.Protocol != IKE && may(offer, nothing) {
				return nothing, true
			}
		} else if Supported(tr) && slices.Contains(offer.Transforms, tr) {
			return tr, true
		}
	}
	return Transform{}, false
}

// matchESN: the type is mandatory in an offer (RFC 7296 3.3.3); a configuration without it means NO_ESN.
func matchESN(offer, our Proposal) (Transform, bool) {
	if _, ok := our.Get(TypeESN); ok {
		return common(offer, our, TypeESN)
	}
	no := Transform{Type: TypeESN, ID: NO_ESN}
	return no, slices.Contains(offer.Transforms, no)
}

// may reports whether a proposal allows that a type is not used: it lists NONE, or nothing of the type.
func may(p Proposal, nothing Transform) bool {
	_, listed := p.Get(nothing.Type)
	return !listed || slices.Contains(p.Transforms, nothing)
}

// Accepts is the initiator's check of an answer (RFC 7296 2.7, 3.3.6): chosen has exactly one transform of each type that one
// of the offered proposals contains, and each is among those offered. Where NONE was offered, no transform of the type is
// as good, and the other way round. A chosen suite Culvert cannot use is not accepted, even if it was offered.
func Accepts(offered []Proposal, chosen Proposal) bool {
	return slices.ContainsFunc(offered, func(offer Proposal) bool { return accepts(offer, chosen) })
}

func accepts(offer, chosen Proposal) bool {
	for i, tr := range chosen.Transforms {
		if slices.ContainsFunc(chosen.Transforms[:i], func(o Transform) bool { return o.Type == tr.Type }) {
			return false
		}
	}
	// A suite with one transform per type that meets the offer meets it entirely, because every type must be matched.
	_, ok := match(chosen, offer, KE_NONE)
	return ok
}
