package esp

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestOpenWhatWasSealed(t *testing.T) {
	for _, s := range testSuites() {
		for _, esn := range []bool{false, true} {
			o, in := s.pair(t, esn)
			for n := 20; n < 120; n++ {
				inner := ipv4(n)
				if n >= 40 && n%3 == 0 {
					inner = ipv6(n)
				}
				opened, err := in.Open(next(t, o, inner))
				if err != nil || !bytes.Equal(opened.Inner, inner) || !opened.Newest || opened.First != (n == 20) {
					t.Fatalf("%s esn %v n %d: %+v, %v", s.name, esn, n, opened, err)
				}
				if cap(opened.Inner) != n {
					t.Fatalf("%s: an append to Inner would write into the packet", s.name)
				}
			}
			op, ob := o.Stats()
			ip, ib := in.Stats()
			if op != 100 || ip != op || ib != ob || len(in.Drops()) != 0 {
				t.Errorf("%s: sent %d/%d, received %d/%d, drops %v", s.name, op, ob, ip, ib, in.Drops())
			}
		}
	}
}

// Each bit of a packet is authenticated, and a forgery moves nothing.
//
// Cases: BUG-17; Ipsec.Conf.2.1.11.
func TestOpenRefusesEveryChangedBit(t *testing.T) {
	for _, s := range testSuites() {
		for _, esn := range []bool{false, true} {
			o, in := s.pair(t, esn)
			good := next(t, o, ipv4(24))
			for bit := range len(good) * 8 {
				forged := bytes.Clone(good)
				forged[bit/8] ^= 0x80 >> (bit % 8)
				opened, err := in.Open(forged)
				if opened.Inner != nil || opened.First || opened.Newest || err == nil {
					t.Fatalf("%s: bit %d changed: %+v", s.name, bit, opened)
				}
				if want := ErrIntegrity; bit >= 64 && err != want {
					t.Fatalf("%s: bit %d changed: %v, want %v", s.name, bit, err, want)
				}
			}
			if in.window.top != 0 {
				t.Fatalf("%s: a forgery moved the window to %d", s.name, in.window.top)
			}
			if opened, err := in.Open(good); err != nil || !opened.First {
				t.Fatalf("%s: the good packet after the forgeries: %+v, %v", s.name, opened, err)
			}
		}
	}
}

func TestOpenRefusesEveryTruncation(t *testing.T) {
	for _, s := range testSuites() {
		o, in := s.pair(t, false)
		good := next(t, o, ipv4(24))
		for n := range good {
			opened, err := in.Open(bytes.Clone(good[:n]))
			want := ErrIntegrity
			if n < headerLen+in.cipher.IVLen()+trailerLen+s.tagLen {
				want = ErrShort
			}
			if opened.Inner != nil || err != want {
				t.Fatalf("%s: %d of %d bytes: %v, want %v", s.name, n, len(good), err, want)
			}
		}
		if _, err := in.Open(append(bytes.Clone(good), 0)); err != ErrIntegrity {
			t.Fatalf("%s: one byte more: %v", s.name, err)
		}
	}
}

