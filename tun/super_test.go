package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// slowSum is the Internet checksum as RFC 1071 1 words it: 16-bit words, big endian, the carry added at the end.
func slowSum(b []byte) uint16 {
	var total uint32
	for i, x := range b {
		if i%2 == 0 {
			total += uint32(x) << 8
		} else {
			total += uint32(x)
		}
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// flow builds packets of one flow, field by field, with checksums the slow way: the model for Cut.
type flow struct {
	v6, udp   bool
	options   int // bytes of IPv4 options or of an IPv6 destination options header, a multiple of 8
	tcpOption int // bytes, a multiple of 4
}

func (f flow) String() string {
	return fmt.Sprintf("v6=%v,udp=%v,options=%d,tcp=%d", f.v6, f.udp, f.options, f.tcpOption)
}

func (f flow) ipLen() int {
	if f.v6 {
		return 40 + f.options
	}
	return 20 + f.options
}

func (f flow) transportLen() int {
	if f.udp {
		return 8
	}
	return 20 + f.tcpOption
}

// packet is a complete packet; it returns the sum of the pseudo header too.
func (f flow) packet(id uint16, seq uint32, flags byte, payload []byte) (packet []byte, pseudo uint16) {
	proto := byte(6)
	if f.udp {
		proto = 17
	}
	transport := make([]byte, f.transportLen(), f.transportLen()+len(payload))
	field := 16
	binary.BigEndian.PutUint16(transport, 4321)
	binary.BigEndian.PutUint16(transport[2:], 443)
	if f.udp {
		binary.BigEndian.PutUint16(transport[4:], uint16(8+len(payload)))
		field = 6
	} else {
		binary.BigEndian.PutUint32(transport[4:], seq)
		binary.BigEndian.PutUint32(transport[8:], 0x01020304)
		transport[12] = byte(f.transportLen()/4) << 4
		transport[13] = flags
		binary.BigEndian.PutUint16(transport[14:], 0x7fff)
		for i := 20; i < len(transport); i++ {
			transport[i] = 1 // NOP
		}
	}
	transport = append(transport, payload...)
	var src, dst netip.Addr
	var ip []byte
	if f.v6 {
		src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:ffff::2")
		ip = []byte{0x6a, 0xbc, 0xde, 0xf0, 0, 0, proto, 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(f.options+len(transport)))
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		if f.options > 0 {
			ip[6] = 60 // destination options: PadN
			ext := make([]byte, f.options)
			ext[0], ext[1], ext[2], ext[3] = proto, byte(f.options/8-1), 1, byte(f.options-4)
			ip = append(ip, ext...)
		}
	} else {
		src, dst = netip.MustParseAddr("10.103.0.1"), netip.MustParseAddr("10.104.0.2")
		ip = []byte{byte(0x40 | f.ipLen()/4), 0x02, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(f.ipLen()+len(transport)))
		binary.BigEndian.PutUint16(ip[4:], id)
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		ip = append(ip, bytes.Repeat([]byte{1}, f.options)...) // NOP
		binary.BigEndian.PutUint16(ip[10:], ^slowSum(ip))
	}
	head := append(src.AsSlice(), dst.AsSlice()...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(transport)))
	head = binary.BigEndian.AppendUint32(head, uint32(proto))
	pseudo = slowSum(head)
	sum := ^slowSum(append(head, transport...))
	if f.udp && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(transport[field:], sum)
	return append(ip, transport...), pseudo
}

// super is the superpacket that stands for payload in segments of size.
func (f flow) super(id uint16, seq uint32, flags byte, payload []byte, size int) Super {
	packet, pseudo := f.packet(id, seq, flags, payload)
	s := Super{Packet: packet, HdrLen: f.ipLen() + f.transportLen(), SegmentSize: size, NeedsChecksum: true,
		ChecksumStart: f.ipLen(), ChecksumOffset: 16, GSO: GSOTCP4}
	if f.v6 {
		s.GSO = GSOTCP6
	}
	if f.udp {
		s.GSO, s.ChecksumOffset = GSOUDP, 6
	}
	binary.BigEndian.PutUint16(packet[s.ChecksumStart+s.ChecksumOffset:], pseudo)
	return s
}

var flows = []flow{
	{}, {udp: true}, {v6: true}, {v6: true, udp: true}, {tcpOption: 12}, {tcpOption: 40}, {options: 8, tcpOption: 12},
	{options: 40, udp: true}, {v6: true, options: 8, tcpOption: 12}, {v6: true, options: 24, udp: true},
}

func TestCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const (
		id    = 0xfffe     // wraps
		seq   = 0xfffff000 // wraps
		flags = 0x80 | 0x40 | 0x10 | 0x08 | 0x01
	)
	for _, f := range flows {
		for _, c := range []struct{ payload, size int }{
			{1, 1}, {2, 1}, {3, 2}, {1000, 1000}, {1001, 1000}, {2000, 1000}, {2001, 999}, {60000, 1348}, {60000, 1349},
			{65000, 65000}, {300, 65000}, {4096, 8},
		} {
			payload := make([]byte, c.payload)
			for i := range payload {
				payload[i] = byte(rng.Uint32())
			}
			s := f.super(id, seq, flags, payload, c.size)
			before := bytes.Clone(s.Packet)
			n := (c.payload + c.size - 1) / c.size
			if got := s.Segments(); got != n {
				t.Fatalf("%v %v: %d segments, want %d", f, c, got, n)
			}
			dst := make([]byte, s.HdrLen+s.SegmentSize)
			for i := range n {
				part := payload[i*c.size : min((i+1)*c.size, len(payload))]
				fl := byte(flags)
				if i < n-1 {
					fl &^= 0x09
				}
				if i > 0 {
					fl &^= 0x80
				}
				want, _ := f.packet(id+uint16(i), seq+uint32(i*c.size), fl, part)
				if got := dst[:s.Cut(i, dst)]; !bytes.Equal(got, want) {
					t.Fatalf("%v %v: segment %d\n got %x\nwant %x", f, c, i, got[:min(100, len(got))], want[:min(100, len(want))])
				}
				if m := s.Cut(i, dst[:len(want)-1]); m != 0 {
					t.Fatalf("%v %v: %d bytes in a buffer of one less", f, c, m)
				}
			}
			if s.Cut(n, dst) != 0 || s.Cut(-1, dst) != 0 {
				t.Fatalf("%v %v: a segment that does not exist", f, c)
			}
			if !bytes.Equal(before, s.Packet) {
				t.Fatalf("%v %v: the superpacket was changed", f, c)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	for _, f := range flows {
		for _, n := range []int{0, 1, 2, 63, 1200} {
			payload := bytes.Repeat([]byte{0xa5}, n)
			want, _ := f.packet(7, 8, 0x10, payload)
			s := f.super(7, 8, 0x10, payload, 1)
			s.GSO, s.HdrLen, s.SegmentSize = GSONone, 0, 0
			dst := make([]byte, len(want))
			if got := dst[:s.Cut(0, dst)]; !bytes.Equal(got, want) {
				t.Fatalf("%v, %d bytes: Cut\n got %x\nwant %x", f, n, got, want)
			}
			if s.Plain() || !s.Complete() || !s.Plain() || !bytes.Equal(s.Packet, want) {
				t.Fatalf("%v, %d bytes: Complete\n got %x\nwant %x", f, n, s.Packet, want)
			}
		}
	}
	s := flows[0].super(1, 2, 0, make([]byte, 10), 5)
	if s.Complete() {
		t.Error("a superpacket of two is complete")
	}
}

// A UDP checksum that comes out as zero is sent as 0xffff (RFC 768).
func TestZeroChecksum(t *testing.T) {
	f := flow{udp: true}
	packet, _ := f.packet(1, 0, 0, []byte{0, 0})
	payload := packet[26:28] // with its own checksum as payload, the sum is all ones
	want, _ := f.packet(1, 0, 0, bytes.Clone(payload))
	s := f.super(1, 0, 0, payload, 2)
	dst := make([]byte, 100)
	got := dst[:s.Cut(0, dst)]
	if !bytes.Equal(got, want) || binary.BigEndian.Uint16(got[26:]) != 0xffff {
		t.Errorf("got %x\nwant %x", got, want)
	}
}

func TestMalformed(t *testing.T) {
	good := func() Super { return flow{tcpOption: 12}.super(1, 2, 0x18, make([]byte, 3000), 1000) }
	for what, spoil := range map[string]func(*Super){
		"empty":                    func(s *Super) { s.Packet = nil },
		"cut off":                  func(s *Super) { s.Packet = s.Packet[:s.HdrLen-1] },
		"cut off in the IP header": func(s *Super) { s.Packet = s.Packet[:10] },
		"no segment size":          func(s *Super) { s.SegmentSize = 0 },
		"segment too big":          func(s *Super) { s.SegmentSize = 65535 },
		"other version":            func(s *Super) { s.Packet[0] = 0x65 },
		"other GSO":                func(s *Super) { s.GSO = GSOTCP6 },
		"unknown GSO":              func(s *Super) { s.GSO = 3 },
		"IHL":                      func(s *Super) { s.Packet[0] = 0x46 },
		"data offset":              func(s *Super) { s.Packet[32] = 0xf0 },
		"small data offset":        func(s *Super) { s.Packet[32] = 0x40 },
		"no header":                func(s *Super) { s.Packet[0] = 0x35; s.HdrLen = 0 },
		"header length":            func(s *Super) { s.HdrLen-- },
		"no checksum":              func(s *Super) { s.NeedsChecksum = false },
		"checksum start":           func(s *Super) { s.ChecksumStart = 19 },
		"negative start":           func(s *Super) { s.ChecksumStart = -1 },
		"checksum offset":          func(s *Super) { s.ChecksumOffset = 6 },
		"huge offset":              func(s *Super) { s.ChecksumOffset = 1 << 30 },
		"negative offset":          func(s *Super) { s.ChecksumOffset = -1 },
		"single, huge start":       func(s *Super) { s.GSO = GSONone; s.ChecksumStart = 1 << 30 },
		"single, at the end":       func(s *Super) { s.GSO = GSONone; s.ChecksumStart = len(s.Packet) - 1; s.ChecksumOffset = 0 },
	} {
		s := good()
		if s.Segments() != 3 {
			t.Fatal("the good superpacket is not good")
		}
		spoil(&s)
		if s.Segments() != 0 || s.Cut(0, make([]byte, 1<<17)) != 0 || s.Complete() {
			t.Errorf("%s: accepted", what)
		}
	}
}

func FuzzCut(f *testing.F) {
	for _, fl := range flows {
		s := fl.super(1, 2, 0x19, make([]byte, 100), 33)
		f.Add(s.Packet, uint8(s.GSO), s.HdrLen, s.SegmentSize, true, s.ChecksumStart, s.ChecksumOffset)
	}
	f.Add([]byte{0x45}, uint8(0), 0, 0, true, 0, -1)
	f.Fuzz(func(t *testing.T, packet []byte, gso uint8, hdr, size int, needs bool, start, offset int) {
		s := Super{Packet: packet, GSO: GSO(gso), HdrLen: hdr, SegmentSize: size, NeedsChecksum: needs,
			ChecksumStart: start, ChecksumOffset: offset}
		n := s.Segments()
		if n > 200 {
			return // nothing new, and slow
		}
		dst := make([]byte, MaxSuper)
		payload := 0
		for i := range n {
			m := s.Cut(i, dst)
			if m == 0 && len(packet) > 0 && len(packet) <= len(dst) {
				t.Fatalf("segment %d of %d is empty", i, n)
			}
			payload += m - s.HdrLen
			if s.GSO == GSONone {
				continue
			}
			// With the pseudo header of the segment's length, the sum is all ones.
			field := binary.BigEndian.Uint16(packet[start+offset:])
			check := binary.BigEndian.AppendUint16(nil, field)
			check = binary.BigEndian.AppendUint16(check, ^uint16(len(packet)-start))
			check = binary.BigEndian.AppendUint16(check, uint16(m-start))
			check = binary.BigEndian.AppendUint16(check, slowSum(dst[start:m]))
			if got := slowSum(check); got != 0xffff {
				t.Fatalf("segment %d: its sum is %#x", i, got)
			}
		}
		if s.GSO != GSONone && n > 0 && payload != len(packet)-s.HdrLen {
			t.Fatalf("%d bytes of payload in segments, %d in the superpacket", payload, len(packet)-s.HdrLen)
		}
	})
}

func BenchmarkCut(b *testing.B) {
	s := flow{tcpOption: 12}.super(1, 2, 0x18, make([]byte, 60000), 1348)
	dst := make([]byte, 2000)
	b.SetBytes(60000)
	b.ReportAllocs()
	for b.Loop() {
		for i := range s.Segments() {
			s.Cut(i, dst)
		}
	}
}
