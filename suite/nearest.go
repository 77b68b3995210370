package suite

import "slices"

// Nearest finds the offer and the proposal of ours that come closest to one another, where Choose has found none, and the types in
// which they have no transform in common, most of them first in the order of a chosen proposal. ok is false if one of the lists is
// empty.
func Nearest(offered, ours []Proposal) (offer, our Proposal, lacking []Type, ok bool) {
	best := -1
	for _, u := range ours {
		for _, o := range offered {
			if o.Protocol != u.Protocol {
				continue
			}
			miss := missing(o, u)
			if best < 0 || len(miss) < best {
				offer, our, lacking, best = o, u, miss, len(miss)
			}
		}
	}
	return offer, our, lacking, best >= 0
}

// missing are the types in which an offer and one of ours have nothing in common.
func missing(offer, our Proposal) (lacking []Type) {
	encr, both := common(offer, our, TypeENCR)
	for _, t := range typesOf(offer.Protocol) {
		ok := true
		switch t {
		case TypeENCR:
			ok = both
		case TypeINTEG:
			// An AEAD beside a cipher that needs a MAC is one difference, not two.
			if both {
				_, ok = matchIntegrity(offer, our, encr)
			} else if len(offer.All(t)) > 0 && len(our.All(t)) > 0 {
				_, ok = common(offer, our, t)
			}
		case TypeKE:
			_, ok = matchKE(offer, our, KE_NONE)
		case TypeESN:
			_, ok = matchESN(offer, our)
		default:
			_, ok = common(offer, our, t)
		}
		if !ok {
			lacking = append(lacking, t)
		}
	}
	for _, tr := range offer.Transforms {
		if !slices.Contains(typesOf(offer.Protocol), tr.Type) && !slices.Contains(lacking, tr.Type) {
			lacking = append(lacking, tr.Type)
		}
	}
	return lacking
}

// Toward is the proposal, with one transform of each type, that meets one that is wanted and has as much as possible of another: what
// to configure instead of that other one. ok is false if what is wanted cannot be met with what is implemented.
func Toward(wanted, has Proposal) (p Proposal, ok bool) {
	p.Protocol = wanted.Protocol
	aead := false
	for _, t := range typesOf(wanted.Protocol) {
		all := slices.DeleteFunc(wanted.All(t), func(tr Transform) bool { return !Supported(tr) || none(tr) || !tr.fits(wanted.Protocol) })
		if len(all) == 0 || t == TypeINTEG && aead {
			continue // whether it may be left out shows below
		}
		tr := all[0]
		if i := slices.IndexFunc(all, func(tr Transform) bool { return slices.Contains(has.Transforms, tr) }); i >= 0 {
			tr = all[i]
		}
		aead = aead || t == TypeENCR && tr.aead()
		p.Transforms = append(p.Transforms, tr)
	}
	_, ok = match(wanted, p, KE_NONE)
	return p, ok
}
