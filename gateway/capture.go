package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// CapturedPacket is an inner packet as it was decrypted, or before it was encrypted.
type CapturedPacket struct {
	Time       time.Time `json:"time"`
	Out        bool      `json:"out"` // sent to the peer
	Connection string    `json:"connection"`
	Child      string    `json:"child"`
	SPI        string    `json:"spi"` // of the SA that it came or went by
	// Data is the packet from its IP header on, Length how long it was if not all of it is there.
	Data   []byte `json:"data"`
	Length int    `json:"length"`
	// Lost counts the packets before it that there was no room for.
	Lost uint64 `json:"lost,omitempty"`
}

// CaptureOptions say what is captured.
type CaptureOptions struct {
	Connection string // all packets of its Child SAs
	Child      string // empty: of all children
	Snap       int    // how many bytes of a packet are kept at most; 0: all
}

// owner says whose an SA is. It never changes.
type owner struct {
	conn, child string
	spi         uint32
}

func ownerOf(in ike.Install) *owner {
	return &owner{conn: in.Conn.Name, child: in.Child.Name, spi: in.SPI}
}

// captureRoom is how many packets wait for whoever captures.
const captureRoom = 2048

// capture takes copies of packets from the forwarders, which never wait for it: what finds no room is counted.
type capture struct {
	options CaptureOptions
	packets chan CapturedPacket
	lost    atomic.Uint64
}

// take copies a packet, if it is of those that are captured.
func (c *capture) take(o *owner, out bool, packet []byte) {
	if o == nil || o.conn != c.options.Connection || c.options.Child != "" && o.child != c.options.Child {
		return
	}
	if len(c.packets) == cap(c.packets) { // not worth a copy
		c.lost.Add(1)
		return
	}
	kept := packet
	if c.options.Snap > 0 {
		kept = packet[:min(len(packet), c.options.Snap)]
	}
	p := CapturedPacket{
		Time: time.Now().Round(0), Out: out, Connection: o.conn, Child: o.child, SPI: espSPI(o.spi), Data: bytes.Clone(kept), Length: len(packet),
	}
	select {
	case c.packets <- p:
	default:
		c.lost.Add(1)
	}
}

var (
	errNoCapture    = errors.New("this gateway does not let packets be captured: start it with `culvert run --allow-capture`")
	errCaptureTaken = errors.New("somebody captures packets already: only one can at a time")
)

// Capture gives each the inner packets of a connection in clear, until ctx ends or each returns an error. It is refused unless
// WithCapture allows it. The log tells when it begins and ends. What is captured while each is busy waits, up to a bound; then packets
// are left out, and counted. Forwarding is never held up.
func (g *Gateway) Capture(ctx context.Context, o CaptureOptions, each func([]CapturedPacket) error) error {
	if !g.options.capture {
		return errNoCapture
	}
	c := &capture{options: o, packets: make(chan CapturedPacket, captureRoom)}
	var d *datapath
	var refused error
	if err := g.do(ctx, func(ctl *control) {
		if ctl.conns[o.Connection] == nil {
			refused = fmt.Errorf("there is no connection %q", o.Connection)
			return
		}
		if d = ctl.datapath; !d.capture.CompareAndSwap(nil, c) {
			refused = errCaptureTaken
		}
	}); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	g.options.log.Warn("packets are being captured in clear", "connection", o.Connection, "child", o.Child)
	count := uint64(0)
	defer func() {
		d.capture.CompareAndSwap(c, nil)
		g.options.log.Warn("packets are captured no more", "connection", o.Connection, "child", o.Child, "packets", count, "lost", c.lost.Load())
	}()
	for {
		batch, err := c.next(ctx, g.stopped)
		if err != nil {
			return err
		}
		count += uint64(len(batch))
		if err := each(batch); err != nil {
			return err
		}
	}
}

// captureBatch is how many packets are handed on together at most.
const captureBatch = 64

// next waits for packets, and returns those that are there.
func (c *capture) next(ctx context.Context, stopped <-chan struct{}) ([]CapturedPacket, error) {
	var batch []CapturedPacket
	select {
	case p := <-c.packets:
		batch = append(batch, p)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-stopped:
		return nil, ErrStopped
	}
	for len(batch) < captureBatch {
		select {
		case p := <-c.packets:
			batch = append(batch, p)
			continue
		default:
		}
		break
	}
	batch[len(batch)-1].Lost = c.lost.Load()
	return batch, nil
}