// An authentic plaintext of any shape: what is refused, for what, and what is cut off.
//
// Cases: BUG-11; BUG-20; Ipsec.Conf.2.1.6 A; Ipsec.Conf.2.1.6 B; Ipsec.Conf.2.1.9 A; Ipsec.Conf.2.1.9 B.
func TestOpenChecksThePlaintext(t *testing.T) {
	s := gcm()
	badPad := func(padLen, at int) []byte {
		b := trailer(ipv4(20), padLen, 4)
		b[20+at] ^= 1
		return b
	}
	change := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, test := range []struct {
		name  string
		plain []byte
		inner []byte
		err   error
	}{
		{"IPv4", trailer(ipv4(28), 2, 4), ipv4(28), nil},
		{"IPv6", trailer(ipv6(48), 2, 41), ipv6(48), nil},
		{"no padding", trailer(ipv4(22), 0, 4), ipv4(22), nil},
		{"no alignment", trailer(ipv4(23), 0, 4), ipv4(23), nil},
		{"padding of 7", trailer(ipv4(23), 7, 4), ipv4(23), nil},
		{"padding of 255", trailer(ipv4(23), 255, 4), ipv4(23), nil},
		{"padding of 255 with IPv6", trailer(ipv6(40), 255, 41), ipv6(40), nil},
		{"TFC padding", trailer(append(ipv4(30), bytes.Repeat([]byte{0x45}, 900)...), 2, 4), ipv4(30), nil},
		{"TFC padding after IPv6", trailer(append(ipv6(41), make([]byte, 99)...), 0, 41), ipv6(41), nil},
		{"IPv4 options", trailer(change(ipv4(60), 0, 0x4f), 2, 4), change(ipv4(60), 0, 0x4f), nil},

		{"first byte of padding", badPad(2, 0), nil, ErrPadding},
		{"last byte of padding", badPad(255, 254), nil, ErrPadding},
		{"padding of zeros", append(ipv4(20), 0, 0, 2, 4), nil, ErrPadding},
		{"pad length beyond the packet", append(ipv4(20), 21, 4), nil, ErrPadding},
		{"pad length 255 of 0", []byte{255, 4}, nil, ErrPadding},
		{"padding that eats the packet", trailer(nil, 30, 4), nil, ErrInner},
		{"nothing inside", []byte{0, 4}, nil, ErrInner},

		{"next header TCP", trailer(ipv4(22), 0, 6), nil, ErrNextHeader},
		{"next header 0", trailer(ipv4(22), 0, 0), nil, ErrNextHeader},
		{"IPv4 said to be IPv6", trailer(ipv4(62), 0, 41), nil, ErrInner},
		{"IPv6 said to be IPv4", trailer(ipv6(62), 0, 4), nil, ErrInner},
		{"IPv4 header of 19 bytes", trailer(ipv4(20)[:19], 3, 4), nil, ErrInner},
		{"IPv4 header length 4", trailer(change(ipv4(30), 0, 0x44), 0, 4), nil, ErrInner},
		{"IPv4 header length 0", trailer(change(ipv4(30), 0, 0x40), 0, 4), nil, ErrInner},
		{"IPv4 options beyond total length", trailer(change(ipv4(24), 0, 0x47), 2, 4), nil, ErrInner},
		{"IPv4 total length 0", trailer(change(ipv4(30), 3, 0), 0, 4), nil, ErrInner},
		{"IPv4 total length 19", trailer(change(ipv4(30), 3, 19), 0, 4), nil, ErrInner},
		{"IPv4 shorter than claimed", trailer(ipv4(30)[:29], 1, 4), nil, ErrInner},
		{"IPv4 that reaches into the padding", trailer(change(ipv4(30), 3, 31), 2, 4), nil, ErrInner},
		{"IPv6 header of 39 bytes", trailer(ipv6(40)[:39], 3, 41), nil, ErrInner},
		{"IPv6 shorter than claimed", trailer(ipv6(60)[:59], 3, 41), nil, ErrInner},
		{"IPv6 payload length 65535", trailer(change(change(ipv6(60), 4, 255), 5, 255), 2, 41), nil, ErrInner},

		{"dummy", trailer(nil, 2, 59), nil, ErrDummy},
		{"dummy with random content", []byte{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 2, 59}, nil, ErrDummy},
		{"dummy with impossible padding", []byte{7, 7, 255, 59}, nil, ErrDummy},
	} {
		_, in := s.pair(t, false)
		opened, err := in.Open(s.seal(t, 1, false, s.ivOf(1), test.plain))
		if err != test.err || opened.Err != err || !bytes.Equal(opened.Inner, test.inner) || (opened.Inner == nil) != (err != nil) {
			t.Errorf("%s: %x, %v; want %x, %v", test.name, opened.Inner, err, test.inner, test.err)
		}
		if !opened.First || !opened.Newest || in.window.top != 1 {
			t.Errorf("%s: it authenticated, so it must count", test.name)
		}
		drops := map[Drop]uint64{}
		if test.err != nil {
			drops[test.err.(Drop)] = 1
		}
		if got := in.Drops(); fmt.Sprint(got) != fmt.Sprint(drops) {
			t.Errorf("%s: drops %v, want %v", test.name, got, drops)
		}
	}
}

// Cases: BUG-17; Ipsec.Conf.2.1.11.
func TestOpenKeepsTheWindow(t *testing.T) {
	const w = 64
	o, _ := gcm().pair(t, false)
	in := NewInbound(InboundConfig{SPI: testSPI, Cipher: gcm().cipher(t), Window: w})
	for k, step := range []struct {
		seq    uint64
		forge  bool
		err    error
		newest bool
	}{
		{0, false, ErrOld, false},
		{100, false, nil, true},
		{100, false, ErrReplay, false},
		{100 - w + 1, true, ErrIntegrity, false},
		{100 - w + 1, false, nil, false},
		{100 - w + 1, false, ErrReplay, false},
		{100 - w, false, ErrOld, false},
		{100 - w, true, ErrOld, false}, // refused before any cryptography
		{5000, true, ErrIntegrity, false},
		{99, false, nil, false}, // so the window did not move
		{101 + 1<<31, true, ErrIntegrity, false},
		{101, false, nil, true},
		{101 + 1<<31, false, nil, true},
		{102, false, ErrOld, false},
		{math.MaxUint32, false, nil, true},
		{math.MaxUint32, false, ErrReplay, false},
		{1, false, ErrOld, false}, // 32-bit numbers do not go round
	} {
		pkt := sealed(t, o, ipv4(20), step.seq)
		if step.forge {
			pkt[len(pkt)-1] ^= 1
		}
		opened, err := in.Open(pkt)
		if err != step.err || opened.Newest != step.newest {
			t.Errorf("step %d, number %d: newest %v, %v; want %v, %v", k, step.seq, opened.Newest, err, step.newest, step.err)
		}
	}
}

