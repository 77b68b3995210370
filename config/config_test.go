package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
)

// natCase is gateway B of the case that Culvert exists for: behind a 1:1 NAT, known by name.
const natCase = `
connections {
	a {
		version = 2
		local_addrs = %any
		remote_addrs = 203.0.113.1
		local { auth = psk
			id = @foo
		}
		remote { auth = psk
			id = 203.0.113.1
		}
		children {
			net {
				local_ts = 10.104.0.0/24
				remote_ts = 10.103.0.0/24
				start_action = start
			}
		}
	}
}
secrets {
	ike-foo {
		id-1 = @foo
		secret = "J2wCgkwzOWzLr2kPsvRL1g"
	}
}
`

func mustParse(t *testing.T, text string) (*Config, []Warning) {
	t.Helper()
	c, warnings, err := Parse("f", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// conn is a file with one connection that has the given keys, and child keys in its only child.
func conn(keys, childKeys string) string {
	if !strings.HasPrefix(childKeys, "local_ts") {
		childKeys = "local_ts = 10.1.0.0/16\n" + childKeys
	}
	return `connections { c {
` + keys + `
local { auth = psk
id = @left
}
remote { auth = psk
id = @right
}
children { n {
remote_ts = 10.2.0.0/16
` + childKeys + `
} } } }
secrets { ike { secret = "J2wCgkwzOWzLr2kPsvRL1g"
} }
`
}

func TestBehindNAT(t *testing.T) {
	c, warnings := mustParse(t, natCase)
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	conn := c.Connections[0]
	id, _ := ident.Parse("@foo")
	if conn.Name != "a" || !conn.LocalID.Equal(id) || conn.RemoteHost != "203.0.113.1" || conn.LocalPort != 500 ||
		!slices.Equal(conn.RemoteAddrs, []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}) || conn.LocalAddrs != nil {
		t.Errorf("connection %+v", conn)
	}
	if conn.DPDDelay != 30*time.Second || conn.RekeyTime != 4*time.Hour || conn.OverTime != 24*time.Minute ||
		conn.RandTime != 24*time.Minute || conn.ReauthTime != 0 || conn.KeyingTries != 1 || len(conn.Proposals) == 0 {
		t.Errorf("defaults of the connection: %+v", conn)
	}
	child := conn.Children[0]
	if !child.KeepUp() || child.LocalTS[0].String() != "10.104.0.0/24" || child.Rekey.Time != time.Hour ||
		child.Life.Time != 66*time.Minute || child.Rand.Time != 6*time.Minute || child.CopyDSCP != ike.Out || len(child.Proposals) == 0 {
		t.Errorf("child %+v", child)
	}
	remote, _ := conn.RemoteID.ID()
	if found := c.Secrets.Lookup(conn.LocalID, remote); len(found) != 1 || found[0].Name() != "ike-foo" {
		t.Errorf("secrets %v", found)
	}
}

func TestDescribe(t *testing.T) {
	c, _ := mustParse(t, natCase)
	var b strings.Builder
	if err := c.Describe(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"connection a", "@foo at any address, port 500", "203.0.113.1 at 203.0.113.1", "10.104.0.0/24 <-> 10.103.0.0/24",
		"after 4h less up to 24m, closed 24m after that", "after 1h less up to 6m", "after 66m", "secret ike-foo", "of @foo"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(text, "J2wC") {
		t.Error("shows a secret")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func fragmentation(c *ike.Connection) any { return c.Fragmentation }
func childless(c *ike.Connection) any     { return c.Childless }
func mobike(c *ike.Connection) any        { return c.MOBIKE }

func TestValues(t *testing.T) {
	for _, test := range []struct {
		keys, child string
		want        string
		got         func(c *ike.Connection) any
	}{
		{"rekey_time = 1d", "", "24h0m0s 2h24m0s 2h24m0s", connTimes},
		{"rekey_time = 7200\nover_time = 0", "", "2h0m0s 0s 0s", connTimes},
		{"rekey_time = 0", "", "0s 0s 0s", connTimes},
		{"reauth_time = 10h", "", "0s 1h0m0s 1h0m0s", connTimes},
		{"reauth_time = 10h\nrekey_time = 1h", "", "1h0m0s 1h0m0s 30m0s", connTimes},
		{"rand_time = 60", "", "4h0m0s 24m0s 1m0s", connTimes},
		{"", "life_time = 3600s", "{54m0s 0 0} {1h0m0s 0 0} {6m0s 0 0}", childLimits},
		{"", "rekey_time = 0", "{0s 0 0} {0s 0 0} {0s 0 0}", childLimits},
		{"", "rekey_time = 0\nlife_time = 1h", "{0s 0 0} {1h0m0s 0 0} {0s 0 0}", childLimits},
		{"", "life_bytes = 1000\nlife_packets = 0x64", "{1h0m0s 900 90} {1h6m0s 1000 100} {6m0s 100 10}", childLimits},
		{"", "rekey_bytes = 1k\nrand_bytes = 0", "{1h0m0s 1024 0} {1h6m0s 1126 0} {6m0s 0 0}", childLimits},
		{"", "rekey_time =", "{1h0m0s 0 0} {1h6m0s 0 0} {6m0s 0 0}", childLimits},
		{"dpd_delay = 0s", "", "0s", func(c *ike.Connection) any { return c.DPDDelay }},
		{"", "", "true", func(c *ike.Connection) any { return c.CrashDetection }},
		{"crash_detection = no", "", "false", func(c *ike.Connection) any { return c.CrashDetection }},
		{"window_size = 64", "", "64", func(c *ike.Connection) any { return c.Window }},
		{"", "", "5", func(c *ike.Connection) any { return c.Window }},
		{"keyingtries = 0", "", "0", func(c *ike.Connection) any { return c.KeyingTries }},
		{"", "", "0", fragmentation},
		{"fragmentation = force", "", "0", fragmentation},
		{"", "", "true", mobike},
		{"mobike = no", "", "false", mobike},
		{"fragmentation = accept", "", "1", fragmentation},
		{"fragmentation = no", "", "2", fragmentation},
		{"", "", "0", childless},
		{"childless = allow", "", "0", childless},
		{"childless = prefer", "", "1", childless},
		{"childless = force", "", "2", childless},
		{"childless = never", "", "3", childless},
		{"unique = replace", "", "3", func(c *ike.Connection) any { return c.Unique }},
		{"local_port = 4500\nremote_port = 4501", "", "4500 4501", ports},
		{"remote_port = 4500", "", "4500 4500", ports},
		{"local_port = 500\nremote_port = 500", "", "500 500", ports},
		{"", "", "500 500", ports},
		{"", "start_action = none\nclose_action = trap\ndpd_action = clear", "0 1 0", actions},
		{"remote_addrs = gw", "start_action = trap|start\nclose_action = none\ndpd_action = restart", "2 0 2", actions},
		{"remote_addrs = 192.0.2.1", "start_action = route", "1 0 0", actions},
		{"", "replay_window = 1024", "1024", func(c *ike.Connection) any { return c.Children[0].ReplayWindow }},
		{"", "replay_window = 16", "32", func(c *ike.Connection) any { return c.Children[0].ReplayWindow }},
		{"", "copy_dscp = yes", "3", func(c *ike.Connection) any { return c.Children[0].CopyDSCP }},
		{"", "copy_dscp = no", "0", func(c *ike.Connection) any { return c.Children[0].CopyDSCP }},
		{"", "priority = 1", "1073741824", func(c *ike.Connection) any { return c.Children[0].Priority }},
		{"remote_addrs = 192.0.2.0/24, 192.0.2.7, 198.51.100.4-198.51.100.5", "", "192.0.2.7 [192.0.2.0/24 192.0.2.7/32 198.51.100.4/31]", remote},
		{"remote_addrs = 192.0.2.0/24, gw.example.com", "", "gw.example.com []", remote},
		{"remote_addrs = %any", "", " []", remote},
		{"remote_addrs = 0.0.0.0", "", " []", remote},
		{"remote_addrs = %any4, 2001:db8::1", "", "2001:db8::1 [0.0.0.0/0 2001:db8::1/128]", remote},
		{"remote_addrs = gw-1.example.com", "", "gw-1.example.com []", remote},
		{"remote_addrs = ::ffff:192.0.2.1", "", "192.0.2.1 [192.0.2.1/32]", remote},
	} {
		c, _ := mustParse(t, conn(test.keys, test.child))
		if got := fmt.Sprint(test.got(c.Connections[0])); got != test.want {
			t.Errorf("%q %q: %s, wanted %s", test.keys, test.child, got, test.want)
		}
	}
}

func connTimes(c *ike.Connection) any {
	return fmt.Sprint(c.RekeyTime, c.OverTime, c.RandTime)
}

func childLimits(c *ike.Connection) any {
	return fmt.Sprint(c.Children[0].Rekey, c.Children[0].Life, c.Children[0].Rand)
}

func actions(c *ike.Connection) any {
	child := c.Children[0]
	return fmt.Sprint(child.StartAction, " ", child.CloseAction, " ", child.DPDAction)
}

func ports(c *ike.Connection) any { return fmt.Sprint(c.LocalPort, " ", c.RemotePort) }

func remote(c *ike.Connection) any { return fmt.Sprintf("%s %v", c.RemoteHost, c.RemoteAddrs) }

// Cases: SGW.I.1.1.10.4; ikev2-algo-esn-09-replay-zero.
func TestRefused(t *testing.T) {
	for _, test := range []struct{ keys, child, want string }{
		{"version = 1", "", "f:2:11: version: Culvert speaks IKEv2 only"},
		{"version = 3", "", "no version of IKE"},
		{"verison = 2", "", `f:2:1: unknown key "verison" in connection c (did you mean "version"?)`},
		{"secrets = x", "", `unknown key "secrets"`},
		{"auth = psk", "", "it belongs in connections.<conn>.local or connections.<conn>.remote"},
		{"local = x", "", "local is a section, not a key"},
		{"local_addrs { }", "", "local_addrs is a key, not a section"},
		{"encap { }", "", "encap is a key, not a section"},
		{"childern { }", "", `did you mean "children"?`},
		{"vips = here", "", "\"here\" is not an address"},
		{"vips = 127.0.0.1", "", "127.0.0.1 cannot be the address"},
		{"pools = p", "", "there is no pool \"p\""},
		{"local2 { auth = psk\n}", "", "a second round of authentication is not possible"},
		{"mediation = yes", "", "mediation is not possible"},
		{"dpd_delay = 30x", "", `"30x" is not a time`},
		{"rekey_time = 99999d", "", "more than ten years"},
		{"rand_time = 5h", "", "must be smaller"},
		{"local_port = 70000", "", "more than 65535"},
		{"local_port = 0", "", "0 is no port"},
		{"local_port = 501", "", "f:2:14: local_port: Culvert listens on the ports 500 and 4500 only"},
		{"local_port = 4500", "", "write remote_port = 4500 as well"},
		{"local_port = 500\nremote_port = 4500", "", "what is sent to port 4500 has to leave from port 4500"},
		{"remote_adrs = 192.0.2.1", "", `did you mean "remote_addrs"?`},
		{"local_prt = 500", "", `did you mean "local_port"?`},
		{"local-1 = x", "", "local-1 is a section, not a key"},
		{"proposals = aes256-sha257-x25519", "", "f:2:13: proposals: "},
		{"proposals = ,", "", "no proposal"},
		{"remote_addrs = 10.0.0.300", "", `"10.0.0.300" is not an address`},
		{"remote_addrs = 10.0.0.2-10.0.0.1", "", "not a range"},
		{"remote_addrs = %foo", "", "not an address"},
		{"local_addrs = gw.example.com", "", "a DNS name is not possible here"},
		{"keyingtries = %forever", "", "written as 0"},
		{"unique = yes", "", `"yes" is not a policy`},
		{"childless = yes", "", "(allow, prefer, force or never)"},
		{"fragmentation = maybe", "", "(yes, accept, force or no)"},
		{"encap = maybe", "", "neither yes nor no"},
		{"", "ah_proposals = sha256", "cannot cross a NAT"},
		{"", "mode = beet", "mode beet is not implemented"},
		{"", "mode = pass\nstart_action = start", "has nothing to start"},
		{"", "local_ts = 10.1.0.0/16[icmp/2048]\nmode = pass\nstart_action = trap", "ports 1 to 65534 of TCP"},
		{"", "local_ts = 10.1.0.0/16[tcp/1024-65535]\nmode = pass\nstart_action = trap", "ports 1 to 65534 of TCP"},
		{"", "mode = tunel", "is not a mode"},
		{"", "replay_window = 0", "does not switch off replay protection"},
		{"", "replay_window = 5000", "too large"},
		{"", "updown = /bin/x", "scripts are not run"},
		{"", "if_id_in = 5", "for IPsec in the kernel"},
		{"", "tfc_padding = all", "tfc_padding"},
		{"", "life_time = 1h\nrekey_time = 1h", "must be larger than rekey_time"},
		{"", "rand_time = 2h", "must be smaller"},
		{"", "start_action = go", "not an action"},
		{"", "start_action = start", "names nobody to call"},
		{"", "local_ts = 10.0.0.0/33", "local_ts: "},
		{"", "copy_dscp = up", "no direction"},
		{"", "life_bytes = 99999999999999999999", "not a number of bytes"},
		{"", "sub { }", `unknown section "sub" in child n`},
	} {
		c, _, err := Parse("f", []byte(conn(test.keys, test.child)), Options{})
		if err == nil || c != nil {
			t.Errorf("%q %q: no error", test.keys, test.child)
		} else if errs := err.(Errors); len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want) {
			t.Errorf("%q %q: %v\nwanted only %s", test.keys, test.child, err, test.want)
		}
	}
}

// TestShunts: children with mode = pass or drop need neither peer nor secret, and are in force as in strongSwan.
func TestShunts(t *testing.T) {
	c, warnings := mustParse(t, `
connections {
	shunts {
		remote_addrs = 127.0.0.1
		children {
			lan {
				local_ts = 10.1.0.0/16
				remote_ts = 10.1.0.0/16, 10.2.0.0/16[tcp/22]
				mode = pass
				start_action = trap
			}
			bad {
				remote_ts = dynamic[tcp/25]
				mode = drop
				start_action = trap
				priority = 5
			}
			idle {
				remote_ts = 10.3.0.0/16
				mode = drop
			}
		}
	}
}
`)
	if len(c.Connections) != 0 || len(c.Shunts) != 2 {
		t.Fatalf("%d connections, %d shunts", len(c.Connections), len(c.Shunts))
	}
	lan, bad := c.Shunts[0], c.Shunts[1]
	if lan.Conn != "shunts" || lan.Name != "lan" || !lan.Pass || fmt.Sprint(lan.Local, lan.Remote) != "[10.1.0.0/16] [10.1.0.0/16 10.2.0.0/16[tcp/22]]" {
		t.Errorf("%+v", lan)
	}
	if bad.Pass || bad.Priority != maxPriority+1-5 || fmt.Sprint(bad.Local, bad.Remote) != "[0.0.0.0/0 ::/0] [0.0.0.0/0[tcp/25] ::/0[tcp/25]]" {
		t.Errorf("%+v", bad)
	}
	if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0]), "idle is never in force") {
		t.Errorf("warnings: %v", warnings)
	}
	var text strings.Builder
	if err := c.Describe(&text); err != nil || !strings.Contains(text.String(), "passes outside of all tunnels") {
		t.Errorf("%s, %v", text.String(), err)
	}

	c, _ = mustParse(t, strings.Replace(natCase, "net {", "local {\nremote_ts = 10.103.0.9\nmode = pass\nstart_action = trap\n}\nnet {", 1))
	if len(c.Connections) != 1 || len(c.Connections[0].Children) != 1 || len(c.Shunts) != 1 {
		t.Errorf("beside a tunnel: %+v", c)
	}
}

