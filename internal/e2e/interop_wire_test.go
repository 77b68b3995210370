//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInteropWire lets tshark, with the keys that Culvert wrote for it, read all that crosses the wire while a tunnel is
// set up, used, rekeyed from both sides, and closed.
//
// Cases: SGW.I.1.1.1.1 A-D; SGW.I.1.1.1.2 A-H; Ipsec.Conf.2.1.3.
func TestInteropWire(t *testing.T) {
	t.Parallel()
	for _, suite := range []struct{ name, ike, esp string }{
		{"AEAD", "aes256gcm16-prfsha256-x25519", "aes256gcm16-ecp256"},
		{"CBC and HMAC", "aes128-sha256-prfsha256-x25519", "aes256-sha512-ecp256"},
	} {
		change := func(conf string) string {
			return edit(conf, "aes256gcm16-prfsha256-x25519", suite.ike, "esp_proposals = aes256gcm16", "esp_proposals = "+suite.esp)
		}
		for _, cast := range casts {
			t.Run(suite.name+"/"+cast.name, func(t *testing.T) {
				t.Parallel()
				ref := NewReference(t, Plan{B: OneToOne})
				wire := ref.Net.Capture(ref.A.Uplink)
				p := cast.play(t, ref, change(referenceA), change(referenceB))
				echoes := p.calls()[1].lifeOfATunnel()
				// A daemon that has ended protects nothing any more, and TCP may have something to repeat.
				Must(t, wire.Stop(), p.a.Stop(), p.b.Stop())
				_, guarded := p.a.(*Culvert)
				for _, peer := range []Peer{p.a, p.b} {
					if gateway, ok := peer.(*Culvert); ok {
						readWire(t, wire, gateway, echoes, guarded)
					}
				}
			})
		}
	}
}

// What happens in the life of that tunnel.
const (
	childRekeys = 2
	ikeRekeys   = 2
)

// lifeOfATunnel sets the tunnel up and closes it after everything was rekeyed from either side. It returns how many echo
// requests it took.
func (c call) lifeOfATunnel() (echoes int) {
	c.Helper()
	saA, _ := c.up("site", "net")
	ping := func() {
		c.Helper()
		c.ping(20)
		echoes += 20
	}
	ping()
	for _, by := range []Peer{c.a, c.b} {
		spi := saA.Children[0].SPIIn
		Must(c.T, by.RekeyChild("net"))
		await(c.T, c.a, func(sas []SA) bool {
			children := Installed(sas, "net")
			return len(children) == 1 && children[0].SPIIn != spi
		})
		saA, _ = c.agree("site", "net")
		ping()
	}
	for _, by := range []Peer{c.b, c.a} {
		spi := saA.SPIi
		Must(c.T, by.RekeyIKE("site"))
		await(c.T, c.a, func(sas []SA) bool {
			established := Established(sas, "site")
			return len(established) == 1 && len(sas) == 1 && established[0].SPIi != spi
		})
		saA, _ = c.agree("site", "net")
		ping()
	}
	transfer, err := c.ref.B.Client.Transfer(c.ref.A.Client, c.ref.A.Client.Addr(), 1<<18)
	if err != nil || !transfer.Intact() {
		c.fail("%v, %v", transfer, err)
	}
	c.down(c.a, "site")
	return echoes
}

// readWire reads the packets with the keys of one gateway. guarded: A lets nothing out in clear when the tunnel is down.
func readWire(t *testing.T, wire *Capture, from *Culvert, echoes int, guarded bool) {
	t.Helper()
	for _, table := range []string{"ikev2_decryption_table", "esp_sa"} {
		if info, err := os.Stat(filepath.Join(from.Keylog(), table)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", table, info, err)
		}
	}
	frames, err := wire.Decode(Keys{Profile: from.Keylog()},
		"isakmp.exchangetype", "isakmp.ispi", "isakmp.enc.decrypted", "esp.spi", "ip.src")
	Must(t, err)
	exchanges, esp, good, echo := map[string]int{}, 0, 0, 0
	var ikeSAs, espSAs []string
	for _, f := range frames {
		if f.Malformed || f.BadICV {
			t.Errorf("packet %d is malformed: %v, or not intact: %v", f.Number, f.Malformed, f.BadICV)
		}
		switch {
		case f.Has("isakmp"):
			exchange := f.Fields["isakmp.exchangetype"][0]
			exchanges[exchange]++
			ikeSAs = append(ikeSAs, f.Fields["isakmp.ispi"][0])
			if exchange != "34" && f.Fields["isakmp.enc.decrypted"] == nil {
				t.Errorf("packet %d, of exchange %s, cannot be decrypted", f.Number, exchange)
			}
		case f.Has("esp"):
			esp++
			if !f.Has("udp") {
				t.Errorf("packet %d is ESP that is not in UDP", f.Number)
			}
			if f.GoodICV {
				good++
			}
			if f.Has("icmp") {
				echo++
			}
			espSAs = append(espSAs, f.Fields["esp.spi"][0])
		case guarded && slices.ContainsFunc(f.Fields["ip.src"], func(a string) bool { return strings.HasPrefix(a, "10.") }):
			t.Errorf("packet %d is in clear: %v from %v", f.Number, f.Protocols, f.Fields["ip.src"])
		}
	}
	count := func(list []string) int { slices.Sort(list); return len(slices.Compact(list)) }
	if n := count(ikeSAs); n != 1+ikeRekeys {
		t.Errorf("%d IKE SAs on the wire, want %d", n, 1+ikeRekeys)
	}
	if n := count(espSAs); n != 2*(1+childRekeys) {
		t.Errorf("%d SPIs of ESP on the wire, want %d", n, 2*(1+childRekeys))
	}
	// A message may have been sent twice; each request has an answer.
	rekeys := childRekeys + ikeRekeys
	if exchanges["34"] < 2 || exchanges["35"] < 2 || exchanges["36"] < 2*rekeys || exchanges["37"] < 2*(rekeys+1) {
		t.Errorf("exchanges by type: %v", exchanges)
	}
	if good != esp || echo != 2*echoes || esp < 2*echoes+100 {
		t.Errorf("%d packets of ESP, %d intact, %d echo; want all intact, %d echo and a transfer", esp, good, echo, 2*echoes)
	}
}
