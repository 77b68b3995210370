package tun

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lacking skips a test that this host cannot run; where the tests must all run (CI=true) it fails.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI=true says that this test must run, but "+format, args...)
	}
	t.Skipf(format, args...)
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "making a network namespace needs root")
	}
}

// inNamespace moves the test's goroutine to a thread with a network namespace of its own. The thread is not unlocked, so
// that it ends with the test. Called again it makes another namespace; what was opened in the first stays there.
func inNamespace(t *testing.T) {
	t.Helper()
	requireRoot(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

// addAddr gives an interface an address, and waits until packets for it are the host's: with IPv6 the kernel makes the
// route later, from a work queue.
func addAddr(t *testing.T, link netlink.Link, text string) {
	t.Helper()
	addr, err := netlink.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	addr.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(link, addr); err != nil {
		if addr.IP.To4() == nil {
			lacking(t, "there is no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	for {
		routes, err := netlink.RouteGet(addr.IP)
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// dropCapabilities takes capabilities away from the thread of the test, which must be locked.
func dropCapabilities(t *testing.T, caps ...uint) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	for _, c := range caps {
		data[c/32].Effective &^= 1 << (c % 32)
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
}
