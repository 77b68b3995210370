// Package pool lends inner addresses to peers (RFC 7296 2.19): which address of which pool an identity gets, and what is
// remembered of that from one run to the next.
//
// A Book holds the leases of all pools. A lease is online while an IKE SA uses it. Afterwards it is kept for its owner, who gets
// the same address when it comes back; only when nothing else is left does it go to somebody else, the one that was left first
// first. Nothing is allocated for addresses that were never lent, so a pool may be as large as IPv6 allows.
package pool

import (
	"cmp"
	"container/list"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ident"
)

// MaxLeases is how many leases a Book remembers. Beyond that, those that were offline the longest are forgotten; if all are
// online, nothing more is lent.
const MaxLeases = 1 << 16

// Range is a pool: the addresses from First to Last, which are of one family and in order.
type Range struct {
	Name        string
	First, Last netip.Addr
}

// Contains reports whether an address is in the pool.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Size is the number of addresses; what does not fit into 64 bits is the greatest number that does.
func (r Range) Size() uint64 {
	first, last := r.First.As16(), r.Last.As16()
	high := binary.BigEndian.Uint64(last[:8]) - binary.BigEndian.Uint64(first[:8])
	low := binary.BigEndian.Uint64(last[8:]) - binary.BigEndian.Uint64(first[8:])
	if binary.BigEndian.Uint64(last[8:]) < binary.BigEndian.Uint64(first[8:]) {
		high--
	}
	if high > 0 || low+1 == 0 {
		return 1<<64 - 1
	}
	return low + 1
}

// Lease is an address that was lent.
type Lease struct {
	Pool  string
	Addr  netip.Addr
	Owner ident.ID
	// Online counts the IKE SAs that use it.
	Online int
	// Since is when it was lent or, if it is offline, when it was given back.
	Since time.Time
}

// Book holds the leases. It is not safe for concurrent use.
type Book struct {
	pools []*pool
	// byOwner are the leases of an identity, in the order in which they were lent.
	byOwner map[ident.ID][]*lease
	// offline ones, the one that was given back first first.
	offline *list.List
	count   int
	// waiting are leases of an earlier run whose pools are not there yet.
	waiting []Lease
}

// pool is a Range and what was lent of it.
type pool struct {
	Range
	leases map[netip.Addr]*lease
	next   netip.Addr // where to look for an address that was never lent
}

type lease struct {
	Lease
	pool *pool
	// place in the list of offline leases; nil while online.
	place *list.Element
}

// New returns a Book for pools, whose names differ and whose ranges do not overlap.
func New(ranges []Range) *Book {
	b := &Book{byOwner: make(map[ident.ID][]*lease), offline: list.New()}
	b.Configure(ranges)
	return b
}

// Configure replaces the pools. What is lent stays lent, in the pool that has the address now; what no pool has is forgotten.
func (b *Book) Configure(ranges []Range) {
	former := b.pools
	b.pools = nil
	for _, r := range ranges {
		b.pools = append(b.pools, &pool{Range: r, leases: make(map[netip.Addr]*lease), next: r.First})
	}
	for _, old := range former {
		for addr, l := range old.leases {
			i := slices.IndexFunc(b.pools, func(p *pool) bool { return p.Contains(addr) })
			if i < 0 {
				b.drop(l)
				continue
			}
			l.pool, l.Pool = b.pools[i], b.pools[i].Name
			l.pool.leases[addr] = l
		}
	}
	b.recall()
}

// Lend gives owner an address of one of the pools, tried in order, of the family of wish. If wish is an address and not
// unspecified, it is what the owner would like: it gets it if it had it before, or if nobody has (RFC 7296 3.15.1); of an IPv6
// address it may get the interface identifier at least (RFC 7296 3.15.3). from is the pool; ok is false if nothing is left. Every
// Lend wants a Return.
func (b *Book) Lend(now time.Time, pools []string, owner ident.ID, wish netip.Addr) (from string, addr netip.Addr, ok bool) {
	owner = owner.Canonical()
	var chosen []*pool
	for _, name := range pools {
		i := slices.IndexFunc(b.pools, func(p *pool) bool { return p.Name == name && p.First.BitLen() == wish.BitLen() })
		if i >= 0 {
			chosen = append(chosen, b.pools[i])
		}
	}
	l := b.again(chosen, owner, wish)
	if l == nil {
		l = b.fresh(chosen, owner, wish)
	}
	if l == nil {
		l = b.reassign(chosen, owner)
	}
	if l == nil {
		return "", netip.Addr{}, false
	}
	if l.Online++; l.Online == 1 {
		b.offline.Remove(l.place)
		l.place, l.Since = nil, now
	}
	return l.Pool, l.Addr, true
}

