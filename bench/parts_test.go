package bench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
)

// udpPacket is an IPv4 packet with a UDP datagram in it, of size bytes in all.
func udpPacket(src, dst netip.Addr, size int) []byte {
	b := make([]byte, size)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[20:], 1024)
	binary.BigEndian.PutUint16(b[22:], 53)
	binary.BigEndian.PutUint16(b[24:], uint16(size-20))
	return b
}

// BenchmarkClassify tells what a datagram on port 4500 is.
func BenchmarkClassify(b *testing.B) {
	ike := make([]byte, 300)
	for _, test := range []struct {
		kind     natt.Kind
		datagram []byte
	}{
		{natt.ESP, append([]byte{0, 0, 1, 0}, ike...)},
		{natt.IKE, ike},
		{natt.Keepalive, []byte{natt.KeepaliveByte}},
	} {
		b.Run(test.kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if kind, _ := natt.Classify(true, test.datagram); kind != test.kind {
					b.Fatal(kind)
				}
			}
		})
	}
}

// BenchmarkParse reads what selectors look at in a packet.
func BenchmarkParse(b *testing.B) {
	packet := udpPacket(netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"), 92)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ts.ParsePacket(packet); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLookup finds the policy of a packet among so many networks.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			local := []ts.Selector{ts.FromPrefix(netip.MustParsePrefix("10.1.0.0/16"))}
			var entries []ts.Entry[int]
			var packets []ts.Packet
			for k := range n {
				remote := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + k>>12), byte(k >> 4), byte(k << 4)}), 28)
				entries = append(entries, ts.Entry[int]{Local: local, Remote: []ts.Selector{ts.FromPrefix(remote)}, Value: k})
				p, err := ts.ParsePacket(udpPacket(netip.MustParseAddr("10.1.0.1"), remote.Addr().Next(), 92))
				if err != nil {
					b.Fatal(err)
				}
				packets = append(packets, p)
			}
			table := ts.NewTable(entries)
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				if v, ok := table.Lookup(&packets[k]); !ok || v != k {
					b.Fatalf("packet %d belongs to %d", k, v)
				}
				if k++; k == n {
					k = 0
				}
			}
		})
	}
}

// BenchmarkChecksum sums a packet up.
func BenchmarkChecksum(b *testing.B) {
	for _, size := range innerSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			buf := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				inet.Checksum(buf)
			}
		})
	}
}

// BenchmarkCut makes a superpacket of TCP into segments, with their checksums.
func BenchmarkCut(b *testing.B) {
	s := superpacket(45, 1378)
	dst := make([]byte, s.HdrLen+s.SegmentSize)
	b.SetBytes(int64(len(s.Packet)))
	b.ReportAllocs()
	for b.Loop() {
		for i := range s.Segments() {
			if s.Cut(i, dst) == 0 {
				b.Fatal("no segment")
			}
		}
	}
}

// superpacket is a burst of TCP that the kernel did not cut: so many segments, each with so many bytes of payload.
func superpacket(segments, size int) tun.Super {
	const headers = 40
	b := make([]byte, headers+segments*size)
	b[0], b[8], b[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{10, 1, 0, 1, 10, 2, 0, 1})
	b[20+12], b[20+13] = 5<<4, 0x10 // no options; ACK
	// The checksum of the header holds that of the pseudo header, whose length every segment gets of its own.
	pseudo := append([]byte{0, 6}, b[12:20]...)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)-20))
	binary.BigEndian.PutUint16(b[20+16:], ^inet.Checksum(pseudo))
	return tun.Super{Packet: b, GSO: tun.GSOTCP4, HdrLen: headers, SegmentSize: size, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 16}
}
