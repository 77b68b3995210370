package esp

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestSlotsLendEverySlotOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 3, 64, 300, 1024} {
		s := NewSlots(n)
		room := len(s.inbound)
		if room < n || room >= 2*n && n > 1 {
			t.Errorf("NewSlots(%d) has room for %d", n, room)
		}
		lent := map[uint32]bool{}
		for k := range room {
			random := rng.Uint32()
			if k%3 == 0 {
				random &= 0xff // must not become a reserved SPI
			}
			spi, ok := s.Alloc(random)
			if !ok || spi < 256 || lent[spi] {
				t.Fatalf("Alloc %d of %d = %#x, %v", k, room, spi, ok)
			}
			lent[spi] = true
		}
		if spi, ok := s.Alloc(rng.Uint32()); ok {
			t.Fatalf("Alloc gave %#x with all %d slots taken", spi, room)
		}
		if s.InUse() != room {
			t.Fatalf("%d of %d slots are in use when all are", s.InUse(), room)
		}
		for spi := range lent {
			s.Free(spi)
			if s.InUse() != room-1 {
				t.Fatalf("%d of %d slots are in use when all but one are", s.InUse(), room)
			}
			s.Free(spi) // a second time is nothing
			again, ok := s.Alloc(rng.Uint32())
			if !ok || s.slot(again) != s.slot(spi) {
				t.Fatalf("after Free(%#x) Alloc = %#x, %v", spi, again, ok)
			}
			if _, ok := s.Alloc(rng.Uint32()); ok {
				t.Fatal("one Free gave two slots")
			}
		}
	}
}

func TestSlotsUseTheRandomBits(t *testing.T) {
	s := NewSlots(256)
	for _, random := range []uint32{0xdeadbeef, 0x00000142, 0xffffffff} {
		if spi, _ := s.Alloc(random); spi != random {
			t.Errorf("Alloc(%#x) = %#x from an empty table", random, spi)
		}
	}
	spi, _ := s.Alloc(0x123456ef) // the slot ef is taken by deadbeef
	if spi != 0x123456f0 {
		t.Errorf("Alloc beside a taken slot = %#x", spi)
	}
	if spi, _ := s.Alloc(0x7fffffff); spi != 0x7fffff00 { // around the end
		t.Errorf("Alloc past the last slot = %#x", spi)
	}
	if spi, _ := s.Alloc(7); spi != 0x80000007 { // RFC 4303 2.1
		t.Errorf("Alloc in the reserved range = %#x", spi)
	}
}

func TestSlotsGet(t *testing.T) {
	s := NewSlots(16)
	spi, _ := s.Alloc(0xabcdef05)
	in := NewInbound(InboundConfig{SPI: spi, Cipher: gcm().cipher(t)})
	if s.Get(spi) != nil {
		t.Error("found before Set")
	}
	if s.Set(spi+16, in) || s.Set(0, in) || s.Set(0, nil) || s.Get(spi) != nil {
		t.Error("Set under an SPI that is not lent")
	}
	other, _ := s.Alloc(0x11111106)
	if s.Set(other, in) || s.Get(other) != nil {
		t.Error("Set an Inbound of another SPI")
	}
	if !s.Set(spi, in) || s.Get(spi) != in {
		t.Error("not found after Set")
	}
	for _, wrong := range []uint32{0, 5, spi + 16, spi ^ 1<<31, spi + 1, other} {
		if s.Get(wrong) != nil {
			t.Errorf("Get(%#x) found the SA of %#x", wrong, spi)
		}
	}
	s.Free(spi + 16)
	if s.Get(spi) != in {
		t.Error("Free of an SPI that is not lent forgot another")
	}
	if !s.Set(spi, nil) || s.Get(spi) != nil {
		t.Error("found after Set(nil)")
	}
	s.Set(spi, in)
	s.Free(spi)
	if s.Get(spi) != nil || s.Set(spi, in) {
		t.Error("found after Free")
	}
}

// One owner changes the table while others look; the race detector judges.
func TestSlotsConcurrently(t *testing.T) {
	s, c := NewSlots(8), gcm().cipher(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for spi := uint32(0); ; spi++ {
				select {
				case <-stop:
					return
				default:
				}
				if in := s.Get(0x100 + spi%16); in != nil && in.SPI() != 0x100+spi%16 {
					t.Error("Get returned the SA of another SPI")
				}
			}
		})
	}
	for k := range uint32(2000) {
		spi, _ := s.Alloc(0x100 + k%16)
		s.Set(spi, NewInbound(InboundConfig{SPI: spi, Cipher: c, Window: 32}))
		s.Free(spi)
	}
	close(stop)
	readers.Wait()
}
