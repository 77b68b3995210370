package gateway

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// early holds ESP that overtakes the IKE message which its SA is made of. A responder may send under a new SA as soon as it sends its
// answer (RFC 7296 2.8), and charon does as soon as it begins to make it: what comes before the answer would be lost each time.
// It is held if its SPI is lent to an offer of ours, which a stranger does not know, and is opened when the SA is installed.
type early struct {
	lent atomic.Int32 // how many SPIs there are in held: nothing is locked for strangers while there are none

	mu    sync.Mutex
	held  map[uint32][]earlyPacket
	bytes int // of all packets
}

// earlyPacket is a copy of what came.
type earlyPacket struct {
	data []byte
	path natt.Path
	tos  byte
	at   int64 // on the datapath's clock
}

const (
	// earlyTime is for how long packets are held: what comes later than that has been sent again.
	earlyTime = int64(time.Second)
	// earlyPackets and earlyBytes bound what is held under one SPI, and in all.
	earlyPackets = 256
	earlyBytes   = 1 << 20
)

// expect holds from now on what comes under an SPI.
func (e *early) expect(spi uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil {
		e.held = make(map[uint32][]earlyPacket)
	}
	e.held[spi] = nil
	e.lent.Store(int32(len(e.held)))
}

// take returns what came under an SPI until now, and holds no more.
func (e *early) take(spi uint32, now int64) []earlyPacket {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropOlder(spi, now)
	list := e.held[spi]
	for _, p := range list {
		e.bytes -= len(p.data)
	}
	delete(e.held, spi)
	e.lent.Store(int32(len(e.held)))
	return list
}

// hold keeps a copy of a packet, if it belongs to an offer and there is room.
func (e *early) hold(spi uint32, p earlyPacket) bool {
	if e.lent.Load() == 0 {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.held[spi]; !ok {
		return false
	}
	e.dropOlder(spi, p.at)
	if len(e.held[spi]) >= earlyPackets || e.bytes+len(p.data) > earlyBytes {
		return false
	}
	p.data = bytes.Clone(p.data)
	e.bytes += len(p.data)
	e.held[spi] = append(e.held[spi], p)
	return true
}

// dropOlder forgets packets that were held for too long.
func (e *early) dropOlder(spi uint32, now int64) {
	list := e.held[spi]
	for len(list) > 0 && now-list[0].at > earlyTime {
		e.bytes -= len(list[0].data)
		list[0] = earlyPacket{}
		list = list[1:]
		e.held[spi] = list
	}
}

// holdEarly holds the packets from i to end, all under one SPI that is not installed, and returns the first that it could not hold.
func (f *inboundLoop) holdEarly(d *udp.Datagrams, i, end int, path natt.Path) int {
	for now := f.now(); i < end; i++ {
		b := d.At(i)
		if !f.early.hold(spiOf(b), earlyPacket{b, path, d.TOS, now}) {
			break
		}
	}
	return i
}

// openEarly opens what came for SAs before they were installed. The other direction is in place too by now, for what is answered at
// once.
func (c *control) openEarly() {
	for _, spi := range c.installed {
		for _, p := range c.early.take(spi, c.now()) {
			c.overtaken.open(&udp.Datagrams{Buf: p.data, Local: p.path.Local, Remote: p.path.Remote, TOS: p.tos}, 0, p.path)
			c.overtaken.finish()
		}
	}
	c.installed = c.installed[:0]
}
