package inet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The header that is put in front of what came in transport mode, byte by byte.
func TestAppendHeader(t *testing.T) {
	for _, c := range []struct{ name, src, dst, want string }{
		{"IPv4", "192.0.2.1", "198.51.100.7", "45" + "b8" + "001c" + "0000" + "4000" + "40" + "11" + "4ddd" + "c0000201" + "c6336407"},
		{"IPv6", "2001:db8::1", "2001:db8::2", "6b800000" + "0008" + "11" + "40" +
			"20010db8000000000000000000000001" + "20010db8000000000000000000000002"},
	} {
		src, dst := netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst)
		got := AppendHeader([]byte("before"), src, dst, ProtoUDP, 0xb8, 8)
		if hex.EncodeToString(got[6:]) != c.want {
			t.Errorf("%s: %x\nwant %s", c.name, got[6:], c.want)
		}
		h, err := Parse(append(got[6:], make([]byte, 8)...))
		if err != nil || h.Src != src || h.Dst != dst || h.Protocol != ProtoUDP || h.TOS != 0xb8 || h.Total-h.Len != 8 || !h.DontFragment {
			t.Errorf("%s is read as %+v, %v", c.name, h, err)
		}
		if src.Is4() && Checksum(got[6:26]) != 0 {
			t.Error("the checksum of the IPv4 header is wrong")
		}
	}
}

// message is a message of a protocol with a right checksum between two addresses.
func message(protocol byte, src, dst netip.Addr, data []byte) []byte {
	at, _ := addressedChecksum(protocol)
	b := append(make([]byte, at+2), data...)
	sum := ^Fold(Add(AddPseudo(0, src, dst, protocol, len(b)), b))
	if protocol == ProtoUDP && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
	return b
}

// RFC 3948 3.1.2: after a NAT has changed addresses, checksums are right again; those that were wrong stay wrong, and those
// that are no checksums stay as they are.
func TestReaddressing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	addr := func(v6 bool) netip.Addr {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if v6 {
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte(b[:]))
	}
	for i := range 20_000 {
		v6 := i%2 == 1
		src, dst, newSrc, newDst := addr(v6), addr(v6), addr(v6), addr(v6)
		if i%3 == 0 {
			newDst = dst // one NAT
		}
		mend := NewReaddressing(src, dst, newSrc, newDst)
		for _, protocol := range []byte{ProtoTCP, ProtoUDP, ProtoICMPv6, 33, 136} {
			data := make([]byte, r.IntN(9))
			for k := range data {
				data[k] = byte(r.Uint32())
			}
			b := message(protocol, src, dst, data)
			mend.Mend(protocol, b)
			if !bytes.Equal(b, message(protocol, newSrc, newDst, data)) {
				t.Fatalf("protocol %d from %v to %v, now %v to %v: %x", protocol, src, dst, newSrc, newDst, b)
			}
			b = message(protocol, src, dst, data)
			b[0] ^= 1
			wrong := bytes.Clone(b)
			mend.Mend(protocol, b)
			if Fold(Add(AddPseudo(0, newSrc, newDst, protocol, len(b)), b)) == 0xffff {
				t.Fatalf("a wrong checksum became right: %x from %x", b, wrong)
			}
		}
	}
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	unchanged := func(why string, r Readdressing, protocol byte, msg []byte) {
		t.Helper()
		was := bytes.Clone(msg)
		if r.Mend(protocol, msg); !bytes.Equal(msg, was) {
			t.Errorf("%s: %x became %x", why, was, msg)
		}
	}
	moved := NewReaddressing(a, b, c, b)
	unchanged("UDP without checksum (RFC 768)", moved, ProtoUDP, []byte{0, 1, 0, 2, 0, 8, 0, 0})
	unchanged("ICMP has no pseudo header", moved, ProtoICMP, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
	unchanged("too short", moved, ProtoTCP, make([]byte, 17))
	unchanged("nothing", moved, ProtoTCP, nil)
	unchanged("no NAT", NewReaddressing(a, b, a, b), ProtoUDP, []byte{0, 1, 0, 2, 0, 8, 0xff, 0xff})
	unchanged("families that differ", NewReaddressing(a, b, netip.MustParseAddr("::1"), b), ProtoUDP, []byte{0, 1, 0, 2, 0, 8, 1, 2})
	if n := testing.AllocsPerRun(100, func() { moved.Mend(ProtoTCP, make([]byte, 20)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
