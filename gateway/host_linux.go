package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Numbers by which the gateway's routes and rules are known on a host. They are constants, so that a later run knows
// what a crashed one left behind; two gateways on one host need network namespaces of their own.
const (
	// hostProtocol is the rtm_protocol of every rule and route the gateway makes ("ip rule show protocol 145"), unused
	// by other programs. Nothing that has another protocol number is ever changed.
	hostProtocol = 145
	// firstTable is for packets of the host's own whose source address is not chosen yet; the tables after it, up to
	// lastTable, are for one local prefix each.
	firstTable = 45000
	lastTable  = 54999
)

// minMTU6 is the smallest MTU of a link that carries IPv6 (RFC 8200 5): Linux takes IPv6 off a device with less.
const minMTU6 = 1280

// linuxHost keeps the rules and routes of the kernel as the policies want them. It remembers none of them: each change
// compares with what the kernel has, and so mends what others took away, and takes over what a crashed run left.
type linuxHost struct {
	device string
	kernel *hostKernel // of the control goroutine
	news   *hostNews
	watch  *nl.NetlinkSocket
	// done is what the kernel was made to be like last; settled, that nothing was left to do then.
	done    []Policy
	settled bool
	// assigned are the addresses that the device is to have; index is its number.
	assigned []netip.Addr
	index    atomic.Int64

	looking sync.Mutex      // RouteTo may come from any goroutine
	lookup  *netlink.Handle // nil once closed
}

// NewHost opens this machine's routing, of the network namespace of the calling thread. Nothing is changed before Setup.
// Rules and routes need CAP_NET_ADMIN, and Linux 4.20 or later.
func NewHost() (Host, error) {
	k, err := openHostKernel()
	if err != nil {
		return nil, fmt.Errorf("this host's routing cannot be reached over netlink: %w", err)
	}
	lookup, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		k.close()
		return nil, fmt.Errorf("this host's routing cannot be reached over netlink: %w", err)
	}
	news, err := openHostNews()
	if err != nil {
		k.close()
		lookup.Close()
		return nil, fmt.Errorf("this host's routing cannot be watched over netlink: %w", err)
	}
	watch, err := openHostWatch()
	if err != nil {
		k.close()
		lookup.Close()
		news.close()
		return nil, fmt.Errorf("this host's addresses cannot be watched over netlink: %w", err)
	}
	return &linuxHost{kernel: k, news: news, watch: watch, lookup: lookup}, nil
}

// Setup readies the device. An MTU below 1280 becomes 1280, so that IPv6 can use the tunnel: what is too big for the
// path is then fragmented outside of it.
//
// What a crashed run left behind keeps the traffic of its policies from leaving in clear. Were it removed here, there
// would be a gap until the first Protect; so it is that call which replaces it, with an empty set too.
func (h *linuxHost) Setup(device string, mtu int) error {
	link, err := h.kernel.LinkByName(device)
	if err != nil {
		return fmt.Errorf("the tunnel's device %s is not there: %w", device, err)
	}
	h.device = device
	h.index.Store(int64(link.Attrs().Index))
	configureDevice(h.kernel.Handle, link)
	if err := h.kernel.LinkSetMTU(link, max(mtu, minMTU6)); err != nil {
		return explainRefusal(fmt.Sprintf("setting the MTU of %s to %d", device, max(mtu, minMTU6)), err)
	}
	if err := h.kernel.LinkSetUp(link); err != nil {
		return explainRefusal("taking "+device+" up", err)
	}
	return nil
}

// Protect makes rules and routes those of the policies. What is new is added before what is old goes, so that traffic
// which is in both sets never leaves in clear. On an error nothing is removed; a later call tries again.
//
// It also mends what others changed meanwhile: rules that a network manager flushed, and the source address of the
// host's own packets after its addresses changed. With the same policies as before it looks only if the kernel has told
// of a change since; its own changes are among them, so that it looks once more after each.
func (h *linuxHost) Protect(policies []Policy) error {
	if h.kernel == nil {
		return net.ErrClosed
	}
	if h.device == "" {
		return errors.New("the host cannot protect traffic before its device is set up")
	}
	if news := h.news.any(); !news && h.settled && slices.EqualFunc(policies, h.done, Policy.equal) {
		return nil
	}
	err := h.mend(policies)
	h.done, h.settled = policies, err == nil
	return err
}

