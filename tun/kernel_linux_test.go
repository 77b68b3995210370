package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/offload"
)

// router makes this namespace forward between two devices: what is written to in comes out of out, cut by the kernel if out takes
// no superpackets.
func router(t *testing.T, inOptions, outOptions Options) (in, out Device) {
	t.Helper()
	inNamespace(t)
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
		"ipv6/conf/all/disable_ipv6": "0", "ipv6/conf/default/disable_ipv6": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil { // those of the thread's namespace
			t.Fatal(err)
		}
	}
	inOptions.MTU, outOptions.MTU = 65535, 65535
	return openUp(t, inOptions, "10.103.0.1/24", "fd00:103::1/64"), openUp(t, outOptions, "10.104.0.1/24", "fd00:104::1/64")
}

// drawSuper draws a superpacket that crosses the router, and the size of its segments.
func drawSuper(d *inettest.Dice) (p inettest.Packet, size int) {
	src, dst := netip.MustParseAddr("10.103.0.7"), netip.MustParseAddr("10.104.0.9")
	if d.One(2) {
		src, dst = netip.MustParseAddr("fd00:103::7"), netip.MustParseAddr("fd00:104::9")
	}
	p = d.Flow(src, dst, true)
	p.TTL = 64
	if p.Protocol == inettest.TCP {
		p.Flags |= inettest.Of[byte](d, 0, inettest.PSH, inettest.FIN, inettest.FIN|inettest.PSH, inettest.ECE, inettest.CWR|inettest.ECE)
		p.Urgent = uint16(d.N(3))
	}
	size = inettest.Of(d, 1340, 1200, 536, 77, 9000, 1)
	segments := inettest.Of(d, 2, 3, 44, 60)
	p.Payload = d.Bytes(min(65000, segments*size-d.N(size)))
	if len(p.Payload) <= size {
		p.Payload = d.Bytes(size + 1)
	}
	return p, size
}

// superOf describes a superpacket as the kernel does.
func superOf(p *inettest.Packet, size int) Super {
	s := Super{
		Packet: p.Partial(), HdrLen: p.HeaderLen() + p.TransportLen(), SegmentSize: size,
		NeedsChecksum: true, ChecksumStart: p.HeaderLen(), ChecksumOffset: p.ChecksumOffset(), GSO: GSOUDP,
	}
	if p.Protocol == inettest.TCP {
		s.GSO = GSOTCP4
		if p.Src.Is6() {
			s.GSO = GSOTCP6
		}
	}
	return s
}

// forwarded is a packet as the router passes it on.
func forwarded(b []byte) []byte {
	if b[0]>>4 == 6 {
		b[7]--
		return b
	}
	b[8]--
	b[10], b[11] = 0, 0
	header := b[:int(b[0]&15)*4]
	binary.BigEndian.PutUint16(header[10:], ^inettest.Sum(header))
	return b
}

// readForwarded reads packets that crossed the router, so many; the kernel sends things of its own too.
func readForwarded(q Queue, n int, each func(Super)) error {
	buf := make([]byte, MaxSuper)
	for n > 0 {
		s, err := q.Read(buf)
		if err != nil {
			return err
		}
		p, _, err := inettest.Parse(s.Packet)
		if err != nil || p.DstPort != 443 {
			continue
		}
		each(s)
		n--
	}
	return nil
}

// The kernel makes of a superpacket the packets that Cut makes of it, and the slow model of the tests.
func TestCutAsTheKernel(t *testing.T) {
	in, out := router(t, Options{Offload: true}, Options{})
	stop := time.AfterFunc(time.Minute, func() { out.Close() }) // a packet that does not come
	defer stop.Stop()
	scratch := make([]byte, MaxSuper)
	for seed := range uint16(300) {
		p, size := drawSuper(inettest.NewDice(binary.LittleEndian.AppendUint16([]byte("kernel"), seed)))
		if p.Protocol == inettest.UDP && !in.Offloads().Has(offload.USO) {
			continue
		}
		model := p.Cut(size)
		s := superOf(&p, size)
		if err := in.Queues()[0].Write(s, nil); err != nil {
			t.Fatalf("seed %d: %v: %+v", seed, err, describeSuper(p, size))
		}
		i := 0
		err := readForwarded(out.Queues()[0], len(model), func(got Super) {
			want := forwarded(model[i].Bytes())
			cut := forwarded(scratch[:s.Cut(i, scratch)])
			if !got.Plain() || !bytes.Equal(got.Packet, want) {
				t.Fatalf("seed %d: segment %d of %d by the kernel and by the model\n %x\n %x\n%s", seed, i, len(model), head(got.Packet), head(want), describeSuper(p, size))
			}
			if !bytes.Equal(cut, want) {
				t.Fatalf("seed %d: segment %d of %d by Cut and by the model\n %x\n %x\n%s", seed, i, len(model), head(cut), head(want), describeSuper(p, size))
			}
			i++
		})
		if err != nil {
			t.Fatalf("seed %d: %d of %d packets: %v: %s", seed, i, len(model), err, describeSuper(p, size))
		}
	}
}

// A superpacket that crosses the kernel whole comes out as it went in, and what Cut makes of it are the same packets.
func TestSuperThroughTheKernel(t *testing.T) {
	in, out := router(t, Options{Offload: true}, Options{Offload: true})
	stop := time.AfterFunc(time.Minute, func() { out.Close() })
	defer stop.Stop()
	scratch := make([]byte, MaxSuper)
	supers := 0
	for seed := range uint16(300) {
		p, size := drawSuper(inettest.NewDice(binary.LittleEndian.AppendUint16([]byte("whole"), seed)))
		if p.Protocol == inettest.UDP && !in.Offloads().Has(offload.USO) {
			continue
		}
		model := p.Cut(size)
		s := superOf(&p, size)
		whole := s.HdrLen + len(p.Payload)
		if err := in.Queues()[0].Write(Super{
			Packet: s.Packet[:s.HdrLen], GSO: s.GSO, HdrLen: s.HdrLen, SegmentSize: s.SegmentSize, NeedsChecksum: true,
			ChecksumStart: s.ChecksumStart, ChecksumOffset: s.ChecksumOffset,
		}, [][]byte{s.Packet[s.HdrLen : s.HdrLen+1], s.Packet[s.HdrLen+1 : whole]}); err != nil {
			t.Fatalf("seed %d: %v: %s", seed, err, describeSuper(p, size))
		}
		for i := 0; i < len(model); {
			err := readForwarded(out.Queues()[0], 1, func(got Super) {
				if got.GSO != GSONone {
					supers++
				}
				for k := range got.Segments() {
					want := forwarded(model[i].Bytes())
					if cut := scratch[:got.Cut(k, scratch)]; !bytes.Equal(cut, want) {
						t.Fatalf("seed %d: packet %d of %d\n got %x\nwant %x\n%s", seed, i, len(model), head(cut), head(want), describeSuper(p, size))
					}
					i++
				}
			})
			if err != nil {
				t.Fatalf("seed %d: %d of %d packets: %v: %s", seed, i, len(model), err, describeSuper(p, size))
			}
		}
	}
	if supers < 150 {
		t.Errorf("only %d superpackets crossed the kernel whole", supers)
	}
}

func head(b []byte) []byte { return b[:min(len(b), 100)] }

func describeSuper(p inettest.Packet, size int) string {
	n := len(p.Payload)
	p.Payload = nil
	return fmt.Sprintf("%d bytes in pieces of %d: %+v", n, size, p)
}
