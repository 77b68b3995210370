//go:build !race

package esp

import "testing"

// The packet path allocates nothing, for every cipher.
func TestNoAllocations(t *testing.T) {
	for _, s := range testSuites() {
		o, in := s.pair(t, true)
		n := 1000
		stride := o.PacketLen(n)
		train := make([]byte, 8*stride)
		inner := ipv4(n)
		out := make([]Opened, 0, 8)
		seal := func(packets int) {
			first, ok := o.Reserve(packets)
			if !ok {
				t.Fatal("Reserve refused")
			}
			for k := range packets {
				place := train[k*stride : (k+1)*stride]
				copy(place[o.HeadLen():], inner)
				o.Seal(place, n, first+uint64(k))
			}
		}
		for what, f := range map[string]func(){
			"Seal": func() { seal(1) },
			"Open": func() {
				seal(1)
				if _, err := in.Open(train[:stride]); err != nil {
					t.Fatal(err)
				}
			},
			"SealPadded": func() {
				first, _ := o.Reserve(1)
				o.SealPadded(train, 100, n, first)
			},
			"SealTransport": func() {
				first, _ := o.Reserve(1)
				o.SealTransport(train, 100, 17, first)
			},
			"a refused Open": func() {
				seal(1)
				train[stride-1] ^= 1
				if _, err := in.Open(train[:stride]); err != ErrIntegrity {
					t.Fatal(err)
				}
			},
			"OpenTrain": func() {
				seal(8)
				out = in.OpenTrain(train, stride, out[:0])
				if out[7].Err != nil {
					t.Fatal(out[7].Err)
				}
			},
		} {
			if allocs := testing.AllocsPerRun(200, f); allocs != 0 {
				t.Errorf("%s: %s makes %v allocations", s.name, what, allocs)
			}
		}
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	slots := NewSlots(64)
	spi, _ := slots.Alloc(0x12345678)
	slots.Set(spi, NewInbound(InboundConfig{SPI: spi, Cipher: gcm().cipher(t)}))
	if allocs := testing.AllocsPerRun(100, func() {
		if slots.Get(spi) == nil {
			t.Fatal("not found")
		}
	}); allocs != 0 {
		t.Errorf("Get makes %v allocations", allocs)
	}
}
