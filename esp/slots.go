package esp

import (
	"math/bits"
	"sync/atomic"
)

// The lower bits of an inbound SPI are the index of its slot, the upper ones are random, so that an SPI is
// hard to guess and a late packet of an SA that had the slot before is not mistaken for one of its successor.
const (
	minSPI   = 256 // RFC 4303 2.1: 1 to 255 are reserved, 0 is never sent
	maxSlots = 1 << 20
)

// Slots finds the Inbound of an SPI. Alloc, Set and Free are for one goroutine, the owner; Get is for all.
type Slots struct {
	inbound []atomic.Pointer[Inbound]
	spi     []uint32 // the owner's: the SPI that holds the slot, 0 if it is free
	free    int
}

// NewSlots makes room for n SAs, rounded up to a power of two, 1 to 2^20.
func NewSlots(n int) *Slots {
	n = 1 << bits.Len(uint(min(max(n, 1), maxSlots)-1))
	return &Slots{inbound: make([]atomic.Pointer[Inbound], n), spi: make([]uint32, n), free: n}
}

// Alloc lends an SPI that is in use nowhere else until Free; random is 32 random bits. Nothing is found under
// it before Set. ok is false if all slots are taken.
func (s *Slots) Alloc(random uint32) (spi uint32, ok bool) {
	if s.free == 0 {
		return 0, false
	}
	slot := s.slot(random)
	for s.spi[slot] != 0 {
		slot = s.slot(slot + 1)
	}
	spi = random - s.slot(random) + slot
	if spi < minSPI {
		spi |= 1 << 31 // above every slot index, so the slot stays the same
	}
	s.spi[slot] = spi
	s.free--
	return spi, true
}

// Set makes in what Get finds under spi, or nothing if in is nil. It does nothing and returns false if spi is
// not lent, or in has another SPI.
func (s *Slots) Set(spi uint32, in *Inbound) bool {
	slot := s.slot(spi)
	if spi == 0 || s.spi[slot] != spi || in != nil && in.spi != spi {
		return false
	}
	s.inbound[slot].Store(in)
	return true
}

// Get returns the Inbound of an SPI, nil if there is none. The caller may go on using it after Free: what it
// holds stays valid, if without effect.
func (s *Slots) Get(spi uint32) *Inbound {
	in := s.inbound[s.slot(spi)].Load()
	if in == nil || in.spi != spi {
		return nil
	}
	return in
}

// Free takes an SPI back and forgets its Inbound. An SPI that is not lent is ignored.
func (s *Slots) Free(spi uint32) {
	slot := s.slot(spi)
	if spi == 0 || s.spi[slot] != spi {
		return
	}
	s.inbound[slot].Store(nil)
	s.spi[slot] = 0
	s.free++
}

// InUse is how many SPIs are lent. It is for the owner.
func (s *Slots) InUse() int { return len(s.spi) - s.free }

func (s *Slots) slot(spi uint32) uint32 { return spi & uint32(len(s.spi)-1) }
