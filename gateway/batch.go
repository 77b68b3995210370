package gateway

import (
	"github.com/culvert-vpn/culvert/udp"
)

// batch is what one goroutine has sealed and sends together: datagrams one behind the other, and neighbours to one peer that
// look alike joined to trains.
type batch struct {
	*datapath
	buf    []byte
	end    int // of what is sealed
	n      int // datagrams
	trains []udp.Datagrams
	routes []*route // of each train
	last   int      // datagrams in the last train; 0: nothing may join it
}

const (
	// trainLen is how many bytes of datagrams one message carries at most, over IPv4.
	trainLen = 65535 - ip4Header - udpHeader
	// maxTrain is how many datagrams one message carries (UDP_MAX_SEGMENTS).
	maxTrain = 64
	// maxBatch is how many datagrams are sealed before they are sent: enough to share the cost of a call, few enough
	// that the first does not wait.
	maxBatch = 64
)

func newBatch(d *datapath) batch {
	return batch{datapath: d, buf: make([]byte, 2*trainLen)}
}

// fit is how many datagrams of a length go into one train at most; 0 if it is too long for any.
func fit(length int) int { return min(maxTrain, trainLen/length) }

// room makes room for so many datagrams of at most stride bytes, no more than fit says, and tells where the first is to be
// sealed. If they are several they go into one train.
func (b *batch) room(stride, count int) []byte {
	if b.n >= maxBatch || b.end > trainLen || b.end+stride*count > len(b.buf) {
		b.flush()
	}
	if count > 1 && (b.last+count > maxTrain || b.last*stride+count*stride > trainLen) {
		b.last = 0
	}
	return b.buf[b.end:]
}

// add takes a datagram of n bytes that was sealed where room said, behind those that were added since.
func (b *batch) add(r *route, tos byte, n int) {
	start := b.end
	b.end += n
	b.n++
	if b.last > 0 {
		i := len(b.trains) - 1
		t := &b.trains[i]
		if b.routes[i] == r && t.TOS == tos && n <= t.Stride && b.last < fit(t.Stride) {
			t.Buf = t.Buf[:len(t.Buf)+n]
			b.last++
			if n < t.Stride {
				b.last = 0 // a shorter one ends a train
			}
			return
		}
	}
	b.trains = append(b.trains, udp.Datagrams{
		Buf: b.buf[start:b.end], Stride: n, TOS: tos, Local: r.path.Local, Remote: r.path.Remote,
	})
	b.routes = append(b.routes, r)
	b.last = 1
}

// flush sends all of it.
func (b *batch) flush() {
	for from := 0; from < len(b.trains); {
		to, conn := from+1, b.routes[from].conn
		for to < len(b.trains) && b.routes[to].conn == conn {
			to++
		}
		from += b.send(from, to)
	}
	b.trains, b.routes = b.trains[:0], b.routes[:0]
	b.end, b.n, b.last = 0, 0, 0
}

// send sends the trains from one to another, which go through one socket. It returns how many are done with: sent, or one of
// them dropped.
func (b *batch) send(from, to int) int {
	n, err := 0, error(udp.ErrUnreachable)
	if conn := b.routes[from].conn; conn != nil {
		n, err = conn.WriteBatch(b.trains[from:to])
	}
	now := b.now()
	for _, r := range b.routes[from : from+n] {
		r.sent.Store(now)
	}
	if err == nil {
		return n
	}
	failed := from + n
	if err = b.routes[failed].again(b.trains[failed], err); err != nil {
		b.counters.dropN(dropOfSend(err), b.trains[failed].Len())
	} else {
		b.routes[failed].sent.Store(now)
	}
	return n + 1
}
