package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/explain"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// strange is an IKE SA with a peer that says something, seen from behind a NAT or not.
func strange(s *script, local, remote string, nat natt.Situation) *ikeSA {
	path := natt.Path{Local: netip.AddrPortFrom(netip.MustParseAddr(local), 4500), Remote: netip.AddrPortFrom(netip.MustParseAddr(remote), 4500), NATT: true}
	return &ikeSA{end: s.Endpoint, path: path, nat: nat, proposal: testProposal(suite.IKE, testIKE)[0]}
}

// fixes are the fixes in words, with their lines.
func fixes(d *explain.Diagnosis) (list []string) {
	for _, f := range d.Fixes {
		list = append(list, f.String()+" | "+strings.Join(strings.Fields(strings.Join(f.Lines, " ")), " "))
	}
	return list
}

func TestStrangerIsExplained(t *testing.T) {
	conn := func(name, local, remote string) *Connection {
		c := &Connection{Name: name, RemoteID: testPattern(remote), Proposals: testProposal(suite.IKE, testIKE)}
		if local != "" {
			c.LocalID = testID(local)
		}
		return c
	}
	office, branch, anybody := conn("office", "@us", "@office"), conn("branch", "@us", "@branch.example.com"), conn("anybody", "@us", "%any")
	public := conn("public", "@us", "192.0.2.2")
	other := conn("other", "@us", "@other")
	other.Proposals = testProposal(suite.IKE, "aes128-sha1-modp2048")
	for _, tt := range []struct {
		name, says, calls string
		conns             []*Connection
		cause             explain.Cause
		text              string
		first             string // of the connections
		fixes             []string
	}{
		{
			"a dot at the end, and we are called otherwise", "@branch.example.com.", "@them", []*Connection{anybody, office, branch}, explain.UnknownIdentity,
			"connection branch expects @branch.example.com, and the difference is a dot at the end", "branch",
			[]string{
				"set remote.id = @branch.example.com. in connection branch | connections { branch { remote { id = @branch.example.com. } } }",
				"on the peer: set local.id = @branch.example.com | connections { branch { local { id = @branch.example.com } } }",
			},
		},
		{
			"the address behind a NAT", "172.16.0.1", "@us", []*Connection{office, branch, public}, explain.UnknownIdentity,
			"the peer is behind a NAT and presents its private address 172.16.0.1 as its identity", "public",
			[]string{
				"on the peer: set local.id = 192.0.2.2 | connections { public { local { id = 192.0.2.2 } } }",
				"set remote.id = 172.16.0.1 in connection public | connections { public { remote { id = 172.16.0.1 } } }",
			},
		},
		{
			"another identity of ours", "@office", "@them", []*Connection{branch, office}, explain.UnknownIdentity,
			"and calls us @them: connection office fits the peer, but our identity there is @us", "office",
			[]string{
				"set local.id = @them in connection office | connections { office { local { id = @them } } }",
				"on the peer: set remote.id = @us | connections { office { remote { id = @us } } }",
			},
		},
		{
			"proposals of another connection", "@other", "@us", []*Connection{office, other}, explain.NoProposal,
			"connection other is for this peer, but its proposals do not allow", "other", nil,
		},
		{
			"a wildcard", "@gw", "@us", []*Connection{conn("many", "@us", "*.example.com")}, explain.UnknownIdentity, "no connection for a peer that says it is @gw", "many",
			[]string{
				"set remote.id = @gw in connection many | connections { many { remote { id = @gw } } }",
				"on the peer: give the peer an identity that fits *.example.com | ",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScript(t, nil)
			sa := strange(s, "192.0.2.1", "192.0.2.2", natt.Situation{Supported: true, RemoteNAT: true})
			d := sa.stranger(tt.conns, &content{idi: &wire.ID{ID: testID(tt.says)}, idr: &wire.ID{ID: testID(tt.calls)}})
			if d.Cause != tt.cause || !strings.Contains(d.Text, tt.text) || len(d.Connections) == 0 || d.Connections[0] != tt.first {
				t.Errorf("%+v", d)
			}
			if got := fixes(d); tt.fixes != nil && !slices.Equal(got, tt.fixes) {
				t.Errorf("the fixes are\n%s", strings.Join(got, "\n"))
			}
			if len(d.Compared) == 0 || d.Remedy() == "" {
				t.Errorf("nothing is compared, or to be done: %+v", d)
			}
		})
	}
}

