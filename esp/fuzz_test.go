package esp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzOpen gives Open two kinds of hostile input: bytes from anyone, which must never authenticate, and
// plaintext from a peer that holds the key, which must be judged as the slow model does.
//
// Cases: BUG-11; BUG-20.
func FuzzOpen(f *testing.F) {
	suites := testSuites()
	for k, s := range suites {
		o, _ := s.pair(f, false)
		forged := sealed(f, o, ipv4(40), 1)
		copy(forged[len(forged)-s.tagLen:], bytes.Repeat([]byte{0xaa}, s.tagLen))
		f.Add(byte(k), uint64(1), forged)
		f.Add(byte(k), uint64(9), []byte{})
		for _, plain := range [][]byte{
			trailer(ipv4(28), 2, 4), trailer(ipv6(45), 1, 41), trailer(nil, 14, 59), trailer(ipv4(20), 255, 4),
			trailer(append(ipv4(30), make([]byte, 32)...), 0, 4), trailer(ipv4(30)[:22], 8, 4), {255, 4}, {0, 0, 0, 0},
		} {
			f.Add(byte(k)|0x80, uint64(1)<<33+5, plain)
		}
	}
	f.Fuzz(func(t *testing.T, how byte, seq uint64, data []byte) {
		s := suites[int(how&0x3f)%len(suites)]
		esn := how&0x40 != 0
		_, in := s.pair(t, esn)
		if how&0x80 == 0 {
			openForged(t, in, data)
			return
		}
		if seq == 0 {
			seq = 1
		}
		if !esn {
			seq = seq>>32%0xffffffff + 1
		}
		in.window.top = seq - 1
		for s.hash != nil && len(data)%16 != 0 {
			data = append(bytes.Clone(data), byte(len(data)))
		}
		if len(data) < trailerLen {
			data = trailer(nil, 14, nextDummy)
		}
		opened, err := in.Open(s.seal(t, seq, esn, s.ivOf(seq), data))
		wantLen, wantErr := slowUnwrap(data)
		if err != wantErr || !bytes.Equal(opened.Inner, data[:wantLen]) {
			t.Fatalf("plaintext %x: %x, %v; want %d bytes, %v", data, opened.Inner, err, wantLen, wantErr)
		}
		if !opened.First || !opened.Newest {
			t.Fatalf("plaintext %x: an authentic packet did not count", data)
		}
	})
}

func openForged(t *testing.T, in *Inbound, data []byte) {
	pkt := bytes.Clone(data)
	if len(pkt) >= 4 {
		binary.BigEndian.PutUint32(pkt, testSPI)
	}
	opened, err := in.Open(pkt)
	if err != ErrShort && err != ErrOld && err != ErrIntegrity {
		t.Fatalf("%x: %+v, %v", data, opened, err)
	}
	if opened.Inner != nil || opened.First || opened.Newest || in.window.top != 0 {
		t.Fatalf("%x: a forged packet counted: %+v", data, opened)
	}
}

// slowUnwrap judges a plaintext of at least two bytes: the length of the inner packet, or the reason.
func slowUnwrap(plain []byte) (int, error) {
	next, pad, payload := plain[len(plain)-1], plain[len(plain)-2], plain[:len(plain)-2]
	if next == 59 {
		return 0, ErrDummy
	}
	for k := pad; k > 0; k-- {
		if len(payload) == 0 || payload[len(payload)-1] != k {
			return 0, ErrPadding
		}
		payload = payload[:len(payload)-1]
	}
	if next != 4 && next != 41 {
		return 0, ErrNextHeader
	}
	word := func(k int) int { return int(payload[k])*256 + int(payload[k+1]) }
	n := -1
	if next == 4 && len(payload) >= 20 && payload[0] >= 0x45 && payload[0] <= 0x4f {
		if n = word(2); n < int(payload[0]-0x40)*4 {
			n = -1
		}
	}
	if next == 41 && len(payload) >= 40 && payload[0] >= 0x60 && payload[0] <= 0x6f {
		n = 40 + word(4)
	}
	if n < 0 || n > len(payload) {
		return 0, ErrInner
	}
	return n, nil
}
