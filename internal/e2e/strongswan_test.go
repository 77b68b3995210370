//go:build linux

package e2e

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The reference case: A knows B only as @foo, B knows A by its address, and neither needs to know B's addresses.
const (
	referenceA = `
connections {
	site {
		version = 2
		proposals = aes256gcm16-prfsha256-x25519
		local_addrs = 203.0.113.1
		local {
			auth = psk
			id = 203.0.113.1
		}
		remote {
			auth = psk
			id = @foo
		}
		children {
			net {
				local_ts = 10.103.0.0/24
				remote_ts = 10.104.0.0/24
				esp_proposals = aes256gcm16
			}
		}
	}
}
secrets {
	ike-foo {
		id-1 = @foo
		secret = "qwerty"
	}
}
`
	referenceB = `
connections {
	site {
		version = 2
		proposals = aes256gcm16-prfsha256-x25519
		remote_addrs = 203.0.113.1
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
			}
		}
	}
}
secrets {
	ike-a {
		id-1 = 203.0.113.1
		secret = "qwerty"
	}
}
`
)

// logKeys makes charon write key material into its log.
const logKeys = "filelog { run { ike = 4\n chd = 4 } }"

func TestStrongSwanPair(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	wire := ref.Net.Capture(ref.A.Uplink)
	var a, b Peer = NewStrongSwan(ref.A.Host, referenceA), NewStrongSwan(ref.B.Host, referenceB, logKeys)
	Must(t, a.Start(), b.Start(), b.Initiate("net"))

	ping, err := ref.A.Client.Ping(ref.B.Client.Addr(), Ping{Count: 50})
	Must(t, err)
	if ping.Lost() != 0 {
		t.Errorf("%v\n%s", ping, b.Log())
	}
	transfer, err := ref.B.Client.Transfer(ref.A.Client, ref.A.Client.Addr(), 1<<20)
	Must(t, err)
	if transfer.Bytes != 1<<20 || !transfer.Intact() {
		t.Errorf("%v", transfer)
	}

	saA, saB := onlySA(t, a), onlySA(t, b)
	if saA.SPIi != saB.SPIi || saA.SPIr != saB.SPIr || saA.Initiator || !saB.Initiator {
		t.Errorf("the peers disagree on the IKE SA:\n%+v\n%+v", saA, saB)
	}
	if saA.Remote.Addr() != ref.B.Public || saB.Local.Addr() != ref.B.Local || saA.RemoteID != "foo" || !saB.LocalNAT {
		t.Errorf("the peers do not see the NAT:\n%+v\n%+v", saA, saB)
	}
	childA, childB := saA.Children[0], saB.Children[0]
	if childA.SPIIn != childB.SPIOut || childA.SPIOut != childB.SPIIn || !childA.UDP || childA.PacketsIn < 50 ||
		!slices.Equal(childA.LocalTS, []string{"10.103.0.0/24"}) || !slices.Equal(childB.LocalTS, []string{"10.104.0.0/24"}) {
		t.Errorf("the peers disagree on the Child SA:\n%+v\n%+v", childA, childB)
	}
	keys := keysFromLog(t, b.Log(), saB)
	Must(t, b.Terminate("site"))
	for _, p := range []Peer{a, b} {
		if sas, err := p.SAs(); err != nil || len(sas) != 0 {
			t.Errorf("after the end: %+v, %v", sas, err)
		}
	}
	Must(t, a.Stop(), b.Stop(), wire.Stop())
	checkWire(t, wire, keys)
}

// checkWire looks at the packets through tshark: with the keys everything is intact and can be read, without them
// nothing can, and with wrong ones every packet is refused.
func checkWire(t *testing.T, wire *Capture, keys Keys) {
	t.Helper()
	decrypted := func(f Frame) bool {
		return len(f.Fields["isakmp.enc.decrypted"])+len(f.Fields["icmp.seq"])+len(f.Fields["tcp.len"]) > 0
	}
	frames, err := wire.Decode(keys, "isakmp.exchangetype", "isakmp.enc.decrypted", "icmp.seq", "tcp.len")
	Must(t, err)
	ike := frames.Count(func(f Frame) bool { return f.Has("isakmp") && f.Fields["isakmp.enc.decrypted"] != nil })
	esp := frames.Count(func(f Frame) bool { return f.Has("esp") })
	good := frames.Count(func(f Frame) bool { return f.GoodICV })
	bad := frames.Count(func(f Frame) bool { return f.BadICV || f.Malformed })
	echo := frames.Count(func(f Frame) bool { return f.Has("esp") && f.Has("icmp") })
	if ike < 4 || esp < 100 || good != esp || bad != 0 || echo != 100 {
		t.Errorf("%d packets: %d of IKE decrypted, %d ESP of which %d intact and %d echo; %d bad or malformed",
			len(frames), ike, esp, good, echo, bad)
	}

	frames, err = wire.Decode(Keys{}, "isakmp.enc.decrypted", "icmp.seq", "tcp.len")
	Must(t, err)
	if n := frames.Count(decrypted); n != 0 {
		t.Errorf("%d packets can be read without keys", n)
	}

	for _, k := range keys.IKE {
		k.SKei[0] ^= 1
		k.SKer[0] ^= 1
	}
	for _, k := range keys.ESP {
		k.EncrKey[0] ^= 1
	}
	frames, err = wire.Decode(keys)
	Must(t, err)
	if n := frames.Count(func(f Frame) bool { return f.GoodICV }); n != 0 {
		t.Errorf("of %d packets of ESP %d are intact with a wrong key", esp, n)
	}
	if n := frames.Count(func(f Frame) bool { return f.Has("isakmp") && f.BadICV }); n != ike {
		t.Errorf("of %d encrypted messages of IKE %d are refused with a wrong key", ike, n)
	}
}