// TestOwnerOfSecretFollows: where a changed identity would lose its secret, the lines give the secret that owner too.
func TestOwnerOfSecretFollows(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Secrets = testSecrets(t, "secret", "@peer") })
	sa := strange(s, "192.0.2.1", "192.0.2.2", natt.Situation{})
	d := sa.stranger(s.cfg.Connections, &content{idi: &wire.ID{ID: testID("keyid:peer")}})
	if got := strings.Join(fixes(d), "\n"); !strings.Contains(got, "remote { id = keyid:peer } } } secrets {") || !strings.Contains(got, "id-culvert = keyid:peer") {
		t.Errorf("the fixes are\n%s", got)
	}
}

// TestRefusedBehindNAT: a caller whose identity is the address behind its NAT is told that this is the likeliest reason.
func TestRefusedBehindNAT(t *testing.T) {
	s := newScript(t, nil)
	sa := strange(s, "172.16.0.1", "192.0.2.2", natt.Situation{Supported: true, LocalNAT: true})
	sa.conn, sa.localID = s.cfg.Connections[0], testID("172.16.0.1")
	d := sa.refusal(wire.AUTHENTICATION_FAILED)
	if d.Cause != explain.PeerRefusesUs || !strings.Contains(d.Text, "we are behind a NAT and present our private address") {
		t.Errorf("%+v", d)
	}
	if got := fixes(d); !strings.HasPrefix(got[0], "set local.id to the identity that the peer has for us") || !strings.Contains(got[0], "connections { c { local { id = @c } } }") {
		t.Errorf("the fixes are\n%s", strings.Join(got, "\n"))
	}
	sa.localID = testID("@us")
	if d := sa.refusal(wire.AUTHENTICATION_FAILED); strings.Contains(d.Text, "NAT") {
		t.Errorf("a name is taken for an address: %+v", d)
	}
}

// TestForwardSecrecyAtRekey: two wishes about a key exchange of the child meet only when it is rekeyed, and that is told.
func TestForwardSecrecyAtRekey(t *testing.T) {
	s := calling(t, func(c *Config) { c.Connections[0].Children[0].Proposals = testProposal(suite.ESP, testESP+"-modp2048") })
	s.events = nil
	s.give(Rekey{Conn: "c", Child: "net"})
	h, _ := s.want("rekeys", wire.CREATE_CHILD_SA, false)
	s.answer(wire.CREATE_CHILD_SA, h.MessageID, notifyOf(wire.NO_PROPOSAL_CHOSEN)...)
	d := s.wantCause("explains", ChildFailed, explain.NoProposal, "perfect forward secrecy")
	last := d.Fixes[len(d.Fixes)-1]
	if got := strings.Join(last.Lines, " "); strings.Contains(got, "modp") || !strings.Contains(got, "esp_proposals = ") {
		t.Errorf("the last fix is %v: %s", last, got)
	}
}

