package ike

import (
	"cmp"
	"iter"
	"slices"

	"github.com/culvert-vpn/culvert/ident"
)

// A gateway has thousands of IKE SAs, and what one of them is about must not depend on how many others there are. So nothing that a
// message or a timer of one IKE SA causes walks over all of them: what it may concern is found in a roster of its connection, or
// among those with the same peer.

// roster is some IKE SAs in the order of their making. IKE SAs may come and go while somebody walks over it.
type roster struct {
	places []place
	gone   int // places that nobody has any more
	// walked counts the IKE SAs that walks came past: what one of them causes must not make it grow with their number.
	walked uint64
}

// place is where an IKE SA stands; sa is nil when it is gone.
type place struct {
	number uint64
	sa     *ikeSA
}

// all yields the IKE SAs that are there when their turn comes; those that join meanwhile may be left out.
func (r *roster) all() iter.Seq[*ikeSA] {
	return func(yield func(*ikeSA) bool) {
		for _, p := range r.places {
			if p.sa == nil || p.sa.removed {
				continue
			}
			if r.walked++; !yield(p.sa) {
				return
			}
		}
	}
}

// len is how many there are.
func (r *roster) len() int { return len(r.places) - r.gone }

func (r *roster) find(sa *ikeSA) (i int, ok bool) {
	return slices.BinarySearchFunc(r.places, sa.number, func(p place, n uint64) int { return cmp.Compare(p.number, n) })
}

// join enters an IKE SA: the youngest or, when nobody walks over the roster, one of the youngest.
func (r *roster) join(sa *ikeSA) {
	i, _ := r.find(sa)
	r.places = slices.Insert(r.places, i, place{sa.number, sa})
}

// leave takes it out. The places are closed up when half of them are empty, so that it costs the same however many there are.
func (r *roster) leave(sa *ikeSA) {
	i, ok := r.find(sa)
	if !ok || r.places[i].sa != sa {
		return
	}
	r.places[i].sa = nil
	if r.gone++; 2*r.gone <= len(r.places) {
		return
	}
	kept := make([]place, 0, r.len())
	for _, p := range r.places {
		if p.sa != nil {
			kept = append(kept, p)
		}
	}
	r.places, r.gone = kept, 0
}

// latestFirst are those that were authenticated last first: what they carry is not to be handed to one that is closed next.
func (r *roster) latestFirst() []*ikeSA {
	list := slices.Collect(r.all())
	slices.SortStableFunc(list, func(a, b *ikeSA) int { return b.origin.authenticated.Compare(a.origin.authenticated) })
	return list
}

// ends are the identities of both ends of an IKE SA.
type ends struct{ local, remote ident.ID }

func endsOf(local, remote ident.ID) ends { return ends{local.Canonical(), remote.Canonical()} }

// identify notes who the two ends are.
func (sa *ikeSA) identify(local, remote ident.ID) {
	sa.beNobody()
	sa.localID, sa.remoteID = local, remote
	if remote.IsZero() {
		return
	}
	among := endsOf(local, remote)
	list := append(slices.Clip(sa.end.peers[among]), sa)
	slices.SortFunc(list, func(a, b *ikeSA) int { return cmp.Compare(a.number, b.number) })
	sa.end.peers[among] = list
}

// beNobody takes the IKE SA out from among those with the same ends.
func (sa *ikeSA) beNobody() {
	if sa.remoteID.IsZero() {
		return
	}
	among := endsOf(sa.localID, sa.remoteID)
	list := slices.DeleteFunc(slices.Clone(sa.end.peers[among]), func(o *ikeSA) bool { return o == sa })
	if len(list) == 0 {
		delete(sa.end.peers, among)
	} else {
		sa.end.peers[among] = list
	}
}

// relatives are the IKE SAs with the same two ends, itself among them, in the order of their making. The list does not change.
func (sa *ikeSA) relatives() []*ikeSA {
	if sa.remoteID.IsZero() {
		return []*ikeSA{sa}
	}
	return sa.end.peers[endsOf(sa.localID, sa.remoteID)]
}

// belong makes the IKE SA one of a connection.
func (sa *ikeSA) belong(conn *Connection) {
	sa.conn = conn
	sa.end.keeperOf(conn).sas.join(sa)
}
