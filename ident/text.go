package ident

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Parse reads the text of one identity:
//
//	@name  fqdn:name  dns:name          ID_FQDN; also any text that fits nothing below
//	user@host  @@text  rfc822:text      ID_RFC822_ADDR; also email: and userfqdn:
//	203.0.113.1  ipv4:203.0.113.1       ID_IPV4_ADDR
//	2001:db8::1  ipv6:2001:db8::1       ID_IPV6_ADDR
//	@#68656c6c6f  keyid:hello           ID_KEY_ID; also any other text with a colon
//	C=CH, O=x, CN=y  asn1dn:CN=y        ID_DER_ASN1_DN
//	asn1gn:#8203666f6f                  ID_DER_ASN1_GN
//	{2}:name                            the type by its number
//
// After a prefix, '#' introduces the data in hex: fqdn:#666f6f. Text that ParsePattern reads as more than one
// identity ("%any", wildcards, address ranges) is an error.
//
// The language is strongSwan's, less its silent guesses: text that was clearly meant to be an address, a
// distinguished name or a keyword but is not a valid one is refused, and so is text with control or invisible
// characters. A prefix always says how to write what was refused, if it was meant.
func Parse(text string) (ID, error) {
	p, err := ParsePattern(text)
	if err != nil {
		return ID{}, err
	}
	id, ok := p.ID()
	if !ok {
		return ID{}, fmt.Errorf("%q stands for more than one identity; one is needed here", text)
	}
	return id, nil
}

// ParsePattern reads what a configuration says of an identity: all that Parse reads, and
//
//	%any  *  0.0.0.0  ::  (empty)       anyone
//	*.example.com                       every ID_FQDN below example.com, at any depth
//	*@example.com                       every ID_RFC822_ADDR at example.com
//	10.0.0.0/8  10.0.0.1-10.0.0.9       addresses, IPv4 or IPv6; also after ipv4net: ipv4range: ipv6net: ipv6range:
func ParsePattern(text string) (Pattern, error) {
	switch text {
	case "", "*", "%any", "%any6", "0.0.0.0", "::":
		return Pattern{}, nil
	}
	if !printable(text) {
		return Pattern{}, fmt.Errorf("%q contains a control or invisible character; if it is meant, write the bytes in hex, as in fqdn:#666f6f", text)
	}
	if prefix, value, ok := strings.Cut(text, ":"); ok {
		if kind, ok := kindOf(prefix); ok {
			return parseAs(kind, value)
		}
	}
	switch {
	case strings.Contains(text, "="):
		return parseText(DN, text)
	case strings.HasPrefix(text, "@#"):
		return parseHex(KeyID, text[2:])
	case strings.HasPrefix(text, "@@"):
		return parseText(RFC822, text[2:])
	case text[0] == '@':
		return parseText(FQDN, text[1:])
	case strings.Contains(text, "@"):
		return parseText(RFC822, text)
	case text[0] == '%':
		return Pattern{}, fmt.Errorf("unknown keyword %q; write @%s if it is a name", text, text)
	}
	if p, ok, err := parseAddrs(text); ok || err != nil {
		return p, err
	}
	if strings.Contains(text, ":") {
		return parseText(KeyID, text)
	}
	return parseText(FQDN, text)
}

// kindOf reads the prefix of an explicit form: a name, or a number in braces.
func kindOf(prefix string) (Kind, bool) {
	switch strings.ToLower(prefix) {
	case "ipv4", "ipv4net", "ipv4range":
		return IPv4, true
	case "ipv6", "ipv6net", "ipv6range":
		return IPv6, true
	case "fqdn", "dns":
		return FQDN, true
	case "rfc822", "email", "userfqdn":
		return RFC822, true
	case "asn1dn":
		return DN, true
	case "asn1gn":
		return GN, true
	case "keyid":
		return KeyID, true
	}
	if len(prefix) > 2 && prefix[0] == '{' && prefix[len(prefix)-1] == '}' {
		n, err := strconv.ParseUint(prefix[1:len(prefix)-1], 10, 8)
		return Kind(n), err == nil
	}
	return 0, false
}

// parseAs reads the value of an explicit form.
func parseAs(kind Kind, value string) (Pattern, error) {
	if strings.HasPrefix(value, "#") {
		return parseHex(kind, value[1:])
	}
	return parseText(kind, value)
}

// parseHex reads identification data in hex, with or without colons between the bytes. It is always literal.
func parseHex(kind Kind, digits string) (Pattern, error) {
	data, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if err != nil {
		return Pattern{}, fmt.Errorf("%q is not an even number of hex digits", digits)
	}
	return literalOf(kind, data)
}