// Cases: BUG-21; VPNGW FIA_PSK_EXT.3.
func TestAccepted(t *testing.T) {
	for _, test := range []struct{ keys, child, want string }{
		{"encap = yes\nmobike = no\nfragmentation = yes\npull = yes\nmediation = no\nsend_cert = never\nif_id_in = 0", "", ""},
		{"", "ipcomp = no\nhw_offload = no\ninactivity = 0s\nreqid = 0\nmark_in = 0/0x00000000\npolicies = yes\nmode = tunnel\nlabel_mode = system", ""},
		{"encap = no", "", "UDP encapsulation is used nevertheless"},
		{"mobike = yes", "", ""},
		{"dpd_timeout = 120", "", "dpd_timeout is ignored: it is for IKEv1"},
		{"", "ipcomp = yes", "ipcomp is ignored"},
		{"", "local_ts = 10.2.0.0/16", "hosts there are on both sides"},
		{"remote_addrs = 192.0.2.1", "", "no child of connection c is started"},
		{"remote_addrs = 10.2.3.4", "start_action = start", "the peer's own address"},
		{"", "} m {\nlocal_ts = 10.1.2.0/24\nremote_ts = 10.2.0.0/16", "m of connection c claims the same traffic"},
		{"", "} m {\nlocal_ts = 10.1.2.0/24\nremote_ts = 10.2.0.0/24", ""},
		{"proposals = default, aes128-sha1-modp1024-modp2048", "", "f:2:13: warning: connection c allows modp1024: a key exchange of 1024 bits"},
		{"", "esp_proposals = aes256gcm16-modp2048s256, aes128-sha1-modp2048s256", "child n allows modp2048s256: nobody knows how its prime was chosen"},
		{"", "esp_proposals = aes256gcm16, aes256gmac", "child n allows aes256gmac: it authenticates the traffic and does not encrypt it"},
		{"proposals = aes128ctr-aesxcbc-x448, aes256ccm16-prfaescmac-x25519", "esp_proposals = aes128ccm8-x25519", ""},
		{"version = 2\nversion = 0", "", "f:2:1: warning: this is set again in line 3"},
	} {
		_, warnings := mustParse(t, conn(test.keys, test.child))
		switch {
		case test.want == "" && len(warnings) > 0:
			t.Errorf("%q %q: %v", test.keys, test.child, warnings)
		case test.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].String(), test.want)):
			t.Errorf("%q %q: %v\nwanted only %s", test.keys, test.child, warnings, test.want)
		}
	}
}

