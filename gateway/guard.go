package gateway

import (
	"log/slog"
	"time"
)

// guard keeps the host protecting the traffic of the policies: when they change, after a failure, and when others have
// changed the host. The control goroutine owns it. Without a host it does nothing.
type guard struct {
	host     Host
	log      *slog.Logger
	policies []Policy
	began    bool   // the host was asked to protect something
	failure  string // why it does not protect all of it, "" if it does
	// rested is when the host would be told next if it had always been given its rest.
	rested time.Time
}

// protectEvery is how soon the host is mended.
const protectEvery = 2 * time.Second

// due ticks when the host may want mending; stop ends that.
func (g *guard) due() (tick <-chan time.Time, stop func()) {
	if g.host == nil {
		return nil, func() {}
	}
	t := time.NewTicker(protectEvery)
	return t.C, t.Stop
}

func (g *guard) setup(device string, mtu int) error {
	if g.host == nil {
		return nil
	}
	return g.host.Setup(device, mtu)
}

// protect has other policies protected from now on.
func (g *guard) protect(policies []Policy) error {
	g.policies = policies
	began := time.Now()
	err := g.mend()
	if earliest := began.Add(-guardBurst); g.rested.Before(earliest) {
		g.rested = earliest
	}
	g.rested = g.rested.Add(guardShare * time.Since(began))
	return err
}

const (
	// guardShare is the part of the time in which the host may be told of policies: with many of them that takes a while, and there
	// may be others each moment.
	guardShare = 20
	// guardBurst is how much of its rest the host may owe: a few policies in a row are told at once, because until it is told what
	// was agreed upon with a peer leaves in clear, if nobody could know it before.
	guardBurst = 20 * time.Second
)

// isRested reports whether the host may be told of other policies now. Otherwise it is when it is mended.
func (g *guard) isRested() bool { return !g.rested.After(time.Now()) }

// mend has the host look after what it protects.
func (g *guard) mend() error {
	if g.host == nil {
		return nil
	}
	g.began = true
	return g.host.Protect(g.policies)
}

// report writes what came of it, if that is new.
func (g *guard) report(err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	switch {
	case failure == g.failure:
	case err != nil:
		g.log.Error("the host cannot be made to protect all traffic of the tunnels; it is tried again", "error", err)
	default:
		g.log.Info("the host protects all traffic of the tunnels again")
	}
	g.failure = failure
}

// end leaves the host. After a failure, and before another run, it stays protected: nobody has asked for the traffic to leave in
// clear.
func (g *guard) end(failure error, restart bool) error {
	switch {
	case g.host == nil:
		return nil
	case failure == nil && !restart:
		return g.host.Close()
	case failure != nil && g.began:
		g.log.Warn("the gateway has failed; the traffic of its policies stays kept from leaving this host until the gateway runs again")
	}
	return g.host.Release()
}
