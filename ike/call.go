package ike

import (
	"errors"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/explain"
)

// dial asks for the path to the peer, unless an attempt is under way, or it is too early, or the peer cannot be called.
func (k *keeper) dial() {
	switch {
	case k.conn.RemoteHost == "" || k.dialing || k.isCalling():
	case k.notYet.After(k.end.now):
		k.wakeAt(k.notYet)
	case !k.isItsTurn():
		k.wakeAt(k.turn)
	default:
		k.dialing, k.turn = true, zeroTime
		k.end.emit(Dial{Conn: k.conn, Host: k.host()})
	}
}

// Calls of all connections together are made at a pace, of which a burst is free, so that thousands of connections that lose their
// peer at once, or are loaded at once, do not call it at once.
const (
	callInterval = 2 * time.Millisecond
	callBurst    = 64
)

// isItsTurn reports whether the connection may call now; turn is when it may.
func (k *keeper) isItsTurn() bool {
	if k.turn.IsZero() {
		k.turn = k.end.calls.turn(k.end.now, callInterval, callBurst)
	}
	return !k.turn.After(k.end.now)
}

// resolved goes on with a path.
func (k *keeper) resolved(r Resolved) {
	if !k.dialing {
		return
	}
	k.dialing = false
	if k.stray {
		k.stray = false
		k.changed()
		return
	}
	if k.resting {
		return
	}
	sent := k.sent
	k.sent = nil
	var way detour
	if sent != nil {
		if k.arrive(sent, &r) {
			return
		}
		way = sent.detour
	}
	k.noWay = r.Err != nil
	if r.Err != nil {
		ev := Event{Kind: Failed, Conn: k.conn.Name, Text: r.Err.Error()}
		if known := (*explain.Error)(nil); errors.As(r.Err, &known) {
			ev = ev.because(known.Diagnosis)
		}
		k.end.emit(ev)
		k.failed(ev.Text)
		return
	}
	if k.current() != nil {
		k.changed()
		return
	}
	for _, c := range k.children {
		if c.keep || c.once {
			k.end.initiate(k.conn, c.cfg, r.Path, nil, way)
			return
		}
	}
}

// called notes a call of ours.
func (k *keeper) called(sa *ikeSA) {
	k.calls = append(k.calling(), sa)
}

// calling are the IKE SAs that we are setting up.
func (k *keeper) calling() []*ikeSA {
	k.calls = slices.DeleteFunc(k.calls, func(sa *ikeSA) bool { return !sa.isCall() })
	return k.calls
}

// isCall reports whether we are setting the IKE SA up, and want it.
func (sa *ikeSA) isCall() bool {
	switch s := sa.state.(type) {
	case *expectInitReply:
		return true
	case *expectAuthReply:
		return s.unwanted == ""
	}
	return false
}

// isCalling reports whether we are setting up an IKE SA.
func (k *keeper) isCalling() bool {
	return len(k.calling()) > 0
}
