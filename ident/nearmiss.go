package ident

import (
	"fmt"
	"net/netip"
	"strings"
)

// NearMiss tells in one sentence why got does not match want although it nearly does, or what commonly makes a
// peer present got instead; ok is false if they match or have nothing to do with each other. The hint contains only
// printable characters. It is for the operator of this side: tell it to no peer.
func NearMiss(want Pattern, got ID) (hint string, ok bool) {
	why, ok := Why(want, got)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%v was presented where %v is configured: %s", got, want, why), true
}

// Why is the second half of NearMiss: the reason in a clause, for those who have named the two already.
func Why(want Pattern, got ID) (why string, ok bool) {
	if got.IsZero() || want.Match(got) != NoMatch {
		return "", false
	}
	switch want.form {
	case literal:
		why = missLiteral(want.id, got)
	case wildcard:
		why = missWildcard(want, got)
	case addresses:
		why = missAddresses(want, got)
	}
	if why == "" {
		why = missAddress(want, got)
	}
	return why, why != ""
}

// missLiteral compares the texts with everything taken away that people get wrong.
func missLiteral(want, got ID) string {
	w, wok := want.text()
	g, gok := got.text()
	if !wok || !gok {
		return ""
	}
	if want.kind == got.kind && w == g {
		return fmt.Sprintf("it is the same name in another encoding; configure asn1dn:#%x", got.data)
	}
	var diffs []string
	note := func(differs bool, what string) {
		if differs {
			diffs = append(diffs, what)
		}
	}
	note(want.kind != got.kind, typeDiffers(want.kind, got.kind))
	ws, gs := dropSpace(w), dropSpace(g)
	note(len(w)-len(ws) != len(g)-len(gs), "white space")
	w, g = ws, gs
	note(strings.HasPrefix(w, "@") != strings.HasPrefix(g, "@"), "an @ in front")
	w, g = strings.TrimPrefix(w, "@"), strings.TrimPrefix(g, "@")
	note(strings.HasSuffix(w, ".") != strings.HasSuffix(g, "."), "a dot at the end")
	w, g = strings.TrimSuffix(w, "."), strings.TrimSuffix(g, ".")
	switch {
	case w == g:
	case equalFold(w, g):
		note(!want.foldsCase() || !got.foldsCase(), "upper and lower case")
	case want.kind == got.kind && min(len(w), len(g)) >= 3 && oneEdit(strings.ToLower(w), strings.ToLower(g)):
		note(true, "a single character")
	default:
		return ""
	}
	return difference(diffs)
}

// missWildcard looks for a name the wildcard was meant to cover.
func missWildcard(want Pattern, got ID) string {
	text, ok := got.text()
	if !ok {
		return ""
	}
	if equalFold(text, want.base()) {
		return "the wildcard does not cover the name after its asterisk itself; configure that name as well"
	}
	meant := strings.TrimSuffix(dropSpace(text), ".")
	if want.Match(ID{want.id.kind, meant}) == NoMatch {
		return ""
	}
	var diffs []string
	if got.kind != want.id.kind {
		diffs = append(diffs, typeDiffers(want.id.kind, got.kind))
	}
	if meant != text {
		diffs = append(diffs, "a dot at the end or white space")
	}
	return difference(diffs)
}

// missAddresses looks for an address of the range that was sent as something else.
func missAddresses(want Pattern, got ID) string {
	text, _ := got.text()
	addr, err := netip.ParseAddr(strings.TrimPrefix(dropSpace(text), "@"))
	if err != nil || !want.contains(addr) {
		return ""
	}
	return difference([]string{typeDiffers(literalAddr(addr).kind, got.kind)})
}

// missAddress explains an address that nobody chose: without a configured identity a gateway presents the address
// of its outgoing interface, which behind a NAT is a private one.
func missAddress(want Pattern, got ID) string {
	const remedy = "set the same identity without an address on both sides, such as @name"
	addr, ok := got.Addr()
	if !ok {
		return ""
	}
	expected, isAddr := want.anAddr()
	switch {
	case !isAddr:
		return fmt.Sprintf("an address is what a gateway presents when no identity is set on it; set a local id on it that fits %v", want)
	case IsPrivate(addr) && !IsPrivate(expected):
		return "it is the private address of a gateway behind a NAT; " + remedy
	case !IsPrivate(addr) && IsPrivate(expected):
		return "the private address is only known behind the NAT; " + remedy
	}
	return ""
}

// anAddr is an address that p matches, if it is about addresses.
func (p Pattern) anAddr() (netip.Addr, bool) {
	if p.form == addresses {
		return p.start, true
	}
	return p.id.Addr()
}

// IsPrivate reports an address that a NAT hides: RFC 1918 and RFC 4193, link-local, and the carriers' RFC 6598.
func IsPrivate(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsPrivate() || a.IsLinkLocalUnicast() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)
}

func typeDiffers(want, got Kind) string { return fmt.Sprintf("the type (%v, not %v)", got, want) }

func difference(diffs []string) string {
	if len(diffs) == 0 {
		return ""
	}
	return "the difference is " + strings.Join(diffs, " and ")
}

func dropSpace(s string) string {
	return strings.Join(strings.Fields(s), "")
}

// oneEdit reports whether one character added, dropped or changed, or two neighbours exchanged, turns a into b.
func oneEdit(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	switch {
	case len(a) <= 1 && len(b) <= 1:
		return true
	case len(a) == 2 && len(b) == 2:
		return a[0] == b[1] && a[1] == b[0]
	}
	return false
}
