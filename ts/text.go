package ts

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Protocols whose packets have ports, or something selectors treat as ports.
const (
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoDCCP     = 33
	protoICMPv6   = 58
	protoSCTP     = 132
	protoMobility = 135
	protoUDPLite  = 136
)

// protocolNames are the names of the IANA registry and of /etc/protocols; the first name of a number is the one
// that String writes.
var protocolNames = []struct {
	name   string
	number uint8
}{
	{"icmp", protoICMP}, {"igmp", 2}, {"ipencap", 4}, {"ipip", 4}, {"tcp", protoTCP}, {"egp", 8},
	{"udp", protoUDP}, {"dccp", protoDCCP}, {"ipv6", 41}, {"rsvp", 46}, {"gre", 47}, {"esp", 50}, {"ah", 51},
	{"ipv6-icmp", protoICMPv6}, {"icmpv6", protoICMPv6}, {"icmp6", protoICMPv6}, {"eigrp", 88}, {"ospf", 89},
	{"etherip", 97}, {"pim", 103}, {"ipcomp", 108}, {"vrrp", 112}, {"l2tp", 115}, {"sctp", protoSCTP},
	{"mobility-header", protoMobility}, {"mh", protoMobility}, {"udplite", protoUDPLite},
}

// serviceNames are the services a tunnel is likely to be limited to; for others the number is written.
var serviceNames = map[string]uint16{
	"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69,
	"http": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123, "imap2": 143, "snmp": 161, "bgp": 179,
	"ldap": 389, "https": 443, "microsoft-ds": 445, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995,
	"l2f": 1701, "l2tp": 1701, "radius": 1812, "radius-acct": 1813, "nfs": 2049, "mysql": 3306,
	"ms-wbt-server": 3389, "postgresql": 5432, "http-alt": 8080,
}

func protocolNumber(name string) (uint8, error) {
	for _, p := range protocolNames {
		if strings.EqualFold(p.name, name) {
			return p.number, nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("unknown protocol %q: use a name such as tcp, udp, icmp, gre or a number from 0 to 255", name)
	}
	return uint8(n), nil
}

func protocolName(number uint8) string {
	for _, p := range protocolNames {
		if p.number == number {
			return p.name
		}
	}
	return strconv.Itoa(int(number))
}

// String returns the text form of s: its prefix, or its range if it is no prefix, and in brackets protocol and
// ports unless they are any. ParseSpec reads it back to an equal selector if s is valid.
func (s Selector) String() string {
	var text string
	switch p, ok := s.prefix(); {
	case !s.Start.IsValid() || !s.End.IsValid():
		text = "invalid"
	case ok:
		text = p.String()
	default:
		text = s.Start.String() + "-" + s.End.String()
	}
	return text + s.bracket()
}

// String returns the text form of the specification; ParseSpec reads it back to an equal value.
func (s Spec) String() string {
	if s.Dynamic {
		return "dynamic" + s.Sel.bracket()
	}
	return s.Sel.String()
}

func (s Selector) bracket() string {
	var proto string
	if s.Protocol != 0 {
		proto = protocolName(s.Protocol)
	}
	switch {
	case s.anyPort() && proto == "":
		return ""
	case s.anyPort():
		return "[" + proto + "]"
	case s.opaque():
		return "[" + proto + "/opaque]"
	}
	return "[" + proto + "/" + s.ports() + "]"
}

// ports writes a range of ports. ICMP is written as type, type-type or type(code)-type(code): a type alone is
// all its codes.
func (s Selector) ports() string {
	start, end := portName(s.Protocol, s.StartPort), portName(s.Protocol, s.EndPort)
	if isICMP(s.Protocol) && s.StartPort&0xff == 0 && s.EndPort&0xff == 0xff {
		start, end = strconv.Itoa(int(s.StartPort>>8)), strconv.Itoa(int(s.EndPort>>8))
	}
	if start == end {
		return start
	}
	return start + "-" + end
}

func portName(protocol uint8, port uint16) string {
	switch {
	case isICMP(protocol):
		return fmt.Sprintf("%d(%d)", port>>8, port&0xff)
	case protocol == protoMobility && port&0xff == 0:
		return strconv.Itoa(int(port >> 8))
	case protocol == protoMobility && port < 256:
		return fmt.Sprintf("0(%d)", port)
	}
	return strconv.Itoa(int(port))
}

func isICMP(protocol uint8) bool { return protocol == protoICMP || protocol == protoICMPv6 }

// ParseSpec reads one traffic selector of a configuration, in the language of swanctl.conf:
//
//	10.1.0.0/16                a network; bits beyond the prefix do not count
//	10.1.0.1, 2001:db8::1      one host
//	10.0.0.1-10.0.0.9          a range, both ends included
//	dynamic                    the address of the tunnel's end, whatever it will be
//
// each of them followed by [protocol], [protocol/port] or [/port] if it is limited to those. The protocol is a
// name, a number, or "any" (also "%any"). The port is a number, a range 80-90, one of the common service names,
// "any", or "opaque". For ICMP and ICMPv6 the port is a type (all its codes) or type(code); a number of 256 and
// above is type*256 + code. For the Mobility Header it is a type.
func ParseSpec(text string) (Spec, error) {
	spec, err := parseSpec(strings.TrimSpace(text))
	if err != nil {
		return Spec{}, fmt.Errorf("traffic selector %q: %w", text, err)
	}
	return spec, nil
}

func parseSpec(text string) (Spec, error) {
	sel := Selector{StartPort: anyStart, EndPort: anyEnd}
	addrs, limits, limited := strings.Cut(text, "[")
	if limited {
		inside, found := strings.CutSuffix(limits, "]")
		if !found {
			return Spec{}, errors.New("the closing ] is missing")
		}
		if err := sel.parseLimits(inside); err != nil {
			return Spec{}, err
		}
	}
	addrs = strings.TrimSpace(addrs)
	if strings.EqualFold(addrs, "dynamic") {
		return Spec{Dynamic: true, Sel: sel}, nil
	}
	var err error
	sel.Start, sel.End, err = parseAddrs(addrs)
	return Spec{Sel: sel}, err
}

func parseAddrs(text string) (start, end netip.Addr, err error) {
	if from, to, isRange := strings.Cut(text, "-"); isRange {
		if start, err = parseAddr(strings.TrimSpace(from)); err != nil {
			return start, end, err
		}
		if end, err = parseAddr(strings.TrimSpace(to)); err != nil {
			return start, end, err
		}
		if start.Is4() != end.Is4() {
			return start, end, errors.New("the range begins in one address family and ends in the other")
		}
		if end.Less(start) {
			return start, end, errors.New("the range ends before it begins")
		}
		return start, end, nil
	}
	addr, length, isPrefix := strings.Cut(text, "/")
	if start, err = parseAddr(addr); err != nil || !isPrefix {
		return start, start, err
	}
	p, err := netip.ParsePrefix(start.String() + "/" + length)
	if err != nil {
		return start, end, fmt.Errorf("/%s is not a prefix length from 0 to %d", length, start.BitLen())
	}
	return p.Masked().Addr(), lastAddr(p), nil
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is neither an IP address nor \"dynamic\"", text)
	case a.Zone() != "":
		return a, fmt.Errorf("%q has a zone; selectors have none", text)
	}
	return a, nil
}

