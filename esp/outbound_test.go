package esp

import (
	"bytes"
	"encoding/hex"
	"math"
	"sync"
	"testing"
)

// Every packet must be the one the slow model builds from the same IV.
//
// Cases: Ipsec.Conf.2.1.9 A.
func TestSealIsTheSlowModel(t *testing.T) {
	for _, s := range testSuites() {
		for _, esn := range []bool{false, true} {
			o, _ := s.pair(t, esn)
			seq := uint64(0xfffffff0)
			if esn {
				seq = 0x5_fffffff0
			}
			seen := map[string]bool{}
			for n := 20; n < 90; n++ {
				seq++
				inner, nh := ipv4(n), byte(4)
				if n >= 40 && n%2 == 1 {
					inner, nh = ipv6(n), 41
				}
				got := sealed(t, o, inner, seq)
				iv := got[headerLen:o.HeadLen()]
				if seen[string(iv)] {
					t.Fatalf("%s: IV %x twice", s.name, iv)
				}
				seen[string(iv)] = true
				padLen := 0
				for (n+padLen+2)%o.align != 0 {
					padLen++
				}
				want := s.seal(t, seq, esn, iv, trailer(inner, padLen, nh))
				if !bytes.Equal(got, want) {
					t.Fatalf("%s esn %v n %d:\n got %x\nwant %x", s.name, esn, n, got, want)
				}
				if len(got) != o.PacketLen(n) || o.Overhead(n) != len(got)-n {
					t.Fatalf("%s: %d bytes, PacketLen(%d) = %d, Overhead = %d", s.name, len(got), n, o.PacketLen(n), o.Overhead(n))
				}
			}
		}
	}
}

// One packet byte by byte: AES-128-GCM, key 0102..10, salt 11121314, ESN 0x0000000100000002.
func TestSealGolden(t *testing.T) {
	o, _ := gcm().pair(t, true)
	got := hex.EncodeToString(sealed(t, o, ipv4(20), 0x1_00000002))
	want := "c0ffee01" + // SPI
		"00000002" + // lower half of the sequence number
		"0000000100000002" + // IV: the sequence number
		"dd4184a158a6f076d27940290f6acee042a3c5ae68e24f6a" + // inner packet of 20 bytes, 01 02, pad length 2, next header 4
		"55adc31fce83b300eb0d075c61012538" // ICV
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestSealTouchesOnlyItsBytes(t *testing.T) {
	for _, s := range testSuites() {
		o, _ := s.pair(t, false)
		for n := 20; n < 60; n++ {
			buf := bytes.Repeat([]byte{0xee}, 200)
			copy(buf[o.HeadLen():], ipv4(n))
			pkt := o.Seal(buf[:o.HeadLen()+n], n, uint64(n)) // the room behind is capacity only
			if &pkt[0] != &buf[0] {
				t.Fatalf("%s: not in place", s.name)
			}
			if rest := buf[o.PacketLen(n):]; !bytes.Equal(rest, bytes.Repeat([]byte{0xee}, len(rest))) {
				t.Fatalf("%s: wrote beyond PacketLen(%d): %x", s.name, n, rest)
			}
			if o.HeadLen() > Headroom || o.PacketLen(n)-o.HeadLen()-n > Tailroom {
				t.Fatalf("%s: Headroom or Tailroom is too small for %d bytes", s.name, n)
			}
		}
	}
}

func TestSealRefusesWhatIsNotIP(t *testing.T) {
	o, _ := gcm().pair(t, false)
	buf := make([]byte, 100)
	for _, version := range []byte{0, 0x10, 0x50, 0x70, 0xf0} {
		buf[o.HeadLen()] = version
		if pkt := o.Seal(buf, 20, 1); pkt != nil {
			t.Errorf("sealed a packet of version %d", version>>4)
		}
	}
	buf[o.HeadLen()] = 0x45
	if pkt := o.Seal(buf, 0, 1); pkt != nil {
		t.Error("sealed nothing")
	}
}

func TestMaxInner(t *testing.T) {
	for _, s := range testSuites() {
		o, _ := s.pair(t, false)
		for mtu := range 2000 {
			n := o.MaxInner(mtu)
			if n > 0 && o.PacketLen(n) > mtu {
				t.Fatalf("%s: MaxInner(%d) = %d makes %d bytes", s.name, mtu, n, o.PacketLen(n))
			}
			if o.PacketLen(n+1) <= mtu {
				t.Fatalf("%s: MaxInner(%d) = %d, but %d fits", s.name, mtu, n, n+1)
			}
		}
	}
	o, _ := gcm().pair(t, false)
	if n := o.MaxInner(1500 - 28); n != 1438 { // 1472 - 8 - 8 - 16 = 1440, less the trailer
		t.Errorf("MaxInner(1472) = %d for AES-GCM", n)
	}
}

// Cases: BUG-18.
func TestReserveNeverWraps(t *testing.T) {
	c := gcm().cipher(t)
	for _, test := range []struct {
		name string
		esn  bool
		last uint64
	}{
		{"32 bits", false, math.MaxUint32},
		{"64 bits", true, math.MaxUint64},
	} {
		o := NewOutbound(OutboundConfig{SPI: testSPI, Cipher: c, ESN: test.esn})
		if first, ok := o.Reserve(1); first != 1 || !ok {
			t.Errorf("%s: the first number is %d, %v", test.name, first, ok)
		}
		o.used.Store(test.last - 3)
		for _, step := range []struct {
			n     int
			first uint64 // 0: refused
			left  uint64
		}{
			{0, 0, 3}, {-1, 0, 3}, {4, 0, 3}, {math.MaxInt, 0, 3}, {2, test.last - 2, 1}, {2, 0, 1}, {1, test.last, 0}, {1, 0, 0}, {1, 0, 0},
		} {
			first, ok := o.Reserve(step.n)
			if first != step.first || ok != (step.first != 0) || o.Left() != step.left {
				t.Errorf("%s: Reserve(%d) = %#x, %v, left %d; want %#x, left %d",
					test.name, step.n, first, ok, o.Left(), step.first, step.left)
			}
		}
		if packets, _ := o.Stats(); packets != test.last {
			t.Errorf("%s: %d packets", test.name, packets)
		}
	}
}

// Cases: BUG-18; Ipsec.Conf.2.1.3.
func TestReserveGivesNoNumberTwice(t *testing.T) {
	const workers, tries = 4, 500
	o, _ := gcm().pair(t, false)
	o.used.Store(math.MaxUint32 - workers*tries) // the end comes while all are at it
	took := make([][]uint64, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for k := range tries {
				n := 1 + (k+w)%5
				first, ok := o.Reserve(n)
				for j := range n {
					if ok {
						took[w] = append(took[w], first+uint64(j))
					}
				}
			}
		})
	}
	all.Wait()
	seen := map[uint64]bool{}
	for _, numbers := range took {
		for _, n := range numbers {
			if seen[n] || n > math.MaxUint32 || n <= math.MaxUint32-workers*tries {
				t.Fatalf("number %#x twice or out of range", n)
			}
			seen[n] = true
		}
	}
	if uint64(len(seen))+o.Left() != workers*tries {
		t.Errorf("%d numbers taken, %d left, of %d", len(seen), o.Left(), workers*tries)
	}
}