func (p Policy) equal(o Policy) bool {
	return slices.Equal(p.Local, o.Local) && slices.Equal(p.Remote, o.Remote) && p.Pass == o.Pass &&
		p.Protocol == o.Protocol && p.LocalPorts == o.LocalPorts && p.RemotePorts == o.RemotePorts
}

// mend makes the kernel as the policies want it, whatever it is like.
func (h *linuxHost) mend(policies []Policy) error {
	var errs []error
	device := 0
	if link, err := h.kernel.LinkByName(h.device); err == nil {
		device = link.Attrs().Index
	} else if len(policies) > 0 {
		errs = append(errs, fmt.Errorf("the tunnel's device %s is gone, traffic of its policies is refused: %w", h.device, err))
	}
	errs = append(errs, h.keepAssigned())
	have, err := h.kernel.state()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	want, err := planFIB(planned{h.kernel, h.assigned}, device, have, policies)
	fresh := want.without(have)
	errs = append(errs, err, h.kernel.add(fresh))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return h.kernel.remove(have.without(want).withoutReplaced(fresh))
}

// planned is what a plan asks of the host.
type planned struct {
	*hostKernel
	inner []netip.Addr
}

func (p planned) assigned() []netip.Addr { return p.inner }

// RouteTo asks the kernel for the way that a packet with Mark takes, which is past our rules. The MTU is that of the
// path where the kernel knows it, else of the device. An IPv6 link-local address needs its zone.
func (h *linuxHost) RouteTo(remote netip.Addr) (local netip.Addr, mtu int, err error) {
	remote = remote.Unmap()
	if !remote.IsValid() {
		return netip.Addr{}, 0, errors.New("no route without the address of the peer")
	}
	h.looking.Lock()
	defer h.looking.Unlock()
	if h.lookup == nil {
		return netip.Addr{}, 0, net.ErrClosed
	}
	route, err := usualRoute(h.lookup, remote)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("this host has no route to %s: %w", remote, err)
	}
	local = addrOf(route.Src)
	if !local.IsValid() {
		return netip.Addr{}, 0, fmt.Errorf("this host has no address to reach %s from", remote)
	}
	if local.IsLinkLocalUnicast() {
		local = local.WithZone(remote.Zone())
	}
	if route.MTU > 0 {
		return local, route.MTU, nil
	}
	link, err := h.lookup.LinkByIndex(route.LinkIndex)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("the device on the way to %s is gone: %w", remote, err)
	}
	return local, link.Attrs().MTU, nil
}

// Close removes all rules and routes of the gateway: from then on the traffic goes as if there were no policies. The
// device belongs to whoever opened it.
func (h *linuxHost) Close() error {
	if h.kernel == nil {
		return nil
	}
	have, err := h.kernel.state()
	if err == nil {
		err = h.kernel.remove(have)
	}
	return errors.Join(err, h.Release())
}

// Release leaves the rules and routes in place. The device goes with the process, and the routes into it; behind them
// are those that refuse the traffic. To have it leave in clear again without a gateway: ip rule flush protocol 145, and
// ip -6 rule flush protocol 145.
func (h *linuxHost) Release() error {
	if h.kernel == nil {
		return nil
	}
	h.kernel.close()
	h.news.close()
	h.watch.Close()
	h.kernel = nil
	h.looking.Lock()
	defer h.looking.Unlock()
	h.lookup.Close()
	h.lookup = nil
	return nil
}

// usualRoute is the way to addr of a packet with Mark.
func usualRoute(handle *netlink.Handle, addr netip.Addr) (netlink.Route, error) {
	options := netlink.RouteGetOptions{Mark: Mark, Oif: addr.Zone()}
	routes, err := handle.RouteGetWithOptions(addr.AsSlice(), &options)
	if err != nil {
		return netlink.Route{}, err
	}
	if len(routes) == 0 {
		return netlink.Route{}, unix.ENETUNREACH
	}
	return routes[0], nil
}

// explainRefusal is one sentence about a change that the kernel refused, with the remedy where there is one.
func explainRefusal(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s needs CAP_NET_ADMIN: run as root, or as a service with AmbientCapabilities=CAP_NET_ADMIN: %w", what, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s failed, IPv6 is switched off on the tunnel's device (sysctl net.ipv6.conf.*.disable_ipv6): %w", what, err)
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s failed, the kernel lacks this address family or policy routing (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES): %w", what, err)
	}
	return fmt.Errorf("%s failed: %w", what, err)
}
