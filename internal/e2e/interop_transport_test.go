//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// hostToHost makes the child of the reference case one for the two gateways themselves.
func hostToHost(conf, child string) string {
	for _, ts := range []string{"local_ts = 10.103.0.0/24\n", "remote_ts = 10.104.0.0/24\n", "local_ts = 10.104.0.0/24\n", "remote_ts = 10.103.0.0/24\n"} {
		conf = strings.Replace(conf, ts, "", 1)
	}
	return with(conf, "", child)
}

// TestInteropTransport: transport mode between two Culverts, with every kind of NAT between them. Echo and TCP come through, whose
// checksums a NAT breaks (RFC 3948 3.1.2), and what ESP carries is what followed the IP header.
func TestInteropTransport(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		plan Plan
	}{
		{"no NAT", Plan{}}, {"server in a cloud", Plan{A: OneToOne}}, {"client in a cloud", Plan{B: OneToOne}},
		{"client behind a NAT", Plan{B: Masquerade}}, {"both behind a NAT", Plan{A: OneToOne, B: Masquerade}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, test.plan)
			wire := ref.Net.Capture(ref.B.Uplink)
			confA := strings.Replace(referenceA, "local_addrs = 203.0.113.1\n", "", 1)
			a := NewCulvert(ref.A.Host, hostToHost(confA, "mode = transport"))
			b := NewCulvert(ref.B.Host, hostToHost(referenceB, "mode = transport"))
			Must(t, a.Start(), b.Start(), b.Initiate("net"))
			settled(t, a, b, soon, nil)
			for _, size := range []int{84, 1200} {
				ping, err := ref.B.Host.Ping(ref.A.Public, Ping{Count: 10, Size: size})
				Must(t, err)
				if ping.Lost() != 0 {
					t.Errorf("%v\n%s", ping, tails(a, b))
				}
			}
			transfer, err := ref.B.Host.Transfer(ref.A.Host, ref.A.Public, 1<<20)
			if err != nil || !transfer.Intact() {
				t.Errorf("%v, %v\n%s", transfer, err, tails(a, b))
			}
			// The server knows its client by the address that it sees.
			back, err := ref.A.Host.Ping(ref.B.Public, Ping{Count: 10})
			Must(t, err)
			if back.Lost() != 0 {
				t.Errorf("back: %v\n%s", back, tails(a, b))
			}
			status, err := b.Connection("site")
			Must(t, err)
			if sa := status.IKE[0].Children[0]; sa.Mode != "transport" || sa.PacketsOut < 300 {
				t.Errorf("%+v", sa)
			}
			Must(t, wire.Stop(), b.Stop(), a.Stop())
			readTransport(t, wire, b, 60)
		})
	}
}

// readTransport checks with the keys of a gateway that ESP carries ICMP and TCP without an IP header, and that nothing of them was
// sent in clear.
func readTransport(t *testing.T, wire *Capture, from *Culvert, echoes int) {
	t.Helper()
	frames, err := wire.Decode(Keys{Profile: from.Keylog()}, "ip.src", "esp.protocol")
	Must(t, err)
	icmp, tcp := 0, 0
	for _, f := range frames {
		switch {
		case f.Has("esp"):
			if !f.GoodICV || len(f.Fields["ip.src"]) != 1 {
				t.Errorf("packet %d: intact %v, IP headers of %v", f.Number, f.GoodICV, f.Fields["ip.src"])
			}
			switch next := f.Fields["esp.protocol"]; {
			case slices.Equal(next, []string{"0x01"}) || slices.Equal(next, []string{"1"}):
				icmp++
			case slices.Equal(next, []string{"0x06"}) || slices.Equal(next, []string{"6"}):
				tcp++
			default:
				t.Errorf("packet %d carries %v", f.Number, next)
			}
		case f.Has("icmp") || f.Has("tcp"):
			t.Errorf("packet %d is in clear: %v", f.Number, f.Protocols)
		}
	}
	if icmp != echoes || tcp < 300 {
		t.Errorf("%d packets of ICMP, want %d, and %d of TCP", icmp, echoes, tcp)
	}
}

