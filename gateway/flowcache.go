package gateway

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/culvert-vpn/culvert/internal/prefetch"
	"github.com/culvert-vpn/culvert/ts"
)

// flowCache remembers for one forwarder which flow packets belong to. In a table of thousands of policies a lookup waits for memory some ten times
// in a row; here it does once, and what many packets wait for can be fetched side by side. It is no more than a memory: what it
// does not know is looked up, and it forgets everything when the table changes. It grows only while flows displace each other.
type flowCache struct {
	table     *ts.Table[*flow] // in use; what it remembers is of this one
	tables    uint64           // how many there were
	seed      maphash.Seed     // so that nobody can choose packets that displace each other
	sets      []flowSet        // a power of two
	displaced int              // flows, since it grew
}

// flowSet is where all flows of one hash are, the newest first. It is two neighbouring cache lines.
type flowSet [2]cachedFlow

type cachedFlow struct {
	key   cacheKey
	table uint64 // as flowCache.tables when it was entered; 0: never
	flow  *flow  // nil: no policy matches
	_     [8]byte
}

// cacheKey is what of a packet policies look at: the addresses, and then family, protocol and ports.
type cacheKey [5]uint64

const (
	minFlowSets = 1 << 7  // 16 KiB
	maxFlowSets = 1 << 15 // 4 MiB
)

func newFlowCache() flowCache {
	return flowCache{seed: maphash.MakeSeed(), sets: make([]flowSet, minFlowSets)}
}

// cacheable is where a packet is to be found.
type cacheable struct {
	key  cacheKey
	hash uint64
}

// use is for a table to look up in.
func (c *flowCache) use(t *ts.Table[*flow]) {
	if t != c.table {
		c.table, c.tables = t, c.tables+1
	}
}

// prepare says where the flow of a packet would be, and has that fetched. It holds for the table in use.
func (c *flowCache) prepare(p *ts.Packet) (at cacheable) {
	src, dst := p.Src.As16(), p.Dst.As16()
	at.key = cacheKey{
		binary.NativeEndian.Uint64(src[:]), binary.NativeEndian.Uint64(src[8:]),
		binary.NativeEndian.Uint64(dst[:]), binary.NativeEndian.Uint64(dst[8:]),
	}
	if p.Dst.Is6() {
		at.key[4] = 1
	}
	if !c.table.ByAddress() {
		at.key[4] |= uint64(p.SrcPort)<<48 | uint64(p.DstPort)<<32 | uint64(p.Protocol)<<8
		if p.HasPorts {
			at.key[4] |= 2
		}
	}
	at.hash = maphash.Comparable(c.seed, at.key)
	prefetch.Value(c.set(at.hash))
	return at
}

func (c *flowCache) set(hash uint64) *flowSet { return &c.sets[hash&uint64(len(c.sets)-1)] }

// lookup is the table's Lookup for a packet, with what prepare said of it; nil if no policy matches.
func (c *flowCache) lookup(p *ts.Packet, at *cacheable) *flow {
	set := c.set(at.hash)
	for i := range set {
		if e := &set[i]; e.table == c.tables && e.key == at.key {
			return e.flow
		}
	}
	f, _ := c.table.Lookup(p)
	if set[1].table == c.tables {
		set = c.displace(at.hash)
	}
	set[1] = set[0]
	set[0] = cachedFlow{key: at.key, table: c.tables, flow: f}
	return f
}

// displace makes the cache larger when it was too small for a while, and says where a hash belongs. What it knew is found again one by
// one, so that no packet waits for all.
func (c *flowCache) displace(hash uint64) *flowSet {
	if c.displaced++; c.displaced > len(c.sets)/16 && len(c.sets) < maxFlowSets {
		c.sets, c.displaced = make([]flowSet, 4*len(c.sets)), 0
	}
	return c.set(hash)
}
