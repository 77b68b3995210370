package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"slices"
	"testing"
)

// plaintext decrypts a packet with the standard library alone: aes128gcm16, key and salt from testSuite.keys.
func plaintext(t *testing.T, pkt []byte) []byte {
	t.Helper()
	enc, _ := gcm().keys(t)
	block, err := aes.NewCipher(enc[:16])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, append(slices.Clone(enc[16:]), pkt[8:16]...), pkt[16:], pkt[:8])
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// RFC 4303 3.1.1: in transport mode ESP carries what follows the IP header, whose protocol is the next header. Byte by byte: the
// payload, padding 1, 2, 3 up to a multiple of four, its length, the next header.
func TestTransportLayout(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		next          byte
		want          string
	}{
		{"UDP", "1388000700090000" + "41", 17, "1388000700090000" + "41" + "01" + "01" + "11"},
		{"TCP of four bytes", "00112233", 6, "00112233" + "0102" + "02" + "06"},
		{"nothing", "", 132, "0102" + "02" + "84"},
		{"an IP packet is one protocol of many", "45000000", 4, "45000000" + "0102" + "02" + "04"},
	} {
		payload, _ := hex.DecodeString(c.payload)
		o := NewOutbound(OutboundConfig{SPI: testSPI, Cipher: gcm().cipher(t)})
		in := NewInbound(InboundConfig{SPI: testSPI, Cipher: gcm().cipher(t), Transport: true})
		seq, _ := o.Reserve(1)
		buf := make([]byte, o.PacketLen(len(payload)))
		copy(buf[o.HeadLen():], payload)
		pkt := o.SealTransport(buf, len(payload), c.next, seq)
		if head := hex.EncodeToString(pkt[:8]); head != "c0ffee0100000001" {
			t.Errorf("%s: header %s", c.name, head)
		}
		if plain := hex.EncodeToString(plaintext(t, pkt)); plain != c.want {
			t.Errorf("%s: %s is encrypted, want %s", c.name, plain, c.want)
		}
		got, err := in.Open(pkt)
		if err != nil || !bytes.Equal(got.Inner, payload) || got.Next != c.next || !got.First || !got.Newest {
			t.Errorf("%s: opened as %+v, %v", c.name, got, err)
		}
	}
}

// Transport mode has its dummy packets too (RFC 4303 2.6), and padding that is not right is refused (2.4).
func TestTransportRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		body []byte
		want Drop
	}{
		{"dummy", []byte{9, 9, 9, 0, 59}, ErrDummy},
		{"padding too long", []byte{1, 2, 17}, ErrPadding},
		{"padding of zeros", []byte{9, 0, 0, 2, 17}, ErrPadding},
		{"no trailer", []byte{0}, ErrShort},
	} {
		if _, _, drop := unwrapTransport(c.body); drop != c.want {
			t.Errorf("%s: %v, want %v", c.name, drop, c.want)
		}
	}
	if payload, next, drop := unwrapTransport([]byte{0, 17}); drop != 0 || payload == nil || len(payload) != 0 || next != 17 {
		t.Errorf("an empty payload: %v %d %v", payload, next, drop)
	}
}

// RFC 4303 2.7: the inner packet says how long it is; what follows it up to the padding is nothing.
func TestTFCPadding(t *testing.T) {
	for _, s := range testSuites() {
		o, in := s.pair(t, false)
		for _, c := range []struct{ n, padded, length int }{
			{20, 20, 20}, {20, 100, 100}, {20, 1400, 1400}, {1400, 1400, 1400}, {1400, 20, 1400},
		} {
			for _, inner := range [][]byte{ipv4(c.n), ipv6(max(c.n, 40))} {
				length := max(c.length, len(inner))
				seq, _ := o.Reserve(1)
				buf := bytes.Repeat([]byte{0xee}, o.PacketLen(length))
				copy(buf[o.HeadLen():], inner)
				pkt := o.SealPadded(buf, len(inner), c.padded, seq)
				if len(pkt) != o.PacketLen(length) {
					t.Errorf("%s: %d padded to %d: %d bytes, want %d", s.name, c.n, c.padded, len(pkt), o.PacketLen(length))
				}
				if s.name == "gcm128" && len(inner) < length {
					if tail := plaintext(t, pkt)[len(inner):length]; !bytes.Equal(tail, make([]byte, len(tail))) {
						t.Errorf("what stood in the buffer was sent: %x", tail)
					}
				}
				if got, err := in.Open(pkt); err != nil || !bytes.Equal(got.Inner, inner) {
					t.Errorf("%s: %d padded to %d: %x, %v", s.name, c.n, c.padded, got.Inner, err)
				}
			}
		}
		if o.SealPadded(make([]byte, 200), 0, 100, 1) != nil {
			t.Error("nothing was padded")
		}
	}
}
