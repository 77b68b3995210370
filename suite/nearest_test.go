package suite

import (
	"fmt"
	"testing"
)

func proposals(t *testing.T, proto Protocol, texts ...string) (list []Proposal) {
	t.Helper()
	for _, text := range texts {
		p, err := ParseProposal(proto, text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		proto         Protocol
		offered, ours []string
		lacking       string
		here, peer    string // what would work, here and on the peer
	}{
		{IKE, []string{"aes256-sha256-modp3072"}, []string{"aes256-sha256-modp2048"}, "[KE]", "aes256-sha256-prfsha256-modp3072", "aes256-sha256-prfsha256-modp2048"},
		{IKE, []string{"aes128gcm16-prfsha256-x25519"}, []string{"aes256-sha256-x25519"}, "[ENCR]", "aes128gcm16-prfsha256-x25519", "aes256-sha256-prfsha256-x25519"},
		{IKE, []string{"aes128-sha1-modp2048", "aes256-sha512-modp4096"}, []string{"aes256-sha384-modp4096-x25519"}, "[PRF INTEG]", "aes256-sha512-prfsha512-modp4096", "aes256-sha384-prfsha384-modp4096"},
		{ESP, []string{"aes256gcm16"}, []string{"aes128-sha256"}, "[ENCR]", "aes256gcm16", "aes128-sha256"},
		{ESP, []string{"aes256gcm16-modp2048"}, []string{"aes256gcm16"}, "[KE]", "aes256gcm16-modp2048", "aes256gcm16"},
		{ESP, []string{"aes256gcm16"}, []string{"aes256gcm16-modp2048"}, "[KE]", "aes256gcm16", "aes256gcm16-modp2048"},
		{ESP, []string{"aes256gcm16-esn"}, []string{"aes256gcm16"}, "[ESN]", "aes256gcm16-esn", "aes256gcm16"},
	} {
		offered, ours := proposals(t, tt.proto, tt.offered...), proposals(t, tt.proto, tt.ours...)
		if _, _, ok := Choose(offered, ours, 0); ok {
			t.Errorf("%v and %v have a proposal in common", tt.offered, tt.ours)
		}
		offer, our, lacking, ok := Nearest(offered, ours)
		if !ok || fmt.Sprint(lacking) != tt.lacking {
			t.Errorf("%v, ours %v: lacking %v, %v, want %v", tt.offered, tt.ours, lacking, ok, tt.lacking)
		}
		here, okHere := Toward(offer, our)
		peer, okPeer := Toward(our, offer)
		if !okHere || !okPeer || here.String() != tt.here || peer.String() != tt.peer {
			t.Errorf("%v, ours %v: here %v %v, peer %v %v", tt.offered, tt.ours, here, okHere, peer, okPeer)
			continue
		}
		for _, fix := range [][2][]Proposal{{offered, {here}}, {{peer}, ours}} {
			if _, _, ok := Choose(fix[0], fix[1], 0); !ok {
				t.Errorf("%v does not go with %v", fix[0], fix[1])
			}
		}
	}
	if _, _, _, ok := Nearest(nil, Default(IKE)); ok {
		t.Error("something is near to nothing")
	}
	unknown := Proposal{Protocol: IKE, Transforms: []Transform{{Type: TypeENCR, ID: 3}, {Type: TypePRF, ID: 1}, {Type: TypeINTEG, ID: 1}, {Type: TypeKE, ID: 2}}}
	offer, our, lacking, ok := Nearest([]Proposal{unknown}, Default(IKE))
	if !ok || len(lacking) < 3 {
		t.Errorf("3DES and MD5 lack %v, %v", lacking, ok)
	}
	if p, ok := Toward(offer, our); ok {
		t.Errorf("what is not implemented is met by %v", p)
	}
}
