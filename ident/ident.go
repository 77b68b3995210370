// Package ident is the identity an IKE peer claims (RFC 7296 3.5): its kind and bytes, the text by which people
// write it, the patterns a configuration matches it with, and what may have gone wrong when none matches.
package ident

import (
	"fmt"
	"net/netip"
	"strings"
)

// Kind is the ID Type of an Identification payload (RFC 7296 3.5).
type Kind uint8

const (
	IPv4   Kind = 1
	FQDN   Kind = 2
	RFC822 Kind = 3
	IPv6   Kind = 5
	DN     Kind = 9
	GN     Kind = 10
	KeyID  Kind = 11
)

// String is the registry name, "ID_FQDN"; a kind this package cannot carry is "ID_" and its number.
func (k Kind) String() string {
	switch k {
	case IPv4:
		return "ID_IPV4_ADDR"
	case FQDN:
		return "ID_FQDN"
	case RFC822:
		return "ID_RFC822_ADDR"
	case IPv6:
		return "ID_IPV6_ADDR"
	case DN:
		return "ID_DER_ASN1_DN"
	case GN:
		return "ID_DER_ASN1_GN"
	case KeyID:
		return "ID_KEY_ID"
	}
	return fmt.Sprintf("ID_%d", uint8(k))
}

// MaxLen is the longest identification data accepted, in bytes. It bounds what a stranger can make us compare,
// print and keep; names, and distinguished names too, are far shorter.
const MaxLen = 1024

// ID is one identity. It is a comparable value: == and map keys compare the exact bytes, Equal compares as IKE
// does. The zero ID is no identity; it prints as "%any".
type ID struct {
	kind Kind
	data string
}

// New makes an ID from identification data as it is on the wire. It copies data. It refuses unknown kinds, empty
// data, addresses of a wrong length and data longer than MaxLen. It does not judge what a name looks like
// (RFC 7296 3.5 asks to accept any reasonable one), so names may hold any byte; String hides the dangerous ones.
func New(kind Kind, data []byte) (ID, error) {
	want := 0
	switch kind {
	case IPv4:
		want = 4
	case IPv6:
		want = 16
	case FQDN, RFC822, DN, GN, KeyID:
	default:
		return ID{}, fmt.Errorf("identity type %v is not supported", kind)
	}
	switch {
	case len(data) == 0:
		return ID{}, fmt.Errorf("%v without data", kind)
	case want != 0 && len(data) != want:
		return ID{}, fmt.Errorf("%v of %d bytes instead of %d", kind, len(data), want)
	case len(data) > MaxLen:
		return ID{}, fmt.Errorf("%v of %d bytes is longer than %d", kind, len(data), MaxLen)
	}
	return ID{kind, string(data)}, nil
}

// FromAddr is the identity of an address: ID_IPV4_ADDR (an IPv4-mapped IPv6 address is taken for the IPv4 address
// it stands for) or ID_IPV6_ADDR, whose zone is dropped. An invalid address gives the zero ID.
func FromAddr(a netip.Addr) ID {
	if !a.IsValid() {
		return ID{}
	}
	return literalAddr(a.Unmap())
}

// literalAddr is FromAddr for an address that is to keep its family.
func literalAddr(a netip.Addr) ID {
	kind := IPv6
	if a.Is4() {
		kind = IPv4
	}
	return ID{kind, string(a.AsSlice())}
}

// ParseWire reads the body of an Identification payload, after its generic header: type, 3 reserved bytes, data.
// The reserved bytes MUST be ignored on receipt (RFC 7296 3.5). It copies what it keeps.
func ParseWire(body []byte) (ID, error) {
	if len(body) < 4 {
		return ID{}, fmt.Errorf("identification payload of %d bytes is too short", len(body))
	}
	return New(Kind(body[0]), body[4:])
}

// AppendWire appends the body of an Identification payload; ParseWire reads it back. The zero ID has no wire form:
// its body is one no receiver accepts.
func (id ID) AppendWire(b []byte) []byte {
	b = append(b, byte(id.kind), 0, 0, 0)
	return append(b, id.data...)
}

// Kind is the ID Type; 0 for the zero ID.
func (id ID) Kind() Kind { return id.kind }

// Data is a copy of the identification data.
func (id ID) Data() []byte { return []byte(id.data) }

// IsZero reports that there is no identity.
func (id ID) IsZero() bool { return id == ID{} }

// Addr is the address of an ID_IPV4_ADDR or ID_IPV6_ADDR.
func (id ID) Addr() (addr netip.Addr, ok bool) {
	switch id.kind {
	case IPv4:
		return netip.AddrFrom4([4]byte([]byte(id.data))), true
	case IPv6:
		return netip.AddrFrom16([16]byte([]byte(id.data))), true
	}
	return netip.Addr{}, false
}

// Equal reports whether two identities are the same to IKE: the same kind and the same bytes, where names compare
// without regard to ASCII case (RFC 4945 3.1.2 and 3.1.3). Nothing else is folded, and no byte ends a name early.
func (id ID) Equal(o ID) bool {
	if id.kind != o.kind {
		return false
	}
	if id.foldsCase() {
		return equalFold(id.data, o.data)
	}
	return id.data == o.data
}

// Canonical is the same for identities that are Equal, and so fit to be a map key.
func (id ID) Canonical() ID {
	if id.foldsCase() {
		b := []byte(id.data)
		for i := range b {
			b[i] = lower(b[i])
		}
		id.data = string(b)
	}
	return id
}

func (id ID) foldsCase() bool { return id.kind == FQDN || id.kind == RFC822 }

// equalFold is strings.EqualFold for ASCII letters only: the Kelvin sign is no k in a host name.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// hasSuffixFold is strings.HasSuffix with equalFold's idea of equal.
func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && equalFold(s[len(s)-len(suffix):], suffix)
}

// hasControl reports a byte that RFC 7296 3.5 calls a terminator: NUL, CR and their like.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