func TestOutboundLimits(t *testing.T) {
	c := cbc().cipher(t)
	spent := func(l Limits) (soft, hard int) {
		o := NewOutbound(OutboundConfig{SPI: testSPI, Cipher: c, Limits: l})
		for k := 1; k <= 100; k++ {
			seq, ok := o.Reserve(1)
			if !ok {
				if o.Left() != 0 {
					t.Errorf("%+v: refused with %d left", l, o.Left())
				}
				return soft, k
			}
			sealed(t, o, ipv4(30), seq) // 30 + 2, two blocks: 32 bytes
			if o.SoftReached() {
				if soft != 0 {
					t.Errorf("%+v: soft limit reported twice", l)
				}
				soft = k
			}
		}
		return soft, 0
	}
	for _, test := range []struct {
		limits     Limits
		soft, hard int // the packet after which, the try at which
	}{
		{Limits{}, 0, 0},
		{Limits{SoftPackets: 7}, 7, 0},
		{Limits{HardPackets: 7}, 0, 8},
		{Limits{SoftBytes: 100}, 4, 0}, // 4 * 32 >= 100
		{Limits{HardBytes: 128}, 0, 5}, // padding and trailer count
		{Limits{HardBytes: 129}, 0, 6},
		{Limits{SoftPackets: 20, SoftBytes: 64, HardPackets: 30, HardBytes: 100000}, 2, 31},
	} {
		if soft, hard := spent(test.limits); soft != test.soft || hard != test.hard {
			t.Errorf("%+v: soft after %d, hard at %d; want %d, %d", test.limits, soft, hard, test.soft, test.hard)
		}
	}
	o := NewOutbound(OutboundConfig{Cipher: c, Limits: Limits{HardPackets: 5}})
	if _, ok := o.Reserve(6); ok {
		t.Error("Reserve gave a part of what was asked")
	}
	if first, ok := o.Reserve(5); first != 1 || !ok {
		t.Error("Reserve refused the last five")
	}
}

// Without any limit the SA still asks for a successor before its numbers end.
//
// Cases: BUG-18.
func TestSoftReachedBeforeTheNumbersEnd(t *testing.T) {
	for _, soft := range []uint64{0, math.MaxUint32, math.MaxUint64} {
		o := NewOutbound(OutboundConfig{Cipher: gcm().cipher(t), Limits: Limits{SoftPackets: soft}})
		o.used.Store(math.MaxUint32 / 8 * 7)
		if o.SoftReached() {
			t.Error("too early")
		}
		o.used.Store(math.MaxUint32 - math.MaxUint32/8)
		if !o.SoftReached() || o.SoftReached() {
			t.Error("not once at seven eighths of the numbers")
		}
	}
}

// Cases: Ipsec.Conf.2.1.6 A.
func TestSealDummy(t *testing.T) {
	for _, s := range testSuites() {
		o, in := s.pair(t, false)
		for n := range 40 {
			buf := bytes.Repeat([]byte{0xee}, Headroom+n+Tailroom)
			seq, _ := o.Reserve(1)
			pkt := o.SealDummy(buf, n, seq)
			opened, err := in.Open(pkt)
			if err != ErrDummy || opened.Inner != nil || !opened.Newest || opened.First != (n == 0) {
				t.Fatalf("%s: Open of a dummy of %d bytes = %+v, %v", s.name, n, opened, err)
			}
			if zeros := pkt[o.HeadLen() : o.HeadLen()+n]; !bytes.Equal(zeros, make([]byte, n)) {
				t.Fatalf("%s: a dummy carries %x", s.name, zeros)
			}
		}
		if packets, _ := in.Stats(); packets != 40 || in.Drops()[ErrDummy] != 40 {
			t.Errorf("%s: %d packets, drops %v", s.name, packets, in.Drops())
		}
	}
}
