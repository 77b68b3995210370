package natt

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

const spiI, spiR = 0x0102030405060708, 0x1112131415161718

// The hashes were computed with another implementation of SHA-1, over the octets of RFC 7296 2.23.
func TestHashGolden(t *testing.T) {
	for _, c := range []struct {
		spiR uint64
		addr string
		want string
	}{
		{0, "192.0.2.1:500", "644b4575455bd6fcc1efe2be8162a9218e448e5f"},
		{spiR, "192.0.2.1:500", "d798d986143f878f70765e0e869c80bbc375f701"},
		{spiR, "[2001:db8::1]:4500", "1ee24423bf8f59515e0265c6d0f08be3d038f7e5"},
		{0, "[::ffff:192.0.2.1]:500", "644b4575455bd6fcc1efe2be8162a9218e448e5f"},
	} {
		h := Hash(spiI, c.spiR, ap(c.addr))
		if got := hex.EncodeToString(h[:]); got != c.want {
			t.Errorf("%x %s: %s, want %s", c.spiR, c.addr, got, c.want)
		}
	}
}

// end is one end of an exchange: the address it believes to have, and the one the other end sees.
type end struct{ own, seen netip.AddrPort }

// detect plays one IKE_SA_INIT message from the peer to us.
func detect(us, peer end, source ...[20]byte) Situation {
	var src [][]byte
	for _, h := range source {
		src = append(src, h[:])
	}
	dst := Hash(spiI, spiR, us.seen) // the peer sends to what it sees of us
	return Detect(spiI, spiR, Path{Local: us.own, Remote: peer.seen}, src, dst[:])
}

func TestDetect(t *testing.T) {
	open := end{ap("203.0.113.1:500"), ap("203.0.113.1:500")}
	open6 := end{ap("[2001:db8::1]:500"), ap("[2001:db8::1]:500")}
	oneToOne := end{ap("172.16.0.1:500"), ap("192.0.2.10:500")}
	portOnly := end{ap("198.51.100.1:500"), ap("198.51.100.1:1024")}
	true4 := func(e end) [20]byte { return Hash(spiI, spiR, e.own) }
	forced := func(e end) [20]byte { return ForcedSource(spiI, spiR, e.own) }
	zeroAddr := func(end) [20]byte { return Hash(spiI, spiR, ap("0.0.0.0:500")) }
	other := Hash(spiI, spiR, ap("10.9.9.9:500"))
	for _, c := range []struct {
		name     string
		us, peer end
		source   [][20]byte
		want     Situation
		words    string
	}{
		{"no NAT", open, open, [][20]byte{true4(open)}, Situation{Supported: true},
			"no NAT, UDP encapsulation forced"},
		{"no NAT, IPv6", open6, open6, [][20]byte{true4(open6)}, Situation{Supported: true},
			"no NAT, UDP encapsulation forced"},
		{"we are", oneToOne, open, [][20]byte{true4(open)}, Situation{Supported: true, LocalNAT: true},
			"we are behind a NAT"},
		{"the peer is", open, oneToOne, [][20]byte{true4(oneToOne)}, Situation{Supported: true, RemoteNAT: true},
			"the peer is behind a NAT or forces UDP encapsulation"},
		{"the peer is, port alone", open, portOnly, [][20]byte{true4(portOnly)}, Situation{Supported: true, RemoteNAT: true},
			"the peer is behind a NAT or forces UDP encapsulation"},
		{"both", oneToOne, oneToOne, [][20]byte{true4(oneToOne)}, Situation{Supported: true, LocalNAT: true, RemoteNAT: true},
			"we are behind a NAT, and the peer is behind a NAT or forces UDP encapsulation"},
		{"one of several sources", open, open, [][20]byte{other, true4(open)}, Situation{Supported: true},
			"no NAT, UDP encapsulation forced"},
		{"none of several sources", open, open, [][20]byte{other, other}, Situation{Supported: true, RemoteNAT: true},
			"the peer is behind a NAT or forces UDP encapsulation"},
		{"peer forces, no NAT", open, open, [][20]byte{forced(open)}, Situation{Supported: true, RemoteForces: true},
			"no NAT, the peer forces UDP encapsulation"},
		{"peer forces, is behind a NAT", open, oneToOne, [][20]byte{forced(oneToOne)}, Situation{Supported: true, RemoteNAT: true},
			"the peer is behind a NAT or forces UDP encapsulation"},
		{"peer forces, we are behind a NAT", oneToOne, open, [][20]byte{forced(open)}, Situation{Supported: true, LocalNAT: true, RemoteForces: true},
			"we are behind a NAT, the peer forces UDP encapsulation"},
		{"peer hides", open, open, [][20]byte{zeroAddr(open)}, Situation{Supported: true, RemoteNAT: true, RemoteForces: true},
			"we are not behind a NAT, the peer forces UDP encapsulation and may be behind one"},
		{"peer hides, we are", oneToOne, open, [][20]byte{zeroAddr(open)}, Situation{Supported: true, LocalNAT: true, RemoteNAT: true, RemoteForces: true},
			"we are behind a NAT, the peer forces UDP encapsulation and may be behind one"},
		{"peer sends zeros", open, open, [][20]byte{{}}, Situation{Supported: true, RemoteNAT: true, RemoteForces: true},
			"we are not behind a NAT, the peer forces UDP encapsulation and may be behind one"},
		{"no source", open, open, nil, Situation{}, "unknown: the peer sent no NAT detection"},
	} {
		got := detect(c.us, c.peer, c.source...)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if got.String() != c.words {
			t.Errorf("%s: %q, want %q", c.name, got, c.words)
		}
	}
}