func TestSelectorsAreExplained(t *testing.T) {
	for _, tt := range []struct{ local, remote, text, here string }{
		{"10.1.0.0/16", "10.9.0.0/16", "the peer's local_ts does not overlap with remote_ts of child net", "set remote_ts = 10.9.0.0/16 in child net"},
		{"10.9.0.0/16", "10.2.0.0/16", "the peer's remote_ts does not overlap with local_ts of child net", "set local_ts = 10.9.0.0/16 in child net"},
		{"10.2.0.0/16", "10.1.0.0/16", "local_ts and remote_ts exchanged", "set local_ts = 10.2.0.0/16 and remote_ts = 10.1.0.0/16 in child net"},
		{"10.8.0.0/16", "10.9.0.0/16", "neither network of child net overlaps", "set local_ts = 10.8.0.0/16 and remote_ts = 10.9.0.0/16 in child net"},
		{"10.1.0.0/16", "192.0.2.2/32", "192.0.2.2 is the peer's own address, which is what a peer asks for that has no local_ts", "set remote_ts = 192.0.2.2/32 in child net"},
	} {
		s := newScript(t, nil)
		sa := strange(s, "192.0.2.1", "192.0.2.2", natt.Situation{})
		sa.conn = s.cfg.Connections[0]
		d := sa.selectorsDiffer(&content{tsr: &wire.TS{Selectors: ts.Resolve(testSpec(tt.local))}, tsi: &wire.TS{Selectors: ts.Resolve(testSpec(tt.remote))}}, sa.conn.Children)
		if d.Cause != explain.SelectorsDiffer || !strings.Contains(d.Text, tt.text) || d.Fixes[0].Text != tt.here || d.Fixes[1].Side != explain.Peer {
			t.Errorf("%s === %s: %+v", tt.local, tt.remote, d)
		}
	}
}

// TestWeakIsTheLastResort: what only an old peer has is not the first thing to configure.
func TestWeakIsTheLastResort(t *testing.T) {
	s := newScript(t, nil)
	d := noCommonIKE(s.cfg.Connections, testProposal(suite.IKE, "aes256-sha256-modp1024"))
	if len(d.Fixes) != 2 || d.Fixes[0].Side != explain.Peer || !strings.Contains(d.Fixes[1].Text, "though") {
		t.Errorf("%+v", d.Fixes)
	}
	unknown := suite.Proposal{Protocol: suite.IKE, Transforms: []suite.Transform{{Type: suite.TypeENCR, ID: 3}, {Type: suite.TypePRF, ID: 1}, {Type: suite.TypeINTEG, ID: 1}, {Type: suite.TypeKE, ID: 2}}}
	d = noCommonIKE(s.cfg.Connections, []suite.Proposal{unknown})
	if len(d.Fixes) != 1 || d.Fixes[0].Side != explain.Peer {
		t.Errorf("what is not implemented is to be configured: %+v", d.Fixes)
	}
}

// TestStrangersAmongThousands: a flood of strangers is not searched for near misses among all, and who is meant is found all the same.
func TestStrangersAmongThousands(t *testing.T) {
	s := newScript(t, nil)
	var conns []*Connection
	name := func(i uint32) string { return fmt.Sprintf("@%08x.example.com", i*2654435761) } // none like another
	for i := range uint32(3000) {
		conns = append(conns, &Connection{Name: fmt.Sprint("c", i), LocalID: testID("@us"), RemoteID: testPattern(name(i)), Proposals: testProposal(suite.IKE, testIKE)})
	}
	sa := strange(s, "192.0.2.1", "192.0.2.2", natt.Situation{})
	explained := func(id, calls string) string {
		return sa.stranger(conns, &content{idi: &wire.ID{ID: testID(id)}, idr: &wire.ID{ID: testID(calls)}}).Connections[0]
	}
	for i := range 20 {
		near, meant := explained(name(1000)+".", "@us"), explained(name(2999), "@them")
		if i == 0 && near != "c1000" || i == 19 && near == "c1000" || meant != "c2999" {
			t.Errorf("stranger %d: the nearest are %s and %s", i, near, meant)
		}
	}
	s.pass(10 * searchInterval)
	s.give(Tick{})
	if near := explained(name(1000)+".", "@us"); near != "c1000" {
		t.Errorf("after a while: the nearest is %s", near)
	}
}
