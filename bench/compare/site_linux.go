package compare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/bench/load"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// patience bounds what is a matter of a second when all is well.
const patience = 20 * time.Second

// site is one end of a tunnel: a host that is its own gateway.
type site struct {
	name         string
	host         *lab.Host
	dir          string     // what its daemon sees as /run
	outer, inner netip.Addr // outside of the tunnel and inside of it
	net          netip.Prefix
	peer         *site
	daemon       *lab.Process // nil: the link has none
	log          *os.File
}

// newSites makes two hosts and the link between them.
func newSites(t lab.T, dir string) (a, b *site, err error) {
	a = &site{name: "a", outer: netip.MustParseAddr("192.0.2.1"), net: netip.MustParsePrefix("10.1.0.0/24")}
	b = &site{name: "b", outer: netip.MustParseAddr("192.0.2.2"), net: netip.MustParsePrefix("10.2.0.0/24")}
	a.peer, b.peer = b, a
	n := lab.New(t)
	for _, s := range []*site{a, b} {
		s.host, s.inner, s.dir = n.Host(s.name), s.net.Addr().Next(), filepath.Join(dir, s.name)
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, nil, err
		}
		if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
			return nil, nil, err
		}
		t.Cleanup(func() { s.log.Close() })
	}
	n.Link(a.host, []string{a.outer.String() + "/24"}, b.host, []string{b.outer.String() + "/24"})
	return a, b, nil
}

// start starts the daemon of the site, whose root directory is root, and whose /run is the site's.
func (s *site) start(root string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	process, err := s.run(root, cmd)
	s.daemon = process
	return err
}

// run starts a program on the site.
func (s *site) run(root string, cmd *exec.Cmd) (*lab.Process, error) {
	cmd.Dir = "/"
	// A group of its own: Ctrl-C is for the comparison, which then ends everything.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if root != "" {
		cmd.SysProcAttr.Chroot = root
	}
	return s.host.Start(filepath.Base(cmd.Path), cmd, func() error { return mount(root, s.dir) })
}

// mount gives a program its /run, and in a tree of its own what else it needs of the system.
func mount(root, run string) error {
	if root != "" {
		for _, dir := range []string{"/proc", "/dev"} {
			if err := unix.Mount(dir, root+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount %s: %w", root+dir, err)
			}
		}
	}
	if err := unix.Mount(run, root+"/run", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", root+"/run", err)
	}
	return nil
}

// await calls ready until it succeeds or the daemon has ended.
func (s *site) await(ctx context.Context, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if dead := s.alive(); dead != nil {
			return dead
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return s.explain(errors.Join(err, ctx.Err()))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// alive is an error when the daemon is not.
func (s *site) alive() error {
	if s.daemon == nil {
		return nil
	}
	select {
	case <-s.daemon.Done():
		return s.explain(fmt.Errorf("the daemon on %s has ended: %v", s.name, s.daemon.Wait()))
	default:
		return nil
	}
}

// explain adds the end of the daemon's log to an error.
func (s *site) explain(err error) error {
	const kept = 2000
	text, _ := os.ReadFile(s.log.Name())
	if len(text) > kept {
		text = text[len(text)-kept:]
	}
	return fmt.Errorf("%w; the log of the daemon on %s ends:\n%s", err, s.name, strings.TrimSpace(string(text)))
}

// address gives the host its inner address on a device.
func (s *site) address(device string) error {
	link, err := s.host.Netlink().LinkByName(device)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(s.inner.String() + "/32")
	if err != nil {
		return err
	}
	return errors.Join(s.host.Netlink().LinkSetUp(link), s.host.Netlink().AddrAdd(link, addr))
}

// route sends what is for the peer's network through a device.
func (s *site) route(device string) error {
	link, err := s.host.Netlink().LinkByName(device)
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(s.peer.net.String())
	if err != nil {
		return err
	}
	return s.host.Netlink().RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Src: s.inner.AsSlice()})
}

// end is where load comes from and goes to.
func (s *site) end() load.End { return load.End{Host: s.host, Addr: s.inner} }

// way is the device on which packets for the peer's inner address leave.
func (s *site) way() (netlink.Link, error) {
	routes, err := s.host.Netlink().RouteGet(s.peer.inner.AsSlice())
	if err != nil || len(routes) == 0 {
		return nil, fmt.Errorf("no way from %s to %v: %v", s.name, s.peer.inner, err)
	}
	return s.host.Netlink().LinkByIndex(routes[0].LinkIndex)
}