// TestAuthentication: who must prove what, and by which secret.
func TestAuthentication(t *testing.T) {
	const strong = "secret = J2wCgkwzOWzLr2kPsvRL1g\n"
	for _, test := range []struct{ name, local, remote, secrets, errors, warnings string }{
		{"by name", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { id = @b\n" + strong + "}", "", ""},
		{"no auth", "id = @a\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "section local of connection c does not say how to authenticate", ""},
		{"certificate", "auth = psk\nid = @a\n", "auth = pubkey\nid = @b\n", "ike {" + strong + "}", "authentication by certificate is not implemented", ""},
		{"EAP", "auth = eap-mschapv2\nid = @a\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "authentication by EAP", ""},
		{"unknown method", "auth = PSK\nid = @a\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "no method", ""},
		{"wanted certificate", "auth = psk\nid = @a\n", "auth = psk\nid = @b\ncacerts = x\n", "ike {" + strong + "}", "cacerts is not possible", ""},
		{"own pattern", "auth = psk\nid = *.a\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "more than one identity", "no local id"},
		{"private address", "auth = psk\nid = 10.0.0.1\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "", "private address"},
		{"no local id", "auth = psk\n", "auth = psk\nid = @b\n", "ike {" + strong + "}", "", "no local id"},
		{"no secrets", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "", "there is no secret for connection c", ""},
		{"other secrets", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { id = @x\n" + strong + "}", "no secret belongs to @a or @b", ""},
		{"near miss", "auth = psk\nid = @a\n", "auth = psk\nid = 192.0.2.1\n", "ike { id = @192.0.2.1\n" + strong + "}", "nearly matches", ""},
		{"pattern", "auth = psk\nid = @a\n", "auth = psk\nid = *.b\n", "ike { id = @x\n" + strong + "}", "", ""},
		{"weak", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret = qwerty\n}", "", "less than 16 bytes"},
		{"weak hex", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret = 0x00112233445566778899aabbccdd\n}", "", "less than 16 bytes"},
		{"repeated", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret = aaaaaaaaaaaaaaaaaaaaaaaa\n}", "", "repeats a few characters"},
		{"newline", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret = \"J2wCgkwzOWzLr2kPsvRL1g\\n\"\n}", "", "white space"},
		{"empty secret", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret =\n}", "has no secret", ""},
		{"bad hex", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { secret = 0xJ2wCgkwzOWzLr2kPsvRL1g\n}", "hex", ""},
		{"same secret", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike-1 { id = @a\n" + strong + "}\nike-2 { id = @b\n" + strong + "}", "", "hold the same secret"},
		{"same owners", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike-1 { id = @a\n" + strong + "}\nike-2 { id = @a\nsecret = K2wCgkwzOWzLr2kPsvRL1g\n}", "", "of the same identities (@a)"},
		{"other kinds", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { " + strong + "}\neap-x { id = y\nsecret = J2wC\n}", "", "section eap-x is ignored"},
		{"unknown kind", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { " + strong + "}\npsk-x { id = y\nsecret = J2wC\n}", "unknown section in secrets", ""},
		{"mistyped key", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { " + strong + "secert = J2wC\n}", `did you mean "secret"`, ""},
		{"slip of the pen", "auth = psk\nid = @a\n", "auth = psk\nid = @b\n", "ike { " + strong + "J2wCgkwzOW = x\n}", "unknown key in section ike of secrets", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := "connections { c {\nlocal {" + test.local + "}\nremote {" + test.remote + "}\nchildren { n { } }\n} }\nsecrets {\n" + test.secrets + "\n}\n"
			_, warnings, err := Parse("f", []byte(text), Options{})
			said := fmt.Sprint(warnings, err)
			if strings.Contains(said, "J2wC") || strings.Contains(said, "qwerty") || strings.Contains(said, "2233") {
				t.Errorf("a secret is shown: %s", said)
			}
			if (err == nil) != (test.errors == "") || err != nil && (len(err.(Errors)) != 1 || !strings.Contains(err.Error(), test.errors)) {
				t.Errorf("error %v, wanted only %q", err, test.errors)
			}
			if (len(warnings) == 0) != (test.warnings == "") || !strings.Contains(fmt.Sprint(warnings), test.warnings) {
				t.Errorf("warnings %v, wanted %q", warnings, test.warnings)
			}
		})
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, _, err := Parse("f", []byte("connections {\n x = y\n c {\n versoin = 2\n dpd_delay = x\n } }\n stuff { }\n {\n"), Options{})
	if n := len(err.(Errors)); n != 9 {
		t.Errorf("%d errors:\n%v", n, err)
	}
	lines := err.(Errors)
	if !slices.IsSortedFunc(lines, func(a, b Error) int { return a.Line - b.Line }) {
		t.Errorf("not in the order of the file:\n%v", err)
	}
}

func TestInheritance(t *testing.T) {
	c, warnings := mustParse(t, `
connections {
	a : base, quick {
		dpd_delay =
		children { n : net { remote_ts = 10.2.0.0/16
		} }
	}
	b : connections.a {
		version = 2
		children { n { local_ts = 10.9.0.0/16
		} }
	}
}
quick { dpd_delay = 5s
	rekey_time = 1h
	keyingtries = 3
}
base {
	keyingtries = 2
	local { auth = psk
	id = @l
	}
	remote { auth = psk
	id = @r
	}
}
net { local_ts = 10.1.0.0/16
	life_time = 2h
}
secrets { ike { secret = J2wCgkwzOWzLr2kPsvRL1g
} }
`)
	if len(warnings) > 0 {
		t.Errorf("warnings %v", warnings)
	}
	a, b := c.Connections[0], c.Connections[1]
	if a.DPDDelay != 30*time.Second {
		t.Errorf("dpd_delay = %v; an empty value must hide the inherited one", a.DPDDelay)
	}
	if a.KeyingTries != 2 || a.RekeyTime != time.Hour {
		t.Errorf("keyingtries %d, rekey_time %v; the first reference must win", a.KeyingTries, a.RekeyTime)
	}
	if n := a.Children[0]; n.LocalTS[0].String() != "10.1.0.0/16" || n.RemoteTS[0].String() != "10.2.0.0/16" {
		t.Errorf("child %+v", n)
	}
	if n := b.Children[0]; len(b.Children) != 1 || n.LocalTS[0].String() != "10.9.0.0/16" || n.RemoteTS[0].String() != "10.2.0.0/16" || n.Life.Time != 2*time.Hour {
		t.Errorf("child of b %+v", n)
	}
}

func TestInheritanceErrors(t *testing.T) {
	for text, want := range map[string]string{
		"connections { a : bas { } }\nbase { }": `f:1:19: there is no section "bas" to inherit from (did you mean "base"?)`,
		"connections { a : connections { } }":   "a section inherits from itself",
		"a : b { }\nb : a { }":                  "a section inherits from itself",
	} {
		_, _, err := Parse("f", []byte(text), Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %s", text, err, want)
		}
	}
}

// TestInheritanceCost: sections that inherit the same ones on many ways take no exponential time.
func TestInheritanceCost(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0 { x = y\n }\nb0 { x = z\n }\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d { p : a%d { }\n q : a%d { } }\nb%d { p : b%d { }\n q : b%d { } }\n", i, i-1, i-1, i, i-1, i-1)
	}
	b.WriteString("c : a59, b59 { }\n")
	if _, _, err := Parse("f", []byte(b.String()), Options{}); err == nil {
		t.Error("no error, although section c is not known")
	}
}

func write1(t *testing.T, mode os.FileMode, path ...string) {
	t.Helper()
	text, name := path[len(path)-1], filepath.Join(path[:len(path)-1]...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write1(t, 0o644, dir, "main.conf", "include conf.d/*.conf\ninclude nothing/*.conf\nconnections { c { keyingtries = 7\n include more\n } }\n")
	write1(t, 0o644, dir, "conf.d", "b.conf", "connections { c { keyingtries = 3\nrekey_time = 1h\n } }\ninclude ../other\n")
	write1(t, 0o644, dir, "more", "local { auth = psk\nid = @a\n}\nremote { auth = psk\nid = @b\n}\nchildren { n { } }\n")
	write1(t, 0o600, dir, "other", "secrets { ike { secret = J2wCgkwzOWzLr2kPsvRL1g\n } }\n")
	c, warnings, err := Load(filepath.Join(dir, "main.conf"))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if got := c.Connections[0]; got.KeyingTries != 7 || got.RekeyTime != time.Hour || len(got.Children) != 1 {
		t.Errorf("connection %+v", got)
	}
	var files []string
	for _, f := range c.Files {
		rel, _ := filepath.Rel(dir, f)
		files = append(files, filepath.ToSlash(rel))
	}
	if got := strings.Join(files, " "); got != "main.conf conf.d/b.conf other more" {
		t.Errorf("files %s", got)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "main.conf")
	secrets := "secrets { ike { secret = J2wCgkwzOWzLr2kPsvRL1g\n } }\n"
	for _, test := range []struct {
		name, text, other string
		mode              os.FileMode
		want              string
	}{
		{"secrets for all", secrets, "", 0o644, "main.conf:1:1: this file holds a secret and others than its owner may access it (mode 0644) (chmod 600 " + main + ")"},
		{"secrets for the group", secrets, "", 0o640, "mode 0640"},
		{"included secrets for all", "include other\n", secrets, 0o600, "other:1:1: this file holds a secret"},
		{"inherited secrets for all", "include other\nsecrets { ike : base { } }\n", "base { secret = J2wCgkwzOWzLr2kPsvRL1g\n}", 0o600, "other:1:1: this file holds a secret"},
		{"no such file", "include there\n", "", 0o600, "main.conf:1:9: there is no file"},
		{"bad pattern", "include [\n", "", 0o600, "malformed"},
		{"directory", "include .\n", "", 0o600, "is a directory"},
		{"loop", "include main.conf\n", "", 0o600, "main.conf:1:1: includes are nested more than 16 deep (does a file include itself?)"},
		{"many loops", "include main.conf\ninclude main.conf\n", "", 0o600, "more than 4096 files"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write1(t, test.mode, main, test.text)
			write1(t, 0o644, dir, "other", test.other)
			c, _, err := Load(main)
			if err == nil || c != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, wanted %s", err, test.want)
			}
		})
	}
	for mode, hint := range map[os.FileMode]string{0o600: "", 0o640: "", 0o660: "chmod 640 main", 0o644: "chmod 640 main", 0o650: "chmod 640 main"} {
		_, _, err := parseSource(Source{Name: "main", Text: []byte(secrets), Mode: mode, Daemons: true}, Options{})
		if (err == nil) != (hint == "") || err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("secrets for the daemon's group, mode %o: %v", mode, err)
		}
	}
	if _, _, err := Load(filepath.Join(dir, "none.conf")); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("missing file: %v", err)
	}
}

func TestParseWithoutFilesRefusesInclude(t *testing.T) {
	if _, _, err := Parse("f", []byte("include x\n"), Options{}); err == nil || !strings.Contains(err.Error(), "f:1:1: include is not possible here") {
		t.Error(err)
	}
}
