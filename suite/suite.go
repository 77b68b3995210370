// Package suite holds the algorithms of IKEv2 and ESP: their IANA numbers and names, proposals and how one is chosen, and
// the pseudorandom functions, ciphers and key exchanges themselves.
//
// The package decides only: it does no I/O, and randomness comes from the reader its callers pass in.
package suite

import (
	"errors"
	"fmt"
)

// Type is a Transform Type (RFC 7296 3.3.2).
type Type uint8

// The Transform Types Culvert negotiates. A proposal that carries another is never chosen.
const (
	TypeENCR  Type = 1 // encryption
	TypePRF   Type = 2 // pseudorandom function, IKE only
	TypeINTEG Type = 3 // integrity
	TypeKE    Type = 4 // key exchange method ("Diffie-Hellman group" in RFC 7296)
	TypeESN   Type = 5 // extended sequence numbers, ESP and AH only
)

// Additional key exchanges (RFC 9370) have the types 6 to 12. Culvert has none; they are named so that offers can be printed.
const (
	typeADDKE1 Type = 6
	typeADDKE7 Type = 12
)

// String is the short name in the registry, "ENCR", or "TYPE99" for an unknown one.
func (t Type) String() string {
	switch t {
	case TypeENCR:
		return "ENCR"
	case TypePRF:
		return "PRF"
	case TypeINTEG:
		return "INTEG"
	case TypeKE:
		return "KE"
	case TypeESN:
		return "ESN"
	}
	if t >= typeADDKE1 && t <= typeADDKE7 {
		return fmt.Sprintf("ADDKE%d", t-typeADDKE1+1)
	}
	return fmt.Sprintf("TYPE%d", uint8(t))
}

// Protocol is a Protocol ID (RFC 7296 3.3.1).
type Protocol uint8

// The protocols a proposal can be for. AH is named so that an offer of it can be printed and refused.
const (
	IKE Protocol = 1
	AH  Protocol = 2
	ESP Protocol = 3
)

// String is "IKE", "AH", "ESP", or "Protocol 99".
func (p Protocol) String() string {
	switch p {
	case IKE:
		return "IKE"
	case AH:
		return "AH"
	case ESP:
		return "ESP"
	}
	return fmt.Sprintf("Protocol %d", uint8(p))
}

// Transform is one algorithm as IKEv2 names it: comparable, so that equal transforms are ==.
type Transform struct {
	Type    Type
	ID      uint16
	KeyBits uint16 // the Key Length attribute in bits; 0: the transform has no such attribute (RFC 7296 3.3.5)
}

// Errors of ciphers and key exchanges. They say nothing of the bytes that caused them.
var (
	// ErrIntegrity: the integrity check value does not match, or the ciphertext is not a whole number of blocks.
	ErrIntegrity = errors.New("suite: integrity check failed")
	// ErrShort: there are fewer bytes than the clear header, IV and integrity check value need.
	ErrShort = errors.New("suite: packet too short")
	// ErrPublic: the peer's public value has the wrong length or is not a permitted element of the group (RFC 6989 2).
	ErrPublic = errors.New("suite: invalid public key exchange value")
	// ErrUnsupported: the transform is not one Culvert implements.
	ErrUnsupported = errors.New("suite: algorithm not implemented")
)
