package inet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// syn makes a sound TCP packet with the given flags and options, whose length is a multiple of 4.
func syn(t testing.TB, is6 bool, flags byte, options string) []byte {
	t.Helper()
	opt := unhex(t, options)
	tcp := unhex(t, "8000 01bb 00000001 00000000 00 00 ffff 0000 0000")
	tcp[12], tcp[13] = byte(len(tcp)+len(opt))/4<<4, flags
	tcp = append(tcp, opt...)
	var ip []byte
	if is6 {
		ip = unhex(t, "60000000 0000 06 40"+addrs6)
		binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
	} else {
		ip = unhex(t, "45 00 0000 0000 4000 40 06 0000 0a010001 0a020002")
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
		binary.BigEndian.PutUint16(ip[10:], Checksum(ip))
	}
	pkt := append(ip, tcp...)
	binary.BigEndian.PutUint16(pkt[len(ip)+16:], tcpSum(t, pkt))
	return pkt
}

// tcpSum returns the checksum that makes the TCP segment in pkt right: 0 if it is right already.
func tcpSum(t testing.TB, pkt []byte) uint16 {
	t.Helper()
	h, err := Parse(pkt)
	if err != nil {
		t.Fatal(err)
	}
	tcp := pkt[h.Len:h.Total]
	return ^Fold(Add(AddPseudo(0, h.Src, h.Dst, ProtoTCP, len(tcp)), tcp))
}

func TestClampMSS(t *testing.T) {
	const SYN, ACK, RST = 0x02, 0x10, 0x04
	for _, c := range []struct {
		name    string
		flags   byte
		options string
		want    string // "" if nothing changes
	}{
		{"SYN", SYN, "020405b4", "02040500"},
		{"SYN ACK", SYN | ACK, "020405b4", "02040500"},
		{"ACK", ACK, "020405b4", ""},
		{"RST", RST, "020405b4", ""},
		{"equal", SYN, "02040500", ""},
		{"lower", SYN, "020404ff", ""},
		{"no options", SYN, "", ""},
		{"no MSS", SYN, "01 01 04 02", ""},
		{"odd offset", SYN, "01 020405b4 010101", "01 02040500 010101"},
		{"after others", SYN, "0402 080a 0000000100000000 020405b4", "0402 080a 0000000100000000 02040500"},
		{"twice", SYN, "020405b4 0204ffff", "02040500 02040500"},
		{"behind the end of options", SYN, "00 00 00 00 020405b4", ""},
		{"of wrong length 3", SYN, "0203ff 01 01010101", ""},
		{"of wrong length 6", SYN, "0206ffffffff 0101", ""},
		{"cut by the header's end", SYN, "01 01 02 04", ""},
		{"kind alone at the end", SYN, "01 01 01 02", ""},
		{"option of length 0", SYN, "0300 0101 020405b4", ""},
		{"option of length 1", SYN, "0301 0101 020405b4", ""},
		{"option longer than the header", SYN, "03ff 0101 020405b4", ""},
	} {
		for _, is6 := range []bool{false, true} {
			pkt := syn(t, is6, c.flags, c.options)
			want := bytes.Clone(pkt)
			if c.want != "" {
				want = syn(t, is6, c.flags, c.want)
			}
			pkt = append(pkt, 0xee) // octets behind the packet are none of its
			if got := ClampMSS(pkt, 0x0500); got != (c.want != "") {
				t.Errorf("%s, IPv6 %v: changed = %v", c.name, is6, got)
			}
			if !bytes.Equal(pkt[:len(pkt)-1], want) || pkt[len(pkt)-1] != 0xee {
				t.Errorf("%s, IPv6 %v:\n%x, want\n%x", c.name, is6, pkt, want)
			}
		}
	}
}

func TestClampMSSLeavesOthers(t *testing.T) {
	mend := func(name string, f func(pkt []byte) []byte) {
		pkt := f(syn(t, false, 0x02, "020405b4"))
		want := bytes.Clone(pkt)
		if ClampMSS(pkt, 100) || !bytes.Equal(pkt, want) {
			t.Errorf("%s is changed", name)
		}
	}
	mend("UDP", func(p []byte) []byte { p[9] = ProtoUDP; return p })
	mend("a later fragment", func(p []byte) []byte { p[7] = 2; return p })
	mend("a data offset below 5", func(p []byte) []byte { p[32] = 0x40; return p })
	mend("a data offset beyond the packet", func(p []byte) []byte { p[32] = 0x70; return p })
	mend("nothing", func(p []byte) []byte { return nil })
	for n := range 44 {
		mend(fmt.Sprintf("a packet cut to %d octets", n), func(p []byte) []byte { return p[:n] })
		if n >= 20 {
			mend(fmt.Sprintf("a packet of %d octets", n), func(p []byte) []byte { p[3] = byte(n); return p })
		}
	}
}

// The checksum stays right whatever value goes, comes, and wherever it stands.
func TestClampMSSChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 5000 {
		nops, from := r.IntN(4), r.IntN(65536)
		options := fmt.Sprintf("%.*s 0204%04x %.*s", 2*nops, "010101", from, 2*(4-nops), "01010101")
		pkt := syn(t, r.IntN(2) == 0, 0x02, options)
		to := uint16(r.IntN(65536))
		if got := ClampMSS(pkt, to); got != (from > int(to)) {
			t.Fatalf("%d to %d: changed = %v", from, to, got)
		}
		if sum := tcpSum(t, pkt); sum != 0 {
			t.Fatalf("%d to %d, %d no-ops: the checksum is off by %04x", from, to, nops, sum)
		}
	}
}

func TestMSS(t *testing.T) {
	for _, c := range []struct {
		mtu  int
		is6  bool
		want uint16
	}{{1500, false, 1460}, {1500, true, 1440}, {1400, false, 1360}, {0, false, 536}, {-5, true, 536}, {1 << 20, false, 65535}} {
		if got := MSS(c.mtu, c.is6); got != c.want {
			t.Errorf("MSS(%d, %v) = %d, want %d", c.mtu, c.is6, got, c.want)
		}
	}
}

func FuzzClampMSS(f *testing.F) {
	for _, options := range []string{"020405b4", "01020405b4010101", "020405b40204ffff", "0300010102040500", "01010102"} {
		f.Add(syn(f, false, 0x02, options), uint16(1000))
		f.Add(syn(f, true, 0x12, options), uint16(1000))
	}
	f.Fuzz(func(t *testing.T, pkt []byte, mss uint16) {
		before := bytes.Clone(pkt)
		changed := ClampMSS(pkt, mss)
		if changed == bytes.Equal(pkt, before) {
			t.Fatalf("changed = %v: %x, was %x", changed, pkt, before)
		}
		if !changed {
			return
		}
		copyOf := bytes.Clone(pkt)
		if ClampMSS(pkt, mss) || !bytes.Equal(pkt, copyOf) {
			t.Fatal("clamped twice")
		}
		was, is := tcpSum(t, before), tcpSum(t, pkt)
		if was != is && !(was^is == 0xffff && (was == 0 || is == 0)) {
			t.Fatalf("the checksum was off by %04x and is by %04x", was, is)
		}
	})
}
