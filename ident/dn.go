package ident

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// attributes are the distinguished name attributes that have a name in text; the first name of an OID is printed.
// The names are those of strongSwan, so SN is the surname. It is never changed.
var attributes = []struct {
	name string
	oid  asn1.ObjectIdentifier
}{
	{"C", asn1.ObjectIdentifier{2, 5, 4, 6}},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}},
	{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}},
	{"SN", asn1.ObjectIdentifier{2, 5, 4, 4}},
	{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}},
	{"street", asn1.ObjectIdentifier{2, 5, 4, 9}},
	{"T", asn1.ObjectIdentifier{2, 5, 4, 12}},
	{"D", asn1.ObjectIdentifier{2, 5, 4, 13}},
	{"postalCode", asn1.ObjectIdentifier{2, 5, 4, 17}},
	{"N", asn1.ObjectIdentifier{2, 5, 4, 41}},
	{"G", asn1.ObjectIdentifier{2, 5, 4, 42}},
	{"I", asn1.ObjectIdentifier{2, 5, 4, 43}},
	{"dnQualifier", asn1.ObjectIdentifier{2, 5, 4, 46}},
	{"pseudonym", asn1.ObjectIdentifier{2, 5, 4, 65}},
	{"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}},
	{"DC", domainComponent},
	{"E", emailAddress},
	{"email", emailAddress},
	{"emailAddress", emailAddress},
}

var (
	domainComponent = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	emailAddress    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// encodeDN makes the DER encoding of a name such as `C=CH, O="Example, Inc.", CN=gw` or `/C=CH/CN=gw`: one
// attribute per relative distinguished name, in the order written.
func encodeDN(text string) ([]byte, error) {
	parts, err := splitDN(text)
	if err != nil {
		return nil, err
	}
	var name pkix.RDNSequence
	for _, part := range parts {
		key, value, ok := strings.Cut(part, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		switch {
		case !ok:
			return nil, fmt.Errorf("%q has no =", part)
		case value == "":
			return nil, fmt.Errorf("%s has no value", key)
		case value == "*":
			return nil, errors.New("wildcards in distinguished names are not supported")
		}
		attribute, err := newAttribute(key, value)
		if err != nil {
			return nil, err
		}
		name = append(name, pkix.RelativeDistinguishedNameSET{attribute})
	}
	return asn1.Marshal(name)
}

// splitDN cuts a name at its commas, or at its slashes if it begins with one; a quoted value is not cut.
func splitDN(text string) ([]string, error) {
	sep := byte(',')
	if rest, ok := strings.CutPrefix(text, "/"); ok {
		sep, text = '/', rest
	}
	var parts []string
	quoted, from := false, 0
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == sep && !quoted:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	if quoted {
		return nil, errors.New("a quote is not closed")
	}
	return append(parts, text[from:]), nil
}

// newAttribute chooses the string type: IA5String for the two attributes defined with it (RFC 5280 appendix A.1),
// otherwise PrintableString or, for what that cannot hold, UTF8String, as encoding/asn1 does for a Go string.
func newAttribute(key, value string) (pkix.AttributeTypeAndValue, error) {
	for _, a := range attributes {
		if !strings.EqualFold(a.name, key) {
			continue
		}
		if (a.oid.Equal(domainComponent) || a.oid.Equal(emailAddress)) && isASCII(value) {
			ia5 := asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)}
			return pkix.AttributeTypeAndValue{Type: a.oid, Value: ia5}, nil
		}
		return pkix.AttributeTypeAndValue{Type: a.oid, Value: value}, nil
	}
	return pkix.AttributeTypeAndValue{}, fmt.Errorf("unknown attribute %q", key)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// decodeDN is the text of a DER encoded name. ok is false if there is something in it that this text form cannot
// say. Different encodings of a name may have the same text.
func decodeDN(der []byte) (text string, ok bool) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 || len(name) == 0 {
		return "", false
	}
	var parts []string
	for _, rdn := range name {
		if len(rdn) != 1 {
			return "", false
		}
		key, known := attributeName(rdn[0].Type)
		value, isString := rdn[0].Value.(string)
		if !known || !isString || strings.Contains(value, `"`) {
			return "", false
		}
		if strings.Contains(value, ",") || strings.TrimSpace(value) != value {
			value = `"` + value + `"`
		}
		parts = append(parts, key+"="+value)
	}
	return strings.Join(parts, ", "), true
}

func attributeName(oid asn1.ObjectIdentifier) (string, bool) {
	for _, a := range attributes {
		if a.oid.Equal(oid) {
			return a.name, true
		}
	}
	return "", false
}
