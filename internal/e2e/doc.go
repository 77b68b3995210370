// Package e2e runs gateways on networks made of Linux network namespaces: hosts, routers, NAT boxes, loss, small
// MTUs, and peers that share no code with Culvert.
//
// A scenario is a topology, two peers and what must be true of them:
//
//	func TestPing(t *testing.T) {
//		t.Parallel()
//		ref := e2e.NewReference(t, e2e.Plan{B: e2e.OneToOne})
//		wire := ref.Net.Capture(ref.A.Uplink)
//		a := e2e.NewStrongSwan(ref.A.Host, confA) // the text of a swanctl.conf
//		b := e2e.NewStrongSwan(ref.B.Host, confB)
//		e2e.Must(t, a.Start(), b.Start(), b.Initiate("net"))
//		ping, err := ref.A.Client.Ping(ref.B.Client.Addr(), e2e.Ping{Count: 20})
//		e2e.Must(t, err, wire.Stop())
//		if ping.Lost() != 0 {
//			t.Errorf("%v\n%s", ping, b.Log())
//		}
//	}
//
// Everything is removed when the test ends, however it ends. Namespaces have no name: they live as long as a file
// descriptor or a process of the scenario does. Every process started has its own mount namespace, and the kernel
// kills it when the test process dies. So nothing needs to be found and cleaned up afterwards, and scenarios that
// run side by side cannot meet. To look into a running scenario: nsenter --net=/proc/PID/ns/net, with the PID of one
// of its processes.
//
// The peers and tools (strongSwan, nftables, tshark) are Debian packages, unpacked into a directory and never
// installed; see [OpenTools].
//
// Environment:
//
//	CULVERT_CACHE          directory of the unpacked tools; default .cache/peers in the repository
//	CULVERT_DEBIAN_MIRROR  where packages come from; default http://deb.debian.org
//	CULVERT_E2E_KEEP       directory in which captures, logs and configurations of every scenario are kept
//	CULVERT_TEST_NO_OFFLOAD  fast paths that every daemon does without, as `culvert run --no-offload`
//	CI                     "true": a scenario that cannot run is a failure and not a skip
package e2e
