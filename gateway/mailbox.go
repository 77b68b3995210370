package gateway

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

const (
	// knownLane, begunLane and unknownLane are how many inputs wait in the lanes of the mailbox.
	knownLane   = 512
	begunLane   = 512
	unknownLane = 256
)

// mailbox is how the forwarders speak to the control loop. It never blocks them: what finds a lane full is dropped and
// counted. It has lanes, so that strangers who send IKE_SA_INIT cannot starve the IKE SAs that are up, nor those that are half done:
// when thousands of peers call at once, as after a restart, each of them is finished before the next one is begun.
type mailbox struct {
	known, begun, unknown chan letter
	// spis are of what belongs to the known lane, answered of what belongs to that of those half done.
	spis, answered spiSet
	counters       *counters
}

// letter is an input, and when it was put into the mailbox.
type letter struct {
	in ike.Input
	at time.Time
}

func newMailbox(c *counters) *mailbox {
	return &mailbox{known: make(chan letter, knownLane), begun: make(chan letter, begunLane), unknown: make(chan letter, unknownLane), counters: c}
}

// datagram puts a copy of an IKE message in the lane it belongs to.
func (m *mailbox) datagram(path natt.Path, msg []byte) {
	m.counters.ikeIn.Add(1)
	lane, full := m.unknown, DropUnknownFull
	if h, err := wire.ParseHeader(msg); err == nil {
		switch ours := ourSPI(h); {
		case m.spis.has(ours):
			lane, full = m.known, DropKnownFull
		case m.answered.has(ours):
			lane, full = m.begun, DropBegunFull
		}
	}
	if len(lane) == cap(lane) { // a flood is not worth a copy
		m.counters.drop(full)
		return
	}
	select {
	case lane <- letter{ike.Datagram{Path: path, Data: slices.Clone(msg)}, time.Now()}:
	default:
		m.counters.drop(full)
	}
}

// next are the lanes to take something from: strangers wait for who has begun, and both for who is known.
func (m *mailbox) next() (known, begun, unknown <-chan letter) {
	switch {
	case len(m.known) > 0:
		return m.known, nil, nil
	case len(m.begun) > 0:
		return m.known, m.begun, nil
	}
	return m.known, m.begun, m.unknown
}

// lanes says how full the lanes are.
func (m *mailbox) lanes() []LaneFigures {
	return []LaneFigures{
		{"known", len(m.known), cap(m.known)}, {"begun", len(m.begun), cap(m.begun)}, {"unknown", len(m.unknown), cap(m.unknown)},
	}
}

// answer notes the SPI of ours that an answer to IKE_SA_INIT names: from now on its peer has begun.
func (m *mailbox) answer(msg []byte) {
	if h, err := wire.ParseHeader(msg); err == nil && h.Response && h.Exchange == wire.IKE_SA_INIT {
		m.answered.add(h.SPIr)
	}
}

// tell takes news from the datapath, and reports whether there was room for it.
func (m *mailbox) tell(in ike.Input) bool {
	select {
	case m.known <- letter{in, time.Now()}:
		return true
	default:
		m.counters.drop(DropKnownFull)
		return false
	}
}

// stray tells of a packet that belongs to no SA. Strangers cause it: it has no precedence.
func (m *mailbox) stray(in ike.Stray) {
	select {
	case m.unknown <- letter{in, time.Now()}:
	default:
		m.counters.drop(DropUnknownFull)
	}
}

// ourSPI is the SPI that we chose, if h is of a message to us (RFC 7296 3.1).
func ourSPI(h wire.Header) uint64 {
	if h.Initiator {
		return h.SPIr
	}
	return h.SPIi
}

// spiSet holds the SPIs of the IKE SAs that deserve a better lane. It is a hint: where two SPIs want the same place
// the later one has it, and all that the other loses is precedence. The control goroutine writes, all others read.
type spiSet struct{ place [1 << 16]atomic.Uint64 }

func (s *spiSet) at(spi uint64) *atomic.Uint64 { return &s.place[spi%uint64(len(s.place))] }

func (s *spiSet) has(spi uint64) bool { return spi != 0 && s.at(spi).Load() == spi }

func (s *spiSet) add(spi uint64) {
	if spi != 0 {
		s.at(spi).Store(spi)
	}
}

func (s *spiSet) remove(spi uint64) {
	if s.has(spi) {
		s.at(spi).Store(0)
	}
}
