//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// made is what a subcommand of culvert makes, in a directory of the host's that it sees as /run.
type made struct {
	t    *testing.T
	host *Host
	dir  string
}

func newMade(t *testing.T, h *Host) made {
	t.Helper()
	m := made{t, h, filepath.Join(h.net.dir, h.Name+"-made")}
	Must(t, os.MkdirAll(m.dir, 0o755))
	return m
}

// culvert runs a subcommand and returns what it printed.
func (m made) culvert(args ...string) string {
	m.t.Helper()
	binary, err := buildCulvert()
	Must(m.t, err)
	out, err := m.host.Run(Command{File: binary, Args: args, Run: m.dir})
	Must(m.t, err)
	return out
}

func (m made) write(name, text string) {
	m.t.Helper()
	Must(m.t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
}

func (m made) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, name))
	Must(m.t, err)
	return string(text)
}

// agreed waits until the two gateways have one IKE SA, and in it one Child SA, that are the same at both. Connections have the names
// of the other end.
func (p *pair) agreed() {
	p.Helper()
	var sasA, sasB []SA
	ok := eventually(30*time.Second, func() bool {
		var errA, errB error
		sasA, errA = p.a.SAs()
		sasB, errB = p.b.SAs()
		if errA != nil || errB != nil || len(sasA) != 1 || len(sasB) != 1 || len(sasA[0].Children) != 1 || len(sasB[0].Children) != 1 {
			return false
		}
		a, b := sasA[0].Children[0], sasB[0].Children[0]
		return sasA[0].SPIi == sasB[0].SPIi && a.State == "INSTALLED" && b.State == "INSTALLED" && a.SPIIn == b.SPIOut && a.SPIOut == b.SPIIn
	})
	if !ok {
		p.Fatalf("the tunnel never came up:\n%+v\n%+v\n%s", sasA, sasB, tails(p.a, p.b))
	}
}

// comesUp waits for the tunnel, and sends pings from site to site.
func (p *pair) comesUp() {
	p.Helper()
	p.agreed()
	flows(p.T, p.ref.B.Client, p.ref.A.Client, 10*time.Second)
	flows(p.T, p.ref.A.Client, p.ref.B.Client, 10*time.Second)
}

// TestImportVyOS has both blocks of the reference case imported, and brings the tunnel up through the 1:1 NAT: the side behind it
// calls.
func TestImportVyOS(t *testing.T) {
	t.Parallel()
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			var confs []string
			for _, name := range []string{"reference-a", "reference-b"} {
				source, err := os.ReadFile(filepath.Join("../../convert/testdata/vyos", name+".in"))
				Must(t, err)
				m := newMade(t, ref.B.Host)
				m.write("source", string(source))
				m.culvert("import", "vyos", "/run/source", "-o", "/run/"+name)
				confs = append(confs, m.read(name))
			}
			cast.play(t, ref, confs[0], confs[1]).comesUp()
		})
	}
}

// TestImportIPsecConf moves the gateway behind the NAT from ipsec.conf to Culvert; the other one is strongSwan with the same
// tunnel in its own language.
func TestImportIPsecConf(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	m := newMade(t, ref.B.Host)
	m.write("ipsec.conf", `
config setup
	uniqueids=never

conn %default
	keyexchange=ikev2
	authby=secret
	ike=aes256gcm16-prfsha256-x25519!
	esp=aes256gcm16-x25519!
	ikelifetime=4h
	reauth=no

# The left side is the office, so this one is right.
conn office
	left=203.0.113.1
	leftid=@office
	leftsubnet=10.103.0.0/24
	right=%defaultroute
	rightid=@foo
	rightsubnet=10.104.0.0/24
	rightfirewall=yes
	dpdaction=restart
	auto=start
`)
	m.write("ipsec.secrets", `
@foo @office : PSK "a secret with # and \ and 'quotes'"
`)
	m.culvert("import", "ipsec.conf", "/run/ipsec.conf", "--secrets", "/run/ipsec.secrets", "-o", "/run/culvert.conf")
	confB := m.read("culvert.conf")
	confA := edit(referenceA, "id = 203.0.113.1", "id = @office", `"qwerty"`, `"a secret with # and \\ and 'quotes'"`)
	cast{"", strongSwan, culvert}.play(t, ref, confA, confB).comesUp()
}

// TestNewSiteToSite has the files of both ends made at the gateway behind the 1:1 NAT, and neither is changed.
func TestNewSiteToSite(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cast
		args []string
	}{
		{cast{"culvert to culvert", culvert, culvert}, []string{"--peer", "203.0.113.1"}},
		{cast{"culvert calls strongSwan", strongSwan, culvert}, []string{"--peer", "203.0.113.1", "--for", "strongswan"}},
		{cast{"both behind a NAT", culvert, culvert}, []string{"--peer", "203.0.113.1", "--peer-behind-nat"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plan := Plan{B: OneToOne}
			if len(test.args) == 3 {
				plan.A = OneToOne
			}
			ref := NewReference(t, plan)
			m := newMade(t, ref.B.Host)
			m.culvert(append([]string{"new", "site-to-site", "--name", "office", "--as", "cloud", "--here", "10.104.0.0/24",
				"--there", "10.103.0.0/24", "--both-files", "/run"}, test.args...)...)
			test.play(t, ref, m.read("culvert-office.conf"), m.read("culvert-cloud.conf")).comesUp()
		})
	}
	t.Run("strongSwan calls", func(t *testing.T) {
		t.Parallel()
		ref := NewReference(t, Plan{B: OneToOne})
		m := newMade(t, ref.A.Host)
		m.culvert("new", "site-to-site", "--name", "cloud", "--as", "office", "--here", "10.103.0.0/24", "--there", "10.104.0.0/24",
			"--public", "203.0.113.1", "--for", "strongswan", "--both-files", "/run")
		cast{"", culvert, strongSwan}.play(t, ref, m.read("culvert-office.conf"), m.read("culvert-cloud.conf")).comesUp()
	})
}

// TestNewRemoteAccess lets one client in, which gets an address and reaches the network behind the gateway.
func TestNewRemoteAccess(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	m := newMade(t, ref.A.Host)
	m.culvert("new", "remote-access", "--as", "office", "--public", "203.0.113.1", "--here", "10.103.0.0/24", "--pool", "10.11.0.0/24",
		"--client", "laptop,phone", "--both-files", "/run")
	p := cast{"", culvert, culvert}.play(t, ref, m.read("culvert-office.conf"), m.read("culvert-laptop.conf"))
	p.agreed()
	flows(t, ref.B.Host, ref.A.Client, 10*time.Second)
}