// The upper half follows the sender over 2^32 in spite of loss, doubling and reordering.
//
// Cases: BUG-19.
func TestESNCrossesASubspace(t *testing.T) {
	for _, s := range []testSuite{gcm(), testSuites()[2], cbc()} {
		for _, crossing := range []uint64{1 << 32, 7 << 32, math.MaxUint32 << 32} {
			rng := rand.New(rand.NewPCG(crossing, 1))
			o, in := s.pair(t, true)
			slow := slowWindow{size: DefaultWindow, top: crossing - 3000, seen: map[uint64]bool{}}
			in.window.top = slow.top
			for range 4000 {
				var seq uint64
				switch rng.IntN(10) {
				case 0: // late, perhaps too late or a second time
					seq = slow.top - rng.Uint64N(1500)
				case 1: // a gap
					seq = slow.top + rng.Uint64N(300)
				default:
					seq = slow.top + 1
				}
				wantNewest, wantDrop := slow.mark(seq)
				opened, err := in.Open(sealed(t, o, ipv4(20), seq))
				if wantDrop == ErrOld {
					// A number left of the window is taken for one of the next subspace, and does not authenticate.
					if err != ErrIntegrity && err != ErrOld {
						t.Fatalf("%s: %#x with top %#x: %v", s.name, seq, in.window.top, err)
					}
				} else if (err == nil) != (wantDrop == 0) || err != nil && err != error(wantDrop) || opened.Newest != wantNewest {
					t.Fatalf("%s: %#x with top %#x: newest %v, %v; want %v, %v",
						s.name, seq, in.window.top, opened.Newest, err, wantNewest, wantDrop)
				}
				if in.window.top != slow.top {
					t.Fatalf("%s: top %#x, want %#x", s.name, in.window.top, slow.top)
				}
			}
			if slow.top < crossing {
				t.Fatalf("ended at %#x before the crossing", slow.top)
			}
		}
	}
}

// A gap far larger than the window, and the largest that RFC 4303 A2.2 can bridge.
//
// Cases: BUG-19.
func TestESNBridgesGaps(t *testing.T) {
	for _, gap := range []uint64{5000, 1 << 31, 1<<32 - DefaultWindow} {
		o, in := gcm().pair(t, true)
		in.window.top = 3<<32 - 100
		if opened, err := in.Open(sealed(t, o, ipv4(20), in.window.top+gap)); err != nil || !opened.Newest {
			t.Errorf("gap of %d: %+v", gap, opened)
		}
	}
	o, in := gcm().pair(t, true)
	in.window.top = math.MaxUint64 - 1
	if _, err := in.Open(sealed(t, o, ipv4(20), math.MaxUint64)); err != nil {
		t.Errorf("the last number of all: %v", err)
	}
	if _, err := in.Open(sealed(t, o, ipv4(20), 1)); err != ErrOld {
		t.Errorf("the first number after the last: %v", err)
	}
}

// Both ends must agree on ESN: the upper half is authenticated even while it is 0.
func TestESNIsAuthenticated(t *testing.T) {
	for _, s := range testSuites() {
		with, _ := s.pair(t, true)
		_, without := s.pair(t, false)
		if _, err := without.Open(next(t, with, ipv4(20))); err != ErrIntegrity {
			t.Errorf("%s: ESN read without: %v", s.name, err)
		}
	}
}

func TestOpenTrainIsOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for _, s := range testSuites() {
		o, one := s.pair(t, true)
		_, many := s.pair(t, true)
		stride := o.PacketLen(64)
		var out []Opened
		for range 60 {
			var train []byte
			n := 1 + rng.IntN(20)
			for k := range n {
				size := 64
				if k == n-1 {
					size = 20 + rng.IntN(45)
				}
				seq := one.window.top + 1 + rng.Uint64N(30)
				seq -= min(seq-1, rng.Uint64N(40)) // also doubled and late
				pkt := sealed(t, o, ipv4(size), seq)
				if rng.IntN(8) == 0 {
					pkt[rng.IntN(len(pkt))] ^= 4
				}
				train = append(train, pkt...)
			}
			if rng.IntN(5) == 0 {
				train = train[:len(train)-rng.IntN(60)]
			}
			copied := bytes.Clone(train)
			out = many.OpenTrain(train, stride, out[:0])
			for k := 0; k*stride < len(copied); k++ {
				want, _ := one.Open(copied[k*stride : min(len(copied), (k+1)*stride)])
				got := out[k]
				if got.Err == ErrIntegrity && want.Err == ErrReplay {
					got.Err = ErrReplay // a damaged copy of a packet in the same train: see OpenTrain
				}
				if got.Err != want.Err || got.Newest != want.Newest || got.First != want.First || !bytes.Equal(got.Inner, want.Inner) {
					t.Fatalf("%s: packet %d of %d: %+v, want %+v", s.name, k, n, got, want)
				}
			}
		}
		drops := func(i *Inbound) (n uint64) {
			for _, count := range i.Drops() {
				n += count
			}
			return n
		}
		if got, want := drops(many), drops(one); got != want || got == 0 {
			t.Errorf("%s: %d drops, want %d", s.name, got, want)
		}
	}
	_, in := gcm().pair(t, false)
	if out := in.OpenTrain(nil, 10, nil); out != nil {
		t.Errorf("an empty train gave %v", out)
	}
	if out := in.OpenTrain(make([]byte, 10), 0, nil); out != nil {
		t.Errorf("a stride of 0 gave %v", out)
	}
}