// parseLimits reads what stands inside the brackets.
func (s *Selector) parseLimits(text string) error {
	proto, port, hasPort := strings.Cut(text, "/")
	proto, port = strings.TrimSpace(proto), strings.TrimSpace(port)
	if !isAny(proto) {
		n, err := protocolNumber(proto)
		if err != nil {
			return err
		}
		s.Protocol = n
	}
	switch {
	case proto == "" && port == "":
		return errors.New("nothing stands between [ and ]")
	case !hasPort || isAny(port): // VyOS writes [tcp/] for no port, which strongSwan takes as well
		return nil
	case strings.EqualFold(port, "opaque"):
		s.StartPort, s.EndPort = opaqueStart, opaqueEnd
		return nil
	}
	var err error
	s.StartPort, s.EndPort, err = parsePorts(s.Protocol, port)
	return err
}

func isAny(text string) bool {
	return text == "" || strings.EqualFold(text, "any") || strings.EqualFold(text, "%any")
}

func parsePorts(protocol uint8, text string) (start, end uint16, err error) {
	// Whole first: names of services have hyphens too.
	if start, end, err = parsePort(protocol, text); err == nil {
		return start, end, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		return 0, 0, err
	}
	if start, _, err = parsePort(protocol, strings.TrimSpace(from)); err != nil {
		return 0, 0, err
	}
	if _, end, err = parsePort(protocol, strings.TrimSpace(to)); err != nil {
		return 0, 0, err
	}
	if end < start {
		return 0, 0, fmt.Errorf("the range of ports %q ends before it begins", text)
	}
	return start, end, nil
}

// parsePort returns the range that one number or name stands for: more than one port only for an ICMP type.
func parsePort(protocol uint8, text string) (start, end uint16, err error) {
	typed := isICMP(protocol) || protocol == protoMobility
	if kind, code, ok := strings.Cut(text, "("); ok && typed {
		k, kindErr := strconv.ParseUint(strings.TrimSpace(kind), 10, 8)
		c, codeErr := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(code, ")")), 10, 8)
		if kindErr != nil || codeErr != nil || !strings.HasSuffix(code, ")") {
			return 0, 0, fmt.Errorf("%q is not type(code), each from 0 to 255", text)
		}
		port := uint16(k<<8 | c)
		return port, port, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	port := uint16(n)
	switch service, known := serviceNames[strings.ToLower(text)]; {
	case err != nil && known && !typed:
		return service, service, nil
	case err != nil:
		return 0, 0, fmt.Errorf("%q is neither a port from 0 to 65535 nor a service name known here", text)
	case isICMP(protocol) && port < 256:
		return port << 8, port<<8 | 0xff, nil
	case protocol == protoMobility && port < 256:
		return port << 8, port << 8, nil
	}
	return port, port, nil
}