// TestStrongSwanRekey rekeys both kinds of SA while a ping goes on.
func TestStrongSwanRekey(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{A: OneToOne, B: OneToOne})
	local := strings.ReplaceAll(referenceA, "local_addrs = 203.0.113.1", "local_addrs = %any")
	var a, b Peer = NewStrongSwan(ref.A.Host, local), NewStrongSwan(ref.B.Host, referenceB)
	Must(t, a.Start(), b.Start(), b.Initiate("net"))
	first := onlySA(t, b)
	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err, b.RekeyChild("net"))
	await(t, a, func(sas []SA) bool {
		children := Installed(sas, "net")
		return len(children) == 1 && children[0].SPIOut != first.Children[0].SPIIn
	})
	Must(t, a.RekeyIKE("site"))
	await(t, b, func(sas []SA) bool {
		established := Established(sas, "site")
		return len(established) == 1 && len(sas) == 1 && established[0].SPIi != first.SPIi
	})
	if ping := pinger.Stop(); ping.Lost() != 0 || ping.Sent == 0 {
		t.Errorf("%v over the rekeying", ping)
	}
}

// TestStrongSwanIPv6 carries IPv4 over IPv6.
func TestStrongSwanIPv6(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{})
	outer := strings.NewReplacer("203.0.113.1", ref.A.Local6.String())
	var a, b Peer = NewStrongSwan(ref.A.Host, outer.Replace(referenceA)), NewStrongSwan(ref.B.Host, outer.Replace(referenceB))
	Must(t, a.Start(), b.Start(), b.Initiate("net"))
	ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 10})
	if err != nil || ping.Lost() != 0 {
		t.Errorf("%v, %v\n%s", ping, err, b.Log())
	}
}

// TestStrongSwanWrongSecret must fail, and say so, and be mended by a new configuration; and a killed charon must
// start again.
func TestStrongSwanWrongSecret(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a := NewStrongSwan(ref.A.Host, referenceA)
	b := NewStrongSwan(ref.B.Host, strings.ReplaceAll(referenceB, "qwerty", "qwertz"))
	Must(t, a.Start(), b.Start())
	if err := b.Initiate("net"); err == nil || !strings.Contains(a.Log(), "MAC mismatched") {
		t.Fatalf("with a wrong secret: %v\n%s", err, a.Log())
	}
	Must(t, a.Kill(), a.Start(), b.Configure(referenceB), b.Initiate("net"))
	onlySA(t, b)
}

// await asks the peer for its SAs until they are as wanted.
func await(t *testing.T, p Peer, wanted func([]SA) bool) {
	t.Helper()
	awaitFor(t, p, 30*time.Second, wanted)
}

func awaitFor(t *testing.T, p Peer, limit time.Duration, wanted func([]SA) bool) {
	t.Helper()
	var sas []SA
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		sas, err = p.SAs()
		Must(t, err)
		if wanted(sas) {
			return
		}
	}
	t.Fatalf("it never came to that: %+v\n%s", sas, p.Log())
}

// onlySA is the peer's one IKE SA, with one Child SA.
func onlySA(t *testing.T, p Peer) SA {
	t.Helper()
	sas, err := p.SAs()
	Must(t, err)
	if len(sas) != 1 || len(Established(sas, "site")) != 1 || len(Installed(sas, "net")) != 1 {
		t.Fatalf("want one IKE SA and one Child SA, have %+v\n%s", sas, p.Log())
	}
	return sas[0]
}

// number is the value of a numeric field, 0 if the packet lacks it.
func (f Frame) number(t *testing.T, field string) int {
	t.Helper()
	values := f.Fields[field]
	if len(values) == 0 {
		return 0
	}
	n, err := strconv.Atoi(values[0])
	Must(t, err)
	return n
}

// keysFromLog finds the keys of an initiator's first SAs in the log that logKeys asks for.
func keysFromLog(t *testing.T, log string, sa SA) Keys {
	t.Helper()
	dump := func(label string) (key []byte) {
		at := strings.Index(log, label+" => ")
		if at < 0 {
			t.Fatalf("the log has no %s", label)
		}
		row := regexp.MustCompile(`^\S+ \S+ +(\d+): ((?:[0-9A-F]{2} )+)`)
		for _, line := range strings.Split(log[at:], "\n")[1:] {
			m := row.FindStringSubmatch(line)
			if m == nil || m[1] != fmt.Sprint(len(key)) {
				break
			}
			b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
			Must(t, err)
			key = append(key, b...)
		}
		return key
	}
	const encr = "AES_GCM_16-256"
	child := sa.Children[0]
	return Keys{
		IKE: []IKEKeys{{SPIi: sa.SPIi, SPIr: sa.SPIr, Encr: encr, SKei: dump("Sk_ei secret"), SKer: dump("Sk_er secret")}},
		ESP: []ESPKeys{
			{SPI: child.SPIOut, Encr: encr, EncrKey: dump("encryption initiator key")},
			{SPI: child.SPIIn, Encr: encr, EncrKey: dump("encryption responder key")},
		},
	}
}
