package bench

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/culvert-vpn/culvert/esp"
	"github.com/culvert-vpn/culvert/suite"
)

// One SA sends a run of packets, as many as the default replay window holds; receiving it is measured apart.
const run = esp.DefaultWindow

// innerSizes are a bare TCP acknowledgement, the mean of mixed traffic, and a full segment.
var innerSizes = []int{40, 576, 1400}

// espCipher is a way to protect packets: the same keys for both ends.
type espCipher struct {
	name        string
	encr, integ suite.Transform
}

func espCiphers() []espCipher {
	encr := func(id, bits uint16) suite.Transform {
		return suite.Transform{Type: suite.TypeENCR, ID: id, KeyBits: bits}
	}
	sha256 := suite.Transform{Type: suite.TypeINTEG, ID: suite.AUTH_HMAC_SHA2_256_128}
	return []espCipher{
		{"aes128gcm", encr(suite.ENCR_AES_GCM_16, 128), suite.Transform{}},
		{"aes256gcm", encr(suite.ENCR_AES_GCM_16, 256), suite.Transform{}},
		{"chacha20poly1305", encr(suite.ENCR_CHACHA20_POLY1305, 0), suite.Transform{}},
		{"aes256cbc-sha256", encr(suite.ENCR_AES_CBC, 256), sha256},
	}
}

func (c espCipher) new(b *testing.B) suite.Cipher {
	b.Helper()
	enc, integ, err := suite.KeyLens(c.encr, c.integ)
	if err != nil {
		b.Fatal(err)
	}
	cipher, err := suite.NewCipher(c.encr, c.integ, make([]byte, enc), make([]byte, integ))
	if err != nil {
		b.Fatal(err)
	}
	return cipher
}

// train is a run of packets in one buffer.
type train struct {
	out    *esp.Outbound
	size   int // of an inner packet
	stride int
	buf    []byte
	inner  []byte
}

func newTrain(b *testing.B, c espCipher, size int) *train {
	b.Helper()
	out := esp.NewOutbound(esp.OutboundConfig{SPI: 0x1000, Cipher: c.new(b), ESN: true})
	inner := make([]byte, size)
	inner[0], inner[8], inner[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(inner[2:], uint16(size))
	stride := out.PacketLen(size)
	return &train{out: out, size: size, stride: stride, buf: make([]byte, run*stride), inner: inner}
}

// seal fills the first n places.
func (t *train) seal(b *testing.B, n int) {
	first, ok := t.out.Reserve(n)
	if !ok {
		b.Fatal("the SA is spent")
	}
	for k := range n {
		place := t.buf[k*t.stride : (k+1)*t.stride]
		copy(place[t.out.HeadLen():], t.inner)
		t.out.Seal(place, t.size, first+uint64(k))
	}
}

// eachESP runs f for every cipher and size; its bytes are those of inner packets.
func eachESP(b *testing.B, f func(b *testing.B, c espCipher, t *train)) {
	for _, c := range espCiphers() {
		for _, size := range innerSizes {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				t := newTrain(b, c, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b, c, t)
			})
		}
	}
}

// BenchmarkESPSeal is one packet: a number, the copy of the inner packet into its place, protection.
func BenchmarkESPSeal(b *testing.B) {
	eachESP(b, func(b *testing.B, _ espCipher, t *train) {
		for b.Loop() {
			t.seal(b, 1)
		}
	})
}

// BenchmarkESPOpen is one packet by itself.
func BenchmarkESPOpen(b *testing.B) {
	eachESP(b, func(b *testing.B, c espCipher, t *train) {
		in := esp.NewInbound(esp.InboundConfig{SPI: 0x1000, Cipher: c.new(b), ESN: true})
		k := run
		for b.Loop() {
			if k == run {
				b.StopTimer()
				t.seal(b, run)
				k = 0
				b.StartTimer()
			}
			if _, err := in.Open(t.buf[k*t.stride : (k+1)*t.stride]); err != nil {
				b.Fatal(err)
			}
			k++
		}
	})
}

// BenchmarkESPOpenTrain is one packet of a train of 32.
func BenchmarkESPOpenTrain(b *testing.B) {
	const length = 32
	eachESP(b, func(b *testing.B, c espCipher, t *train) {
		in := esp.NewInbound(esp.InboundConfig{SPI: 0x1000, Cipher: c.new(b), ESN: true})
		opened := make([]esp.Opened, 0, length)
		k := run
		for left := 0; b.Loop(); left-- {
			if left > 0 {
				continue // opened with the one before
			}
			left = length
			if k == run {
				b.StopTimer()
				t.seal(b, run)
				k = 0
				b.StartTimer()
			}
			opened = in.OpenTrain(t.buf[k*t.stride:(k+length)*t.stride], t.stride, opened[:0])
			if err := opened[length-1].Err; err != nil {
				b.Fatal(err)
			}
			k += length
		}
	})
}

// BenchmarkESPReplay is a packet that the replay window refuses before any cryptography.
func BenchmarkESPReplay(b *testing.B) {
	c := espCiphers()[0]
	t := newTrain(b, c, 1400)
	t.seal(b, 1)
	in := esp.NewInbound(esp.InboundConfig{SPI: 0x1000, Cipher: c.new(b), ESN: true})
	if _, err := in.Open(t.buf[:t.stride]); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Open(t.buf[:t.stride]); err != esp.ErrReplay {
			b.Fatal(err)
		}
	}
}

// BenchmarkESPSlots is finding the SA of a packet among many.
func BenchmarkESPSlots(b *testing.B) {
	cipher := espCiphers()[0].new(b)
	slots := esp.NewSlots(4096)
	var spis []uint32
	for k := range uint32(4096) {
		spi, ok := slots.Alloc(k * 2654435761)
		if !ok {
			b.Fatal("no slot left")
		}
		slots.Set(spi, esp.NewInbound(esp.InboundConfig{SPI: spi, Cipher: cipher, Window: esp.MinWindow}))
		spis = append(spis, spi)
	}
	b.ReportAllocs()
	k := 0
	for b.Loop() {
		if slots.Get(spis[k]) == nil {
			b.Fatal("not found")
		}
		k = (k + 1) % len(spis)
	}
}