// parseText reads a value of known kind.
func parseText(kind Kind, value string) (Pattern, error) {
	switch kind {
	case IPv4, IPv6:
		p, ok, err := parseAddrs(value)
		if err == nil && (!ok || p.addrKind() != kind) {
			err = fmt.Errorf("%q is not the address, prefix or range of an %v", value, kind)
		}
		if err != nil {
			return Pattern{}, err
		}
		return p, nil
	case DN:
		der, err := encodeDN(value)
		if err != nil {
			return Pattern{}, fmt.Errorf("%q is not a distinguished name (%w); write keyid:, fqdn: or rfc822: in front if it is something else", value, err)
		}
		return literalOf(DN, der)
	case GN:
		return Pattern{}, errors.New("a general name is written as its DER encoding in hex, as in asn1gn:#8203666f6f")
	case FQDN, RFC822:
		if strings.HasPrefix(value, "^") && strings.HasSuffix(value, "$") {
			return Pattern{}, fmt.Errorf("%q looks like a regular expression; only wildcards such as *.example.com are supported", value)
		}
		if strings.Contains(value, "*") {
			return parseWildcard(kind, value)
		}
	}
	return literalOf(kind, []byte(value))
}

func literalOf(kind Kind, data []byte) (Pattern, error) {
	id, err := New(kind, data)
	return Literal(id), err
}

// parseWildcard reads "*.suffix" for names and "*@suffix" for mail addresses.
func parseWildcard(kind Kind, value string) (Pattern, error) {
	lead := "*."
	if kind == RFC822 {
		lead = "*@"
	}
	suffix, ok := strings.CutPrefix(value, lead)
	if !ok || suffix == "" || strings.Contains(suffix, "*") {
		return Pattern{}, fmt.Errorf("the wildcard of %q must be a leading %q and the only one", value, lead)
	}
	id, err := New(kind, []byte(value[1:]))
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{form: wildcard, id: id}, nil
}

// parseAddrs reads an address, a prefix or a range. ok is false if text is none of them; err tells that it was
// clearly meant to be one, so that a typing error does not quietly become a name.
func parseAddrs(text string) (p Pattern, ok bool, err error) {
	bad := func(why string) (Pattern, bool, error) {
		return Pattern{}, false, fmt.Errorf("%q %s; write @%s if it is a name", text, why, text)
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return bad("has a zone, which an identity cannot carry")
		}
		return Literal(literalAddr(a)), true, nil
	}
	if host, _, ok := strings.Cut(text, "/"); ok && isAddr(host) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return bad("is not a valid prefix")
		}
		return fromPrefix(prefix.Masked()), true, nil
	}
	if from, to, ok := strings.Cut(text, "-"); ok && isAddr(from) && isAddr(to) {
		start, end := netip.MustParseAddr(from), netip.MustParseAddr(to)
		if start.Is4() != end.Is4() || end.Less(start) || start.Zone() != "" || end.Zone() != "" {
			return bad("is not a range of addresses from low to high")
		}
		return fromRange(start, end), true, nil
	}
	if strings.Count(text, ".") >= 3 && strings.Trim(text, "0123456789./-") == "" {
		return bad("is not a valid IPv4 address, prefix or range")
	}
	return Pattern{}, false, nil
}

func isAddr(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// String is the text form that Parse reads back to the same bytes: the pleasant form where it does that, hex where
// it does not. It holds nothing but printable characters, whatever a peer sent, so it is fit for logs and terminals.
// The zero ID is "%any".
func (id ID) String() string {
	if id.IsZero() {
		return "%any"
	}
	prefix := id.prefix()
	for _, text := range id.pleasant(prefix) {
		if p, err := ParsePattern(text); err == nil && p == Literal(id) {
			return text
		}
	}
	if id.kind == KeyID {
		prefix = "@"
	}
	return prefix + "#" + hex.EncodeToString([]byte(id.data))
}

// prefix is what makes the kind explicit.
func (id ID) prefix() string {
	switch id.kind {
	case IPv4:
		return "ipv4:"
	case IPv6:
		return "ipv6:"
	case FQDN:
		return "fqdn:"
	case RFC822:
		return "rfc822:"
	case DN:
		return "asn1dn:"
	case GN:
		return "asn1gn:"
	}
	return "keyid:"
}

// pleasant are forms worth trying, best first.
func (id ID) pleasant(prefix string) []string {
	text, ok := id.text()
	if !ok {
		return nil
	}
	switch id.kind {
	case FQDN:
		return []string{"@" + text, prefix + text}
	case RFC822:
		return []string{text, "@@" + text, prefix + text}
	case KeyID:
		return []string{prefix + text}
	}
	return []string{text, prefix + text}
}

// text is the data as people know it, without its kind. ok is false if it has no text. It may hold any character.
func (id ID) text() (text string, ok bool) {
	switch id.kind {
	case IPv4, IPv6:
		addr, _ := id.Addr()
		return addr.String(), true
	case DN:
		return decodeDN([]byte(id.data))
	case GN:
		return "", false
	}
	return id.data, true
}

// MarshalText is String, for JSON and the like.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// printable reports text without surprises: no control, invisible, direction-changing or undecodable characters
// and no space but the ASCII one.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
