package doctor

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// What a metadata service says is not to be trusted: whoever can pretend to be this address may be anybody. These functions take any
// bytes, of which there are at most maxMetadata, and return what is an address in them.

// maxToken is the length of the longest token of AWS that is taken. Theirs have 56 bytes.
const maxToken = 512

// parseToken is the token of a session, which is sent back in a header.
func parseToken(b []byte) (string, error) {
	token := strings.TrimSpace(string(b))
	if token == "" || len(token) > maxToken {
		return "", errors.New("the token of the metadata service has a strange length")
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return "", errors.New("the token of the metadata service has strange characters")
		}
	}
	return token, nil
}

// parseMACs is a list of network interfaces, each with a slash behind it.
func parseMACs(b []byte) (list []string) {
	for line := range strings.Lines(string(b)) {
		mac, err := net.ParseMAC(strings.TrimSuffix(strings.TrimSpace(line), "/"))
		if err == nil && len(mac) == 6 && len(list) < maxInterfaces {
			list = append(list, mac.String())
		}
	}
	return list
}

// parseAddresses is a list of IPv4 addresses, one a line.
func parseAddresses(b []byte) (list []netip.Addr) {
	for line := range strings.Lines(string(b)) {
		if a, ok := parseIPv4(line); ok && len(list) < maxInterfaces {
			list = append(list, a)
		}
	}
	return list
}

func parseIPv4(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	return a, err == nil && a.Is4() && !a.IsUnspecified()
}

// parseGoogle is the tree below network-interfaces.
func parseGoogle(b []byte) (list []Mapping, err error) {
	var interfaces []struct {
		IP            string
		AccessConfigs []struct{ ExternalIP string }
	}
	if err := json.Unmarshal(b, &interfaces); err != nil {
		return nil, err
	}
	for _, i := range interfaces[:min(len(interfaces), maxInterfaces)] {
		m := Mapping{}
		var ok bool
		if m.Private, ok = parseIPv4(i.IP); !ok {
			continue
		}
		for _, c := range i.AccessConfigs[:min(len(i.AccessConfigs), maxInterfaces)] {
			if a, ok := parseIPv4(c.ExternalIP); ok {
				m.Public = a
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// parseAzure is the description of an instance's network.
func parseAzure(b []byte) (list []Mapping, err error) {
	var network struct {
		Interface []struct {
			IPv4 struct {
				IPAddress []struct{ PrivateIPAddress, PublicIPAddress string }
			}
		}
	}
	if err := json.Unmarshal(b, &network); err != nil {
		return nil, err
	}
	if network.Interface == nil {
		return nil, errors.New("it is not Azure's metadata service")
	}
	for _, i := range network.Interface[:min(len(network.Interface), maxInterfaces)] {
		for _, a := range i.IPv4.IPAddress[:min(len(i.IPv4.IPAddress), maxInterfaces)] {
			if private, ok := parseIPv4(a.PrivateIPAddress); ok {
				m := Mapping{Private: private}
				if public, ok := parseIPv4(a.PublicIPAddress); ok {
					m.Public = public
				}
				list = append(list, m)
			}
		}
	}
	return list, nil
}

// parseAzureBalancer is the description of the load balancer, of which only the addresses that belong to the instance alone count.
func parseAzureBalancer(b []byte) (list []Mapping) {
	var answer struct {
		LoadBalancer struct {
			PublicIPAddresses []struct{ FrontendIPAddress, PrivateIPAddress string }
		}
	}
	if json.Unmarshal(b, &answer) != nil {
		return nil
	}
	all := answer.LoadBalancer.PublicIPAddresses
	for _, a := range all[:min(len(all), maxInterfaces)] {
		private, ok := parseIPv4(a.PrivateIPAddress)
		public, alsoOK := parseIPv4(a.FrontendIPAddress)
		if ok && alsoOK {
			list = append(list, Mapping{private, public})
		}
	}
	return list
}

// balance completes a list with the public addresses of another one.
func balance(list, more []Mapping) []Mapping {
	for _, m := range more {
		for i := range list {
			if list[i].Private == m.Private && !list[i].Public.IsValid() {
				list[i].Public = m.Public
			}
		}
	}
	return list
}
