package suite

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

// WithoutKE is the proposal without its key exchange transforms, as the first Child SA offers it: IKE_AUTH carries no KE
// payload (RFC 7296 1.2). p is not changed.
func (p Proposal) WithoutKE() Proposal {
	q := Proposal{Protocol: p.Protocol}
	for _, tr := range p.Transforms {
		if tr.Type != TypeKE {
			q.Transforms = append(q.Transforms, tr)
		}
	}
	return q
}
