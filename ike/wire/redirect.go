package wire

import (
	"net/netip"
	"strings"
)

// Gateway is whom a REDIRECT or a REDIRECTED_FROM is about (RFC 5685 9.2, 9.3): an address, or else a DNS name.
type Gateway struct {
	Addr netip.Addr
	// Name consists of letters, digits, hyphens, underscores and dots, at most 253 bytes, and is no literal address.
	Name string
}

// gatewayType is the GW Ident Type (RFC 5685 12).
type gatewayType uint8

const (
	gatewayIPv4 gatewayType = 1
	gatewayIPv6 gatewayType = 2
	gatewayFQDN gatewayType = 3
)

// maxName and maxLabel bound DNS names (RFC 1035 2.3.4), written without the dot at the end.
const (
	maxName  = 253
	maxLabel = 63
)

// String is the address or the name.
func (g Gateway) String() string {
	if g.Name != "" {
		return g.Name
	}
	return g.Addr.String()
}

// AppendGateway appends the data of a REDIRECT without a nonce, or of a REDIRECTED_FROM. g must have an address without a zone, or a
// name that ParseRedirect would take.
func AppendGateway(b []byte, g Gateway) []byte {
	kind, value := gatewayFQDN, []byte(g.Name)
	if g.Name == "" {
		kind, value = gatewayIPv6, g.Addr.AsSlice()
		if g.Addr.Is4() {
			kind = gatewayIPv4
		}
	}
	b = append(b, byte(kind), byte(len(value)))
	return append(b, value...)
}

// ParseRedirect reads the data of a REDIRECT (RFC 5685 9.2). nonce is what follows the gateway, borrowed; it is nil if nothing
// does. ok is false if the data is malformed, of an unknown type, or names no host.
func ParseRedirect(data []byte) (g Gateway, nonce []byte, ok bool) {
	r := newReader(data, 0)
	kind := gatewayType(r.u8())
	value := r.take(int(r.u8()))
	nonce = r.rest()
	if r.failed() || len(nonce) > MaxNonce {
		return Gateway{}, nil, false
	}
	switch {
	case kind == gatewayIPv4 && len(value) == 4, kind == gatewayIPv6 && len(value) == 16:
		g.Addr, _ = netip.AddrFromSlice(value)
		g.Addr = g.Addr.Unmap()
	case kind == gatewayFQDN && isHostname(string(value)):
		g.Name = strings.TrimSuffix(string(value), ".")
	default:
		return Gateway{}, nil, false
	}
	return g, nonce, true
}

// isHostname reports whether a peer's text can be asked the DNS for, and be printed. What looks like an address is none: it would
// be taken for one that its sender calls by another type.
func isHostname(text string) bool {
	text = strings.TrimSuffix(text, ".")
	if len(text) > maxName {
		return false
	}
	var last string
	for _, label := range strings.Split(text, ".") {
		if len(label) == 0 || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != "" // 127.1 is an address to some resolvers
}
