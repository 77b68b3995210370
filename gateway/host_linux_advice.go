//go:build linux

package gateway

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Hints are the settings of this host that stand in the way of a gateway; the gateway leaves them alone. Given policies, they are
// those that matter to them.
func Hints(policies ...Policy) []Hint {
	return advise(os.DirFS("/"), hostInterfaces(), policies)
}

// hostInterface is a device and its addresses.
type hostInterface struct {
	name  string
	addrs []netip.Addr
}

func advise(root fs.FS, interfaces []hostInterface, policies []Policy) []Hint {
	var out []Hint
	v4, v6 := ofFamily(policies, false), ofFamily(policies, true)
	if len(v4) > 0 || len(policies) == 0 {
		if sysctl(root, "net/ipv4/ip_forward") == "0" {
			out = append(out, Hint{"ip-forwarding", "IP forwarding is off, packets of other hosts are not forwarded", "sysctl -w net.ipv4.ip_forward=1", true})
		}
	}
	if len(v6) > 0 || len(policies) == 0 && slices.ContainsFunc(interfaces, hostInterface.usesIPv6) {
		if sysctl(root, "net/ipv6/conf/all/forwarding") == "0" {
			out = append(out, Hint{"ip6-forwarding", "IPv6 forwarding is off, packets of other hosts are not forwarded", "sysctl -w net.ipv6.conf.all.forwarding=1", true})
		}
	}
	for _, i := range interfaces {
		if covered, ok := i.covered(v4); ok && strictReversePath(root, i.name) {
			out = append(out, Hint{"rp-filter", fmt.Sprintf("reverse path filtering on %s is strict, and %s is inside a policy for everything: "+
				"datagrams of the peer to that address are dropped", i.name, covered), "sysctl -w net.ipv4.conf." + i.name + ".rp_filter=2", true})
		}
	}
	if exists(root, "run/systemd/netif/state") && !keepsForeignRules(root) {
		out = append(out, Hint{"networkd", "systemd-networkd removes routing rules of other programs when it restarts, and traffic then leaves unprotected",
			"write ManageForeignRoutingPolicyRules=no under [Network] in /etc/systemd/networkd.conf", false})
	}
	return out
}

// covered returns an address of the interface that is inside the local prefixes of a policy for (about) all remote
// addresses, such as that of a host which sends all its traffic through the tunnel. The kernel looks for the way back of
// the peer's datagrams without Mark, so for such an address it leads into the tunnel.
func (i hostInterface) covered(policies []Policy) (netip.Addr, bool) {
	for _, policy := range policies {
		if !slices.ContainsFunc(policy.Remote, wide) {
			continue
		}
		for _, addr := range i.addrs {
			if slices.ContainsFunc(policy.Local, func(l netip.Prefix) bool { return l.Contains(addr) }) {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

func (i hostInterface) usesIPv6() bool {
	return slices.ContainsFunc(i.addrs, func(a netip.Addr) bool { return a.Is6() && a.IsGlobalUnicast() })
}

// strictReversePath: the bigger one of the setting for all devices and that of the device counts; 1 is strict, 2 loose.
func strictReversePath(root fs.FS, device string) bool {
	return max(sysctl(root, "net/ipv4/conf/all/rp_filter"), sysctl(root, "net/ipv4/conf/"+device+"/rp_filter")) == "1"
}

// keepsForeignRules reports whether systemd-networkd is told to leave the rules of others alone. Files of /etc override
// those of /run and of the vendor, and networkd.conf.d/ overrides networkd.conf; the last one read wins.
func keepsForeignRules(root fs.FS) bool {
	keeps := false
	for _, pattern := range []string{
		"usr/lib/systemd/networkd.conf", "etc/systemd/networkd.conf",
		"usr/lib/systemd/networkd.conf.d/*.conf", "run/systemd/networkd.conf.d/*.conf", "etc/systemd/networkd.conf.d/*.conf",
	} {
		names, _ := fs.Glob(root, pattern)
		for _, name := range names {
			text, _ := fs.ReadFile(root, name)
			for line := range strings.Lines(string(text)) {
				key, value, _ := strings.Cut(line, "=")
				if strings.TrimSpace(key) == "ManageForeignRoutingPolicyRules" {
					keeps = slices.Contains([]string{"no", "false", "off", "0", "n", "f"}, strings.ToLower(strings.TrimSpace(value)))
				}
			}
		}
	}
	return keeps
}

// sysctl is the value of a kernel parameter, empty where the kernel has none.
func sysctl(root fs.FS, name string) string {
	value, err := fs.ReadFile(root, path.Join("proc/sys", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

func exists(root fs.FS, name string) bool {
	_, err := fs.Stat(root, name)
	return err == nil
}

// hostInterfaces lists what Advice needs; a host whose devices cannot be listed gets less of it.
func hostInterfaces() []hostInterface {
	k, err := openHostKernel()
	if err != nil {
		return nil
	}
	defer k.close()
	links, err := k.LinkList()
	if err != nil {
		return nil
	}
	var out []hostInterface
	for _, link := range links {
		i := hostInterface{name: link.Attrs().Name}
		addrs, _ := k.AddrList(link, netlink.FAMILY_ALL)
		for _, a := range addrs {
			i.addrs = append(i.addrs, addrOf(a.IP))
		}
		out = append(out, i)
	}
	return out
}