// Of a peer whose way to force encapsulation is known, nothing is in doubt.
func TestCertain(t *testing.T) {
	for words, s := range map[string]Situation{
		"the peer is behind a NAT":                               {RemoteNAT: true},
		"both we and the peer are behind a NAT":                  {LocalNAT: true, RemoteNAT: true},
		"we are behind a NAT, the peer forces UDP encapsulation": {LocalNAT: true, RemoteForces: true},
		"no NAT, the peer forces UDP encapsulation":              {RemoteForces: true},
	} {
		s.Supported, s.Certain = true, true
		if s.String() != words {
			t.Errorf("%+v: %q, want %q", s, s, words)
		}
	}
}

func TestDetectMissingAndMalformed(t *testing.T) {
	path := Path{Local: ap("203.0.113.1:500"), Remote: ap("198.51.100.1:500")}
	local, remote := Hash(spiI, spiR, path.Local), Hash(spiI, spiR, path.Remote)
	for _, c := range []struct {
		name string
		src  [][]byte
		dst  []byte
		want Situation
	}{
		{"nothing", nil, nil, Situation{}},
		{"no destination", [][]byte{remote[:]}, nil, Situation{}},
		{"no source", nil, local[:], Situation{}},
		{"short destination", [][]byte{remote[:]}, local[:19], Situation{Supported: true, LocalNAT: true}},
		{"long source", [][]byte{append(remote[:20:20], 0)}, local[:], Situation{Supported: true, RemoteNAT: true}},
		{"empty source", [][]byte{{}}, local[:], Situation{Supported: true, RemoteNAT: true}},
		{"swapped", [][]byte{local[:]}, remote[:], Situation{Supported: true, LocalNAT: true, RemoteNAT: true}},
	} {
		if got := Detect(spiI, spiR, path, c.src, c.dst); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	// The SPIs are part of it: a hash of another exchange is no proof.
	if got := Detect(spiI, spiR+1, path, [][]byte{remote[:]}, local[:]); !got.LocalNAT || !got.RemoteNAT {
		t.Errorf("other SPIs: %+v", got)
	}
}

// Whatever port the datagram seems to come from, the forced value does not match it.
func TestForcedSourceNeverMatches(t *testing.T) {
	local := ap("203.0.113.1:500")
	forced := ForcedSource(spiI, spiR, local)
	for port := 1; port <= 65535; port++ {
		if forced == Hash(spiI, spiR, netip.AddrPortFrom(local.Addr(), uint16(port))) {
			t.Fatalf("it matches port %d", port)
		}
	}
}
