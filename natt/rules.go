package natt

import "time"

// MustFloat reports whether an initiator goes on at port 4500 after IKE_SA_INIT: a NAT was found, or UDP
// encapsulation is forced, by us (forced) or by the peer (RFC 7296 2.23). A peer without NAT traversal
// cannot be followed there. The responder does not decide: it answers where the request came from.
func MustFloat(s Situation, forced bool) bool {
	return s.Supported && (forced || s.LocalNAT || s.RemoteNAT || s.RemoteForces)
}

// MayFollow reports whether an IKE SA whose path is cur may move to got, the path of a packet that was just
// authenticated and was not a replay: neither an old packet nor a forged one may come here, or an attacker
// could turn the address back (RFC 7296 2.23). It is false if there is nothing to move.
//
// A host that is not behind a NAT follows. A host behind a NAT follows only a peer that is behind a NAT too,
// whose mapping nobody else can repair: the RFC's advice not to (SHOULD NOT) is meant for a client behind a
// dynamic NAT, whose peer has an address that does not change; a gateway behind a 1:1 NAT has clients that
// roam. With MOBIKE in use paths move by UPDATE_SA_ADDRESSES instead (RFC 4555 3.8), and the caller does
// not ask.
func MayFollow(cur, got Path, s Situation) bool {
	if got == cur || !got.Valid() {
		return false
	}
	// Once on port 4500 everything stays there (RFC 7296 2.23).
	if cur.NATT && !got.NATT {
		return false
	}
	return s.RemoteNAT || !s.LocalNAT
}

// KeepaliveInterval is the silence after which a host behind a NAT sends a keepalive (RFC 3948 4: M).
const KeepaliveInterval = 20 * time.Second

// Keepalives says when the next NAT-keepalive of a path is due. The zero value has sent nothing yet.
type Keepalives struct {
	last time.Time
}

// Sent notes that a packet of any kind, a keepalive too, went to the peer at now: a keepalive is needed only
// when no other packet was sent within the interval (RFC 3948 4).
func (k *Keepalives) Sent(now time.Time) {
	if now.After(k.last) {
		k.last = now
	}
}

// Due returns when the next keepalive is to be sent. ok is false if none is needed: only the side behind a
// NAT keeps the mapping alive (RFC 7296 2.23), and only on an encapsulated path. Before anything was sent it
// is due at once, at the zero time.
func (k Keepalives) Due(p Path, s Situation) (at time.Time, ok bool) {
	if !s.LocalNAT || !p.NATT {
		return time.Time{}, false
	}
	if k.last.IsZero() {
		return time.Time{}, true
	}
	return k.last.Add(KeepaliveInterval), true
}
