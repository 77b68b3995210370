package ike

import "time"

// Tally is what there is of a connection at one moment, in numbers.
type Tally struct {
	Conn string // empty: no connection, or not known yet
	// Connecting are the IKE SAs that are being set up, Established those that are up and have no successor, Replaced those that
	// have one, Closing those whose Delete is under way.
	Connecting, Established, Replaced, Closing int
	// Of those established: who is behind a NAT. Open is where neither side is known to be.
	NATHere, NATThere, NATBoth, Open int
	// Since is when the last of those established was set up, Rekey when the first of them gets new keys; zero: none of them.
	Since, Rekey time.Time
	// Children are about the configured children.
	Children []ChildTally
}

// ChildTally is what there is of a child.
type ChildTally struct {
	Child string
	// SAs are the Child SAs that have no successor, Rekey when the first of them gets new keys; zero: none of them.
	SAs   int
	Rekey time.Time
	// Wanted: the child is to be brought up or kept up.
	Wanted bool
}

// Census counts what belongs to each connection, and the IKE SAs of peers that are not known yet.
// It is much cheaper than Snapshot.
func (e *Endpoint) Census() (known []Tally, strangers Tally) {
	known = make([]Tally, len(e.keepers))
	index := make(map[*Connection]int, len(e.keepers))
	for i, k := range e.keepers {
		index[k.conn] = i
		known[i].Conn, known[i].Children = k.conn.Name, make([]ChildTally, len(k.children))
		for j, c := range k.children {
			known[i].Children[j] = ChildTally{Child: c.cfg.Name, Wanted: c.keep || c.once}
		}
	}
	for sa := range e.order.all() {
		i, ok := index[sa.conn]
		if !ok {
			strangers.count(sa)
			continue
		}
		known[i].count(sa)
		for _, c := range sa.children {
			if j := e.keepers[i].place(c.cfg); j >= 0 && !c.gone && !c.deleting && !c.isReplaced() {
				t := &known[i].Children[j]
				t.SAs++
				t.Rekey = earlier(t.Rekey, c.rekeyAt)
			}
		}
	}
	return known, strangers
}

// place is which of the children has this configuration, -1 if none does.
func (k *keeper) place(cfg *Child) int {
	for i, c := range k.children {
		if c.cfg == cfg {
			return i
		}
	}
	return -1
}

// count counts an IKE SA.
func (t *Tally) count(sa *ikeSA) {
	switch {
	case sa.isGone():
		return
	case sa.isCurrent():
	case sa.isEstablished() && sa.stage() != up:
		t.Closing++
		return
	case sa.isEstablished():
		t.Replaced++
		return
	default:
		t.Connecting++
		return
	}
	t.Established++
	switch here, there := sa.nat.LocalNAT, sa.nat.RemoteNAT; {
	case here && there:
		t.NATBoth++
	case here:
		t.NATHere++
	case there:
		t.NATThere++
	default:
		t.Open++
	}
	if sa.established.After(t.Since) {
		t.Since = sa.established
	}
	t.Rekey = earlier(t.Rekey, sa.timers[timerRekey])
}
