package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// list splits a value at commas. Empty elements are dropped.
func list(v string) []string {
	var elements []string
	for e := range strings.SplitSeq(v, ",") {
		if e = strings.TrimSpace(e); e != "" {
			elements = append(elements, e)
		}
	}
	return elements
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "yes", "true", "enabled", "1":
		return true, nil
	case "no", "false", "disabled", "0":
		return false, nil
	}
	return false, wrong("yes or no", "%q is neither yes nor no", v)
}

// parseNumber reads a decimal number, or a hexadecimal one after 0x.
func parseNumber(v string, limit uint64) (uint64, error) {
	digits, base := v, 10
	if hex, ok := strings.CutPrefix(strings.ToLower(v), "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return 0, wrong("", "%q is not a number", v)
	}
	if n > limit {
		return 0, wrong("", "%s is more than %d", v, limit)
	}
	return n, nil
}

// maxTime is far longer than any lifetime and far from overflow in sums.
const maxTime = 10 * 365 * 24 * time.Hour

// parseTime reads a time: seconds, or a number with the unit s, m, h or d.
func parseTime(v string) (time.Duration, error) {
	digits, unit := v, time.Second
	if n := len(v) - 1; n > 0 {
		switch v[n] {
		case 's':
			digits = v[:n]
		case 'm':
			digits, unit = v[:n], time.Minute
		case 'h':
			digits, unit = v[:n], time.Hour
		case 'd':
			digits, unit = v[:n], 24*time.Hour
		}
	}
	n, err := parseNumber(strings.TrimSpace(digits), math.MaxUint64)
	if err != nil {
		return 0, wrong("a number of seconds, or a number with s, m, h or d, such as 4h", "%q is not a time", v)
	}
	if n > uint64(maxTime/unit) {
		return 0, wrong("", "%s is more than ten years", v)
	}
	return time.Duration(n) * unit, nil
}

// parseBytes reads a number of bytes; k, m and g multiply by powers of 1024.
func parseBytes(v string) (uint64, error) {
	digits, shift := v, 0
	if n := len(v) - 1; n > 0 {
		switch v[n] {
		case 'k', 'K':
			digits, shift = v[:n], 10
		case 'm', 'M':
			digits, shift = v[:n], 20
		case 'g', 'G':
			digits, shift = v[:n], 30
		}
	}
	n, err := parseNumber(strings.TrimSpace(digits), maxVolume)
	if err != nil || n > maxVolume>>shift {
		return 0, wrong("a number of bytes, or a number with k, m or g, such as 500m", "%q is not a number of bytes", v)
	}
	return n << shift, nil
}

// maxVolume bounds limits in bytes and packets so that ten percent can be added.
const maxVolume = math.MaxUint64 / 2

// parseAction reads what to do with a child, in the words of all versions of strongSwan.
func parseAction(v string) (ike.Action, error) {
	start, trap := false, false
	for word := range strings.SplitSeq(strings.ToLower(v), "|") {
		switch strings.TrimSpace(word) {
		case "none", "clear":
		case "trap", "route", "hold":
			trap = true
		case "start", "restart":
			start = true
		default:
			return ike.None, wrong("none, trap or start", "%q is not an action", v)
		}
	}
	switch {
	case start: // what is kept up needs no trap
		return ike.Start, nil
	case trap:
		return ike.Trap, nil
	}
	return ike.None, nil
}

// parseProposals reads a comma separated list of proposals.
func parseProposals(proto suite.Protocol, v string) ([]suite.Proposal, error) {
	var proposals []suite.Proposal
	for _, text := range list(v) {
		if strings.ToLower(text) == "default" {
			proposals = append(proposals, suite.Default(proto)...)
			continue
		}
		p, err := suite.ParseProposal(proto, text)
		if err != nil {
			return nil, err
		}
		proposals = append(proposals, p)
	}
	if proposals == nil {
		return nil, wrong("default", "there is no proposal in it")
	}
	return proposals, nil
}

// parseSelectors reads a comma separated list of traffic selectors.
func parseSelectors(v string) ([]ts.Spec, error) {
	var specs []ts.Spec
	for _, text := range list(v) {
		spec, err := ts.ParseSpec(text)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	if specs == nil {
		return nil, wrong("dynamic", "there is no traffic selector in it")
	}
	return specs, nil
}

// addresses is what local_addrs or remote_addrs says.
type addresses struct {
	any      bool           // %any, or a DNS name, whose addresses nobody knows beforehand
	prefixes []netip.Prefix // the limit, unless any
	host     string         // the first element that one could call
}

func parseAddresses(v string) (addresses, error) {
	var a addresses
	for _, text := range list(v) {
		if err := a.add(text); err != nil {
			return addresses{}, err
		}
	}
	if a.any {
		a.prefixes = nil
	}
	return a, nil
}

func (a *addresses) add(text string) error {
	switch strings.ToLower(text) {
	case "%any":
		a.any = true
		return nil
	case "%any4":
		a.prefixes = append(a.prefixes, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		return nil
	case "%any6":
		a.prefixes = append(a.prefixes, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		return nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		a.prefixes = append(a.prefixes, p.Masked())
		return nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		switch {
		case addr.Zone() != "":
			return wrong("", "%q: an address with a zone is not possible", text)
		case addr.IsUnspecified():
			a.any = true
		default:
			addr = addr.Unmap()
			a.prefixes = append(a.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			a.call(addr.String())
		}
		return nil
	}
	if from, to, ok := strings.Cut(text, "-"); ok {
		start, err1 := netip.ParseAddr(strings.TrimSpace(from))
		end, err2 := netip.ParseAddr(strings.TrimSpace(to))
		if err1 == nil && err2 == nil {
			if start.BitLen() != end.BitLen() || end.Less(start) {
				return wrong("", "%q is not a range of addresses", text)
			}
			a.prefixes = append(a.prefixes, ts.Selector{EndPort: math.MaxUint16, Start: start, End: end}.Prefixes()...)
			return nil
		}
	}
	if !isHostname(text) {
		return wrong("an address, a subnet, a range a-b, a DNS name or %any", "%q is not an address", text)
	}
	a.any = true
	a.call(text)
	return nil
}

func (a *addresses) call(host string) {
	if a.host == "" {
		a.host = host
	}
}

// isHostname reports whether text can be a name in DNS. One whose last label is all digits cannot: it is
// an address that was mistyped.
func isHostname(text string) bool {
	if len(text) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != ""
}
