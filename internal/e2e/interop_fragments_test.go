//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// manyProposals take more than a packet of 1280 bytes to offer, and differ in more than their key exchange.
func manyProposals() string {
	var list []string
	for _, integ := range []string{"sha256", "sha384", "sha512", "sha256-sha384-sha512"} {
		for _, encr := range []string{"aes128", "aes192", "aes256", "aes128-aes192", "aes128-aes256", "aes192-aes256", "aes128-aes192-aes256"} {
			list = append(list, encr+"-"+integ+"-x25519-ecp256")
		}
	}
	return strings.Join(list, ", ")
}

// inSmallPieces is strongSwan with fragments of 600 bytes.
func inSmallPieces(h *Host, conf string) Peer { return NewStrongSwan(h, conf, "fragment_size = 600") }

// TestInteropFragments offers more than fits in a packet, over a path that loses longer ones without a word: only IKE
// fragments cross it (RFC 7383).
func TestInteropFragments(t *testing.T) {
	t.Parallel()
	change := func(conf string) string {
		return edit(conf, "esp_proposals = aes256gcm16", "esp_proposals = "+manyProposals())
	}
	for _, cast := range []cast{
		{"culvert to strongSwan", culvert, inSmallPieces},
		{"strongSwan to culvert", inSmallPieces, culvert},
		{"culvert to culvert", culvert, culvert},
	} {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{})
			ref.Router.Drop("meta length > 1280")
			ref.Router.DropICMP()
			confA := edit(change(referenceA), "local_addrs = 203.0.113.1", "local_addrs = %any\nremote_addrs = 192.0.2.10")
			wire := ref.Net.Capture(ref.A.Uplink)
			p := cast.play(t, ref, confA, change(referenceB))
			for _, call := range p.calls() {
				call.up("site", "net")
				call.ping(3)
				for _, by := range []Peer{call.a, call.b} {
					saA, _ := call.agree("site", "net")
					spi := saA.Children[0].SPIIn
					Must(t, by.RekeyChild("net"))
					await(t, call.a, func(sas []SA) bool {
						children := Installed(sas, "net")
						return len(children) == 1 && children[0].SPIIn != spi
					})
				}
				call.agree("site", "net")
				call.ping(3)
				call.down(call.responder, "site")
			}
			Must(t, wire.Stop())
			readFragments(t, wire, p)
		})
	}
}

// readFragments checks how large messages crossed the wire: in several packets from either side, none of them too large, and
// together more than one packet holds.
func readFragments(t *testing.T, wire *Capture, p *pair) {
	t.Helper()
	frames, err := wire.Decode(Keys{}, "ip.src", "ip.len", "isakmp.exchangetype", "isakmp.frag.number", "isakmp.frag.total")
	Must(t, err)
	pieces, bytes := map[string]int{}, map[string]int{} // by sender and exchange
	for _, f := range frames {
		if !f.Has("isakmp") {
			continue
		}
		size, total := f.number(t, "ip.len"), f.number(t, "isakmp.frag.total")
		from := f.Fields["ip.src"][0]
		sender := p.a
		if from == p.ref.B.Public.String() {
			sender = p.b
		}
		most := 1280
		if _, strong := sender.(*StrongSwan); strong && total > 0 {
			most = 600
		}
		if size > most {
			t.Errorf("packet %d from %s has %d bytes", f.Number, from, size)
		}
		if total > 1 {
			key := fmt.Sprintf("%s, exchange %s", from, f.Fields["isakmp.exchangetype"][0])
			pieces[key]++
			bytes[key] += size
		}
	}
	for _, from := range []string{p.ref.A.Public.String(), p.ref.B.Public.String()} {
		for _, exchange := range []string{"35", "36"} { // IKE_AUTH, CREATE_CHILD_SA
			key := fmt.Sprintf("%s, exchange %s", from, exchange)
			if pieces[key] < 2 || bytes[key] <= 1280 {
				t.Errorf("from %s: %d fragments of %d bytes in all", key, pieces[key], bytes[key])
			}
		}
	}
}