// again finds a lease that the owner had: the wished one, even if another IKE SA of the owner uses it still, since that is how a
// peer sets up a new IKE SA before it closes the old; else one that is not in use.
func (b *Book) again(chosen []*pool, owner ident.ID, wish netip.Addr) (had *lease) {
	for _, l := range b.byOwner[owner] {
		switch {
		case !slices.Contains(chosen, l.pool):
		case l.Addr == wish:
			return l
		case l.Online == 0 && had == nil:
			had = l
		}
	}
	return had
}

// fresh makes a lease of an address that nobody has.
func (b *Book) fresh(chosen []*pool, owner ident.ID, wish netip.Addr) *lease {
	if b.count >= MaxLeases && !b.forget() {
		return nil
	}
	for _, wanted := range []func(*pool) netip.Addr{
		func(*pool) netip.Addr { return wish },
		func(p *pool) netip.Addr { return p.withIdentifier(wish) },
		(*pool).unused,
	} {
		for _, p := range chosen {
			if a := wanted(p); p.Contains(a) && p.leases[a] == nil {
				return b.enter(p, a, owner, time.Time{})
			}
		}
	}
	return nil
}

// withIdentifier is the interface identifier of an IPv6 address with the prefix of the pool; the zero Addr if there is none.
func (p *pool) withIdentifier(wish netip.Addr) netip.Addr {
	if !wish.Is6() || wish.IsUnspecified() {
		return netip.Addr{}
	}
	a, identifier := p.First.As16(), wish.As16()
	copy(a[8:], identifier[8:])
	return netip.AddrFrom16(a)
}

// unused finds an address that was not lent; the zero Addr if there is none.
func (p *pool) unused() netip.Addr {
	if uint64(len(p.leases)) >= p.Size() {
		return netip.Addr{}
	}
	for range len(p.leases) + 1 {
		a := p.next
		if p.next = a.Next(); !p.Contains(p.next) {
			p.next = p.First
		}
		if p.leases[a] == nil {
			return a
		}
	}
	return netip.Addr{}
}

// reassign takes the lease of somebody who was away the longest.
func (b *Book) reassign(chosen []*pool, owner ident.ID) *lease {
	for e := b.offline.Front(); e != nil; e = e.Next() {
		if l := e.Value.(*lease); slices.Contains(chosen, l.pool) {
			b.remove(l)
			return b.enter(l.pool, l.Addr, owner, time.Time{})
		}
	}
	return nil
}

// enter adds a lease that is offline.
func (b *Book) enter(p *pool, a netip.Addr, owner ident.ID, since time.Time) *lease {
	l := &lease{Lease: Lease{Pool: p.Name, Addr: a, Owner: owner, Since: since}, pool: p}
	p.leases[a] = l
	b.byOwner[owner] = append(b.byOwner[owner], l)
	l.place = b.offline.PushBack(l)
	b.count++
	return l
}

// forget removes the lease that was offline the longest.
func (b *Book) forget() bool {
	oldest := b.offline.Front()
	if oldest == nil {
		return false
	}
	b.remove(oldest.Value.(*lease))
	return true
}

func (b *Book) remove(l *lease) {
	delete(l.pool.leases, l.Addr)
	b.drop(l)
}

// drop forgets a lease whose pool is gone, or has forgotten it.
func (b *Book) drop(l *lease) {
	if l.place != nil {
		b.offline.Remove(l.place)
	}
	rest := slices.DeleteFunc(b.byOwner[l.Owner], func(o *lease) bool { return o == l })
	if b.byOwner[l.Owner] = rest; len(rest) == 0 {
		delete(b.byOwner, l.Owner)
	}
	b.count--
}

// Return takes an address back that was lent; its owner may have it again. The pool may have another name since.
func (b *Book) Return(now time.Time, _ string, addr netip.Addr) {
	for _, p := range b.pools {
		l := p.leases[addr]
		if l == nil || l.Online == 0 {
			continue
		}
		if l.Online--; l.Online == 0 {
			l.Since, l.place = now, b.offline.PushBack(l)
		}
	}
}

// Leases lists all leases, by pool and address.
func (b *Book) Leases() []Lease {
	var all []Lease
	for _, p := range b.pools {
		first := len(all)
		for _, l := range p.leases {
			all = append(all, l.Lease)
		}
		slices.SortFunc(all[first:], func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	}
	return all
}

// Use is how much of a pool is lent: the addresses that are in use, and those that are kept for who had them.
type Use struct {
	Range
	Online, Offline int
}

// Uses are the pools, and how much of them is lent.
func (b *Book) Uses() []Use {
	var all []Use
	for _, p := range b.pools {
		u := Use{Range: p.Range}
		for _, l := range p.leases {
			if l.Online > 0 {
				u.Online++
			} else {
				u.Offline++
			}
		}
		all = append(all, u)
	}
	return all
}

// Ranges are the pools.
func (b *Book) Ranges() []Range {
	var all []Range
	for _, p := range b.pools {
		all = append(all, p.Range)
	}
	return all
}

// bySince orders leases, the one that was given back first first.
func bySince(a, b Lease) int { return cmp.Or(a.Since.Compare(b.Since), a.Addr.Compare(b.Addr)) }