// TestInteropTransportNegotiated: strongSwan asks for transport mode and agrees to it, as far as IKE goes: kernel-libipsec has
// tunnel mode only. If one of the two does not want it, the child is in tunnel mode.
func TestInteropTransportNegotiated(t *testing.T) {
	t.Parallel()
	t.Run("Culvert calls", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{B: OneToOne})
		a := NewStrongSwan(ref.A.Host, hostToHost(referenceA, "mode = transport"))
		b := NewCulvert(ref.B.Host, hostToHost(referenceB, "mode = transport"))
		Must(t, a.Start(), b.Start())
		if err := b.Initiate("net"); err == nil {
			t.Error("a child is up that strongSwan cannot install")
		}
		if log := a.Log(); !strings.Contains(log, "N(USE_TRANSP)") || !strings.Contains(log, "unsupported mode") {
			t.Errorf("strongSwan did not get as far as to install it:\n%s", tail(log))
		}
	})
	t.Run("strongSwan calls", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{B: OneToOne})
		a := NewCulvert(ref.A.Host, hostToHost(referenceA, "mode = transport"))
		b := NewStrongSwan(ref.B.Host, hostToHost(referenceB, "mode = transport"))
		Must(t, a.Start(), b.Start())
		if err := b.Initiate("net"); err == nil {
			t.Error("a child is up that strongSwan cannot install")
		}
		agreed := false
		for _, line := range strings.Split(b.Log(), "\n") {
			agreed = agreed || strings.Contains(line, "parsed IKE_AUTH response") && strings.Contains(line, "N(USE_TRANSP)")
		}
		if !agreed || !strings.Contains(b.Log(), "unsupported mode") {
			t.Errorf("strongSwan did not get as far as to install it:\n%s\n%s", tail(b.Log()), tail(a.Log()))
		}
		// What strongSwan could not install it has deleted at its peer too.
		await(t, a, func(sas []SA) bool { return len(Installed(sas, "net")) == 0 })
	})
	t.Run("only Culvert wants it", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{})
		a := NewStrongSwan(ref.A.Host, hostToHost(referenceA, ""))
		b := NewCulvert(ref.B.Host, hostToHost(referenceB, "mode = transport"))
		Must(t, a.Start(), b.Start())
		installsTunnel(t, a, b)
	})
	t.Run("only strongSwan wants it", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{})
		a := NewCulvert(ref.A.Host, hostToHost(referenceA, ""))
		b := NewStrongSwan(ref.B.Host, hostToHost(referenceB, "mode = transport"))
		Must(t, a.Start(), b.Start())
		installsTunnel(t, b, b)
	})
}

// installsTunnel has a peer call, whereupon strongSwan tries to install a child in tunnel mode. That fails too, further on: it keeps
// no route for its IKE beside one for all traffic to the same host.
func installsTunnel(t *testing.T, strong *StrongSwan, caller Peer) {
	t.Helper()
	if err := caller.Initiate("net"); err == nil {
		t.Error("a child is up that strongSwan cannot install")
	}
	if log := strong.Log(); strings.Contains(log, "unsupported mode") || !strings.Contains(log, "conflicts with IKE traffic") {
		t.Errorf("strongSwan did not install tunnel mode:\n%s", tail(log))
	}
}

// TestInteropShunts: all traffic of a site goes through the tunnel to strongSwan, save for what may pass, which arrives outside of it
// even when the daemon is gone, and for what is dropped.
//
// Cases: Ipsec.Conf.2.1.7; Ipsec.Conf.2.1.8; FCS_IPSEC_EXT.1.1 T1.
func TestInteropShunts(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	ref.Router.Route("10.104.0.0/24", "192.0.2.10") // as if it were no private network
	near, far := netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("203.0.113.254")
	shunts := `
	shunts {
		children {
			near {
				local_ts = 10.104.0.0/24
				remote_ts = 192.0.2.0/24
				mode = pass
				start_action = trap
			}
			far {
				remote_ts = 203.0.113.254[icmp]
				mode = drop
				start_action = trap
			}
		}
	}
`
	everything := []string{"10.103.0.0/24", "0.0.0.0/0"}
	a := NewStrongSwan(ref.A.Host, edit(referenceA, everything...))
	b := NewCulvert(ref.B.Host, edit(edit(referenceB, everything...), "connections {\n", "connections {\n"+shunts))
	Must(t, a.Start(), b.Start(), b.Initiate("net"))
	settled(t, a, b, soon, nil)
	ping := func(to netip.Addr) PingResult {
		t.Helper()
		result, err := ref.B.Client.Ping(to, Ping{Count: 5, Patience: 2 * time.Second})
		Must(t, err)
		return result
	}
	packets := func() uint64 {
		t.Helper()
		status, err := b.Connection("site")
		Must(t, err)
		return status.IKE[0].Children[0].PacketsOut
	}
	before := packets()
	if result := ping(near); result.Lost() != 0 || packets() != before {
		t.Errorf("what may pass: %v, %d packets in the tunnel", result, packets()-before)
	}
	if result := ping(far); result.Received != 0 || packets() != before {
		t.Errorf("what is to be dropped: %v", result)
	}
	flows(t, ref.B.Client, ref.A.Client, soon)
	if n := packets() - before; n == 0 {
		t.Error("nothing is in the tunnel")
	}
	status, err := b.Status()
	Must(t, err)
	if status.Drops["out-drop-policy"] != 5 || status.Drops["out-pass-policy"] != 0 {
		t.Errorf("%v", status.Drops)
	}
	Must(t, b.Kill())
	if result := ping(near); result.Lost() != 0 {
		t.Errorf("what may pass, without the daemon: %v", result)
	}
	if result := ping(far); result.Received != 0 {
		t.Errorf("what is to be dropped, without the daemon: %v", result)
	}
	if result := ping(ref.A.Client.Addr()); result.Received != 0 {
		t.Errorf("what belongs into the tunnel, without the daemon: %v", result)
	}
}
