//go:build linux

package e2e

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// loader is a daemon that takes its configuration from swanctl: strongSwan's own, or ours behind the same protocol.
type loader struct {
	t    *testing.T
	host *Host
	dir  string // seen as /run
	uri  string
}

// loaderOf has swanctl find its settings and its directory in that of the daemon.
func loaderOf(t *testing.T, h *Host, dir, socket string) loader {
	l := loader{t, h, dir, "unix:///run/" + socket}
	if _, err := os.Stat(filepath.Join(dir, "strongswan.conf")); err != nil {
		l.write("strongswan.conf", "swanctl {\n load = random openssl\n}\n")
	}
	for _, name := range []string{"x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa", "bliss", "pkcs8", "pkcs12"} {
		Must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	return l
}

func (l loader) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	Must(l.t, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
}

// said is what swanctl printed.
type said struct {
	stdout, stderr string
	failed         bool
}

// run runs the unmodified swanctl, whose directory is /run instead of /etc/swanctl.
func (l loader) run(args ...string) said {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	env := []string{"STRONGSWAN_CONF=/run/strongswan.conf", "SWANCTL_DIR=/run", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	p, err := l.host.Start(Command{Path: "/usr/sbin/swanctl", Args: append(args, "--uri", l.uri), Env: env, Run: l.dir, Stdout: &stdout, Stderr: &stderr})
	Must(l.t, err)
	err = p.Wait()
	return said{stdout.String(), stderr.String(), err != nil}
}

// swanctlLoads is a file of each kind of thing that a PSK set-up has. %s are further lines of the connection, of its child, and
// connections and secrets beside it.
const swanctlLoads = `
connections {
	site {
		version = 2
		proposals = aes256gcm16-prfsha256-x25519, default
		remote_addrs = 203.0.113.1
		dpd_delay = 15s
		local {
			auth = psk
			id = @foo
		}
		remote {
			auth = psk
			id = 203.0.113.1
		}
		children {
			net {
				local_ts = 10.104.0.0/24
				remote_ts = 10.103.0.0/24
				esp_proposals = aes256gcm16
				start_action = start
			}
		}
	}
	spare {
		local_addrs = %any
		local-1 {
			auth = psk
		}
		remote-1 {
			auth = psk
			id = *@example.org
		}
		children {
			one {
				local_ts = 10.104.7.0/24, 10.104.8.0/24
				remote_ts = dynamic[6/443]
			}
		}
		pools = spare
	}
}
pools {
	spare {
		addrs = 10.12.0.0/24
		dns = 10.104.0.53, 10.104.0.54
	}
}
secrets {
	ike-a {
		id-1 = 203.0.113.1
		secret = 0x717765727479
	}
	ike-spare {
		id = *@example.org
		secret = "0sc29tZSBvdGhlciBzZWNyZXQgb2Ygb3Vycw=="
	}
	eap-x {
		id = carol
		secret = Ar3etTnp
	}
}
authorities {
}
`

// TestSwanctlLoads has the unmodified swanctl load ordinary files into a Culvert that has none of its own, and compares each word that
// it prints with what it prints when it loads the same files into charon.
func TestSwanctlLoads(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a := NewStrongSwan(ref.A.Host, referenceA)
	b := NewCulvert(ref.B.Host, "", "--config=")
	judge := NewStrongSwan(ref.Net.Host("judge"), "")
	Must(t, a.Start(), b.Start(), judge.Start())
	ours, theirs := loaderOf(t, b.host, b.dir, "control"), loaderOf(t, judge.host, judge.dir, "charon.vici")

	// same loads a file into both.
	same := func(why, conf string, args ...string) said {
		t.Helper()
		ours.write("swanctl.conf", conf)
		theirs.write("swanctl.conf", conf)
		got, want := ours.run(args...), theirs.run(args...)
		if got != want {
			t.Errorf("%s: swanctl says of ours\n%s%s(failed: %v)\nof charon\n%s%s(failed: %v)", why, got.stdout, got.stderr, got.failed, want.stdout, want.stderr, want.failed)
		}
		return got
	}
	first := same("the first time", swanctlLoads, "--load-all", "--noprompt")
	for _, want := range []string{"loaded ike secret 'ike-a'", "loaded eap secret 'eap-x'", "loaded pool 'spare'", "loaded connection 'site'", "successfully loaded 2 connections, 0 unloaded"} {
		if !strings.Contains(first.stdout, want+"\n") {
			t.Errorf("swanctl does not say %q: %+v", want, first)
		}
	}
	now := settled(t, a, b, soon, nil)
	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err)
	stays := func(why string) {
		t.Helper()
		answers(t, pinger, 10)
		if after := settled(t, a, b, soon, nil); after.SPIi != now.SPIi || after.Children[0].SPIIn != now.Children[0].SPIIn {
			t.Errorf("%s: was %+v, is %+v", why, now, after)
		}
	}
	same("the same again", swanctlLoads, "--load-all", "--noprompt", "--clear")
	stays("the same again")
	same("with another --file", "connections {\n}\n", "--load-authorities", "--file", "/run/swanctl.conf")
	if status, err := b.Ctl("status", "--json"); err != nil || strings.Count(status, `"source": "vici"`) != 5 || strings.Contains(status, "qwerty") {
		t.Errorf("status: %v\n%s", err, status)
	}

	less := swanctlLoads[:strings.Index(swanctlLoads, "\tspare {")] + "}\npools {\n}\nsecrets {" +
		strings.SplitN(strings.SplitN(swanctlLoads, "secrets {", 2)[1], "\tike-spare", 2)[0] + "}\n"
	gone := same("with less in it", less, "--load-all", "--noprompt")
	if !strings.Contains(gone.stdout, "no pools found, 1 unloaded") || !strings.Contains(gone.stdout, "successfully loaded 1 connections, 1 unloaded") {
		t.Errorf("swanctl says %+v", gone)
	}
	stays("with less in it")
	same("secrets taken away", strings.Replace(less, "ike-a {", "ike-b {", 1), "--load-creds", "--noprompt", "--clear")
	same("and brought back", less, "--load-creds", "--noprompt")
	same("and pools", swanctlLoads, "--load-pools")
	same("and pools taken away", less, "--load-pools")
	stays("secrets and pools")

	same("in place", edit(less, "dpd_delay = 15s", "dpd_delay = 16s"), "--load-conns")
	stays("in place")

	// What both refuse is refused in the same words; ours have more to say behind these.
	for _, bad := range []struct{ old, new string }{
		{"dpd_delay", "dpd_dalay"},
		{"dpd_delay = 15s", "dpd_delay = soon"},
		{"start_action = start", "mode = nonsense"},
		{"esp_proposals = aes256gcm16", "esp_proposals = aes256nonsense"},
		{"local_ts = 10.104.0.0/24", "local_ts = nonsense"},
		{"children {", "kinder {"},
	} {
		conf := edit(less, bad.old, bad.new)
		ours.write("swanctl.conf", conf)
		theirs.write("swanctl.conf", conf)
		got, want := ours.run("--load-conns"), theirs.run("--load-conns")
		reason, _, _ := strings.Cut(want.stderr, "\n")
		if !want.failed || !got.failed || got.stdout != want.stdout || !strings.HasPrefix(got.stderr, reason) || !strings.HasSuffix(got.stderr, strings.TrimPrefix(want.stderr, reason)) {
			t.Errorf("%s: swanctl says of ours\n%+v\nof charon\n%+v", bad.new, got, want)
		}
		t.Logf("%s", strings.TrimSpace(got.stderr))
	}
	stays("what is refused changes nothing")

	rejected := vyosLoads(t, ours, theirs)
	if want := []string{"vti"}; !slices.Equal(rejected, want) {
		t.Errorf("of the file of VyOS %v are rejected, want %v", rejected, want)
	}
	if s, err := b.SAs(); err != nil || slices.ContainsFunc(s, func(sa SA) bool { return sa.Connection == "site" }) {
		t.Errorf("what is not configured any more is still up: %v, %v", s, err)
	}
	if ping := pinger.Stop(); ping.Sent < 30 {
		t.Errorf("%v", ping)
	}
}

// vyosFile is what VyOS writes: with a tunnel, with a tunnel interface, for a peer that is not known by an address, with remote access
// by pre-shared key, and a policy that lets traffic pass beside a tunnel. It writes protocols by their names; there is no /etc/protocols here.
const vyosFile = `
### Autogenerated by vpn_ipsec.py ###

connections {
    office {
        proposals = aes256-sha256-modp2048,aes128gcm128-prfsha256-ecp256
        version = 2
        local_addrs = 172.16.0.1 # dhcp:no
        remote_addrs = 203.0.113.77
        dpd_timeout = 120
        dpd_delay = 30
        rekey_time = 28800s
        mobike = no
        keyingtries = 0
        encap = yes
        local {
            id = "192.0.2.10"
            auth = psk
        }
        remote {
            id = "203.0.113.77"
            auth = psk
        }
        children {
            office-tunnel-0 {
                esp_proposals = aes256-sha256-modp2048
                life_time = 3600s
                local_ts = 10.104.0.0/24,10.104.1.0/24
                remote_ts = 10.177.0.0/24
                ipcomp = no
                mode = tunnel
                start_action = start
                dpd_action = restart
                close_action = none
                replay_window = 32
            }
            office-tunnel-0-passthrough {
                local_ts = 10.104.0.0/24
                remote_ts = 10.104.0.0/24
                start_action = trap
                mode = pass
            }
            office-tunnel-1 {
                esp_proposals = aes256-sha256-modp2048
                life_bytes = 1000000000
                life_packets = 5000000
                life_time = 3600s
                local_ts = 10.104.0.0/24[6/443]
                remote_ts = 10.178.0.0/24[6/]
                priority = 5
                ipcomp = no
                mode = tunnel
                start_action = trap
                dpd_action = clear
                close_action = trap
            }
        }
    }
    vti {
        proposals = aes256-sha256-modp2048
        version = 2
        local_addrs = 172.16.0.1 # dhcp:no
        remote_addrs = 203.0.113.78
        dpd_timeout = 120
        dpd_delay = 30
        rekey_time = 28800s
        mobike = yes
        keyingtries = 0
        local {
            auth = psk
        }
        remote {
            id = "203.0.113.78"
            auth = psk
        }
        children {
            vti-vti {
                esp_proposals = aes256-sha256-modp2048
                life_time = 3600s
                local_ts = 0.0.0.0/0,::/0
                remote_ts = 0.0.0.0/0,::/0
                updown = "/etc/ipsec.d/vti-up-down vti1"
                if_id_in = 2
                if_id_out = 2
                ipcomp = no
                mode = tunnel
                start_action = start
                dpd_action = restart
                close_action = none
            }
        }
    }
    moving {
        proposals = aes256-sha256-modp2048
        version = 0
        local_addrs = %any # dhcp:no
        remote_addrs = %any
        rekey_time = 28800s
        mobike = yes
        keyingtries = 0
        reauth_time = 0
        local {
            auth = psk
        }
        remote {
            id = "moving"
            auth = psk
        }
        children {
            moving-tunnel-1 {
                esp_proposals = aes256-sha256-modp2048
                life_time = 3600s
                rekey_bytes = 0
                rekey_packets = 0
                rekey_time = 0s
                local_ts = 10.104.0.0/24
                remote_ts = 10.179.0.0/24
                ipcomp = no
                mode = tunnel
                start_action = none
                close_action = none
            }
        }
    }
    answers {
        proposals = aes256-sha256-modp2048
        version = 2
        local_addrs = %any # dhcp:no
        remote_addrs = %any
        rekey_time = 28800s
        mobike = yes
        keyingtries = 1
        local {
            auth = psk
        }
        remote {
            id = "answers"
            auth = psk
        }
        children {
            answers-tunnel-1 {
                esp_proposals = aes256-sha256-modp2048
                life_time = 3600s
                local_ts = 10.104.0.0/24
                remote_ts = 10.180.0.0/24
                ipcomp = no
                mode = tunnel
                start_action = trap
                close_action = none
            }
        }
    }
    ra-PHONES {
        remote_addrs = %any
        local_addrs = 172.16.0.1
        proposals = aes256-sha256-modp2048
        version = 2
        send_certreq = no
        rekey_time = 28800s
        keyingtries = 0
        unique = never
        pools = PHONES
        local {
            auth = psk
            id = "gateway.example"
        }
        remote {
            auth = psk
        }
        children {
            ikev2-vpn {
                esp_proposals = aes256-sha256-modp2048
                rekey_time = 3600s
                rand_time = 540s
                dpd_action = clear
                inactivity = 28800
                local_ts = 0.0.0.0/0,::/0
            }
        }
    }
}

pools {
    PHONES {
        addrs = 10.14.0.0/24
        dns = 10.104.0.53
        split_exclude = 10.104.0.0/24
    }
}

secrets {
    ike-OFFICE {
        # ID's from auth psk <tag> id xxx
        id-1bcd2b3a-6a4a-4d9b-9b0c-4e0f7d4f1c11 = "192.0.2.10"
        id-3dfb0f6a-70d2-4c7f-8c3f-51e0a2d0c7aa = "203.0.113.77"
        id-b1d7b8f2-6a55-4a41-8f6f-94f9b0a9d0ee = "203.0.113.78"
        secret = "a secret between the offices"
    }
    ike-OTHERS {
        id-7e0f2a60-05f5-4c39-bd5f-1e4b4a1f5f5a = "moving"
        id-7e0f2a60-05f5-4c39-bd5f-1e4b4a1f5f5b = "answers"
        secret = 0sYSBzZWNyZXQgYmV0d2VlbiB0aGUgb3RoZXJz
    }
    ike_PHONES {
        id = "gateway.example"
        secret = "a secret of all the phones"
    }
}
`

// vyosLoads loads a file of VyOS into both, and returns the connections that ours rejects. For the rest swanctl says the same.
func vyosLoads(t *testing.T, ours, theirs loader) (rejected []string) {
	t.Helper()
	ours.write("vyos.conf", vyosFile)
	theirs.write("vyos.conf", vyosFile)
	got, want := ours.run("--load-all", "--noprompt", "--file", "/run/vyos.conf"), theirs.run("--load-all", "--noprompt", "--file", "/run/vyos.conf")
	if want.failed {
		t.Fatalf("charon refuses the file: %+v", want)
	}
	for line := range strings.SplitSeq(got.stderr, "\n") {
		if name, found := strings.CutPrefix(line, "loading connection '"); found {
			name, _, _ = strings.Cut(name, "'")
			rejected = append(rejected, name)
			for _, reason := range []string{"invalid value for: updown, config discarded: ", "if_id_in is not possible"} {
				if !strings.Contains(line, reason) {
					t.Errorf("swanctl says %q, without %q", line, reason)
				}
			}
		}
	}
	for line := range strings.SplitSeq(want.stdout, "\n") {
		missing := !strings.Contains(got.stdout, line+"\n") && line != "loaded connection 'vti'" && !strings.HasPrefix(line, "successfully loaded 5 connections")
		if missing {
			t.Errorf("swanctl does not say %q of ours: %+v", line, got)
		}
	}
	return rejected
}

// TestSwanctlLoadPool loads a gateway with a pool, and has a client use an address of it: neither charon nor Culvert lets go of it.
func TestSwanctlLoadPool(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	confA, confB := roadPair()
	a := NewCulvert(ref.A.Host, "", "--config=")
	b := NewStrongSwan(ref.B.Host, confB)
	Must(t, a.Start(), b.Start())
	l := loaderOf(t, a.host, a.dir, "control")
	l.write("swanctl.conf", confA)
	if s := l.run("--load-all", "--noprompt"); s.failed || s.stderr != "" {
		t.Fatalf("swanctl says %+v", s)
	}
	Must(t, b.Initiate("net"))
	if ping, err := ref.B.Host.Ping(ref.A.Client.Addr(), Ping{Count: 5, From: netip.MustParseAddr("10.11.0.1")}); err != nil || ping.Lost() != 0 {
		t.Errorf("%v, %v\n%s", ping, err, tails(a, b))
	}

	l.write("swanctl.conf", edit(confA, "10.11.0.0/24", "10.13.0.0/24"))
	const cannotReplace = "loading pool 'four' failed: vici pool four has online leases, unable to replace\nloaded 1 of 2 pools, 1 failed to load, 0 unloaded\n"
	if s := l.run("--load-pools"); !s.failed || s.stderr != cannotReplace || s.stdout != "loaded pool 'six'\n" {
		t.Errorf("swanctl says %+v", s)
	}
	l.write("swanctl.conf", "pools {\n}\n")
	s := l.run("--load-pools")
	for _, name := range []string{"four", "six"} {
		if !strings.Contains(s.stderr, "unloading pool '"+name+"' failed: "+name+" has online leases, unable to unload\n") {
			t.Errorf("swanctl says %+v", s)
		}
	}
	Must(t, b.Terminate("site"))
	if !eventually(soon, func() bool { return l.run("--load-pools").stdout == "no pools found, 2 unloaded\n" }) {
		t.Errorf("the pools stay: %+v", l.run("--load-pools"))
	}
	Must(t, b.Stop(), a.Stop())
}