// Copies of the same packets on many goroutines: each packet passes once, and First is told once.
//
// Cases: BUG-17.
func TestOpenConcurrently(t *testing.T) {
	const packets, workers = 300, 4
	o, in := gcm().pair(t, true)
	var sealedPkts [][]byte
	for range packets {
		sealedPkts = append(sealedPkts, next(t, o, ipv4(60)))
	}
	var passed [packets]atomic.Int32
	var firsts atomic.Int32
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for k := range packets {
				var opened Opened
				if pkt := bytes.Clone(sealedPkts[k]); w%2 == 0 {
					opened, _ = in.Open(pkt)
				} else {
					opened = in.OpenTrain(pkt, len(pkt), nil)[0]
				}
				if opened.Err == nil {
					passed[k].Add(1)
				}
				if opened.First {
					firsts.Add(1)
				}
			}
		})
	}
	all.Wait()
	for k := range passed {
		if n := passed[k].Load(); n != 1 {
			t.Errorf("packet %d passed %d times", k, n)
		}
	}
	if n, _ := in.Stats(); n != packets || firsts.Load() != 1 {
		t.Errorf("%d packets, %d of them first", n, firsts.Load())
	}
}

func TestInboundLimits(t *testing.T) {
	c := gcm().cipher(t)
	o, _ := gcm().pair(t, false)
	for _, test := range []struct {
		limits     Limits
		soft, hard int // the packet after which, the first refused
	}{
		{Limits{}, 0, 0},
		{Limits{SoftPackets: 3}, 3, 0},
		{Limits{HardPackets: 3}, 0, 4},
		{Limits{SoftBytes: 50}, 3, 0}, // 24 bytes each
		{Limits{HardBytes: 48}, 0, 3},
		{Limits{SoftPackets: 2, HardBytes: 49}, 2, 4},
	} {
		in := NewInbound(InboundConfig{SPI: testSPI, Cipher: c, Limits: test.limits})
		soft, hard := 0, 0
		for k := 1; k < 10; k++ {
			expired := in.Expired()
			opened, err := in.Open(sealed(t, o, ipv4(20), uint64(k)))
			if in.SoftReached() {
				if soft != 0 {
					t.Errorf("%+v: soft limit reported twice", test.limits)
				}
				soft = k
			}
			if expired != (err == ErrExpired) {
				t.Errorf("%+v: Expired() = %v before %v", test.limits, expired, err)
			}
			if err == ErrExpired && hard == 0 {
				hard = k
			}
			if (err == nil) != (hard == 0) || (opened.Inner == nil) != (hard != 0) {
				t.Errorf("%+v: packet %d: %v", test.limits, k, err)
			}
		}
		if soft != test.soft || hard != test.hard {
			t.Errorf("%+v: soft after %d, hard at %d; want %d, %d", test.limits, soft, hard, test.soft, test.hard)
		}
	}
}

// Cases: SGW.I.1.3.4.1.
func TestOpenRefusesAnotherSPI(t *testing.T) {
	o := NewOutbound(OutboundConfig{SPI: testSPI + 1, Cipher: gcm().cipher(t)})
	_, in := gcm().pair(t, false)
	if _, err := in.Open(next(t, o, ipv4(20))); err != ErrSPI {
		t.Errorf("%v, want %v", err, ErrSPI)
	}
}

func TestEveryDropHasItsNames(t *testing.T) {
	words, sentences := map[string]bool{}, map[string]bool{}
	for d := Drop(0); d <= dropEnd; d++ {
		known := d > 0 && d < dropEnd
		if known == (d.String() == "unknown") || known && (words[d.String()] || sentences[d.Error()]) {
			t.Errorf("reason %d: %q, %q", d, d.String(), d.Error())
		}
		words[d.String()], sentences[d.Error()] = true, true
	}
}
