//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestInteropRedirect has strongSwan send a Culvert that has called it to another gateway while the tunnel is up (RFC 5685 5), which protects the same site and
// has the same identity and secret. The tunnel with that one is set up before the old one is closed.
func TestInteropRedirect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		other daemon
	}{
		{"to strongSwan", strongSwan},
		{"to Culvert", culvert},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			second := ref.Net.gateway("D", "10.103.0.", "fd00:103::")
			ref.connect(second, side{"D", "198.51.100.1", "198.51.100.254", "172.18.0.", "2001:db8:d::", "2001:db8:d1::"}, Direct, nil)
			confC := strings.Replace(referenceA, "local_addrs = 203.0.113.1\n", "local_addrs = 198.51.100.1\n", 1)
			a, b, c := NewStrongSwan(ref.A.Host, referenceA), NewCulvert(ref.B.Host, referenceB), test.other(second.Host, confC)
			Must(t, a.Start(), b.Start(), c.Start(), b.Initiate("net"))
			old := settled(t, a, b, soon, nil)
			pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
			Must(t, err)
			answers(t, pinger, 20)

			_, err = a.swanctl("--redirect", "--ike", "site", "--gateway", "198.51.100.1")
			Must(t, err)
			now := settled(t, c, b, soon, nil)
			if now.SPIi == old.SPIi {
				t.Errorf("the same IKE SA: %+v", now)
			}
			if !eventually(soon, func() bool {
				sas, err := a.SAs()
				return err == nil && len(sas) == 0
			}) {
				t.Errorf("the old gateway still has an IKE SA\n%s", tails(a, b, c))
			}
			alone(t, c, b)
			answers(t, pinger, 20)
			if ping := pinger.Stop(); ping.Lost() > 1 {
				t.Errorf("%v, longest gap %d\n%s", ping, ping.LongestGap(), tails(a, b, c))
			}
			status, err := b.Ctl("status")
			Must(t, err)
			if !strings.Contains(status, "to this gateway by 203.0.113.1") {
				t.Errorf("status does not say who sent us there:\n%s", status)
			}
		})
	}
}

// TestInteropRedirectPeer has Culvert send a strongSwan that has called it to another gateway while the tunnel is up (RFC 5685 5).
func TestInteropRedirectPeer(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	second := ref.Net.gateway("D", "10.103.0.", "fd00:103::")
	ref.connect(second, side{"D", "198.51.100.1", "198.51.100.254", "172.18.0.", "2001:db8:d::", "2001:db8:d1::"}, Direct, nil)
	confC := strings.Replace(referenceA, "local_addrs = 203.0.113.1\n", "local_addrs = 198.51.100.1\n", 1)
	a, b, c := NewCulvert(ref.A.Host, referenceA), NewStrongSwan(ref.B.Host, referenceB), NewCulvert(second.Host, confC)
	Must(t, a.Start(), b.Start(), c.Start(), b.Initiate("net"))
	settled(t, a, b, soon, nil)
	if _, err := a.swanctl("--redirect", "--peer-id", "bar", "--gateway", "198.51.100.1"); err == nil {
		t.Error("somebody else was redirected")
	}
	_, err := a.swanctl("--redirect", "--peer-ip", "192.0.2.0/24", "--peer-id", "@foo", "--gateway", "198.51.100.1")
	Must(t, err)
	settled(t, c, b, soon, nil)
	if !eventually(soon, func() bool {
		sas, err := a.SAs()
		return err == nil && len(sas) == 0
	}) {
		t.Errorf("the old gateway still has an IKE SA\n%s", tails(a, b, c))
	}
}
