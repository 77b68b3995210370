package compare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-vpn/culvert/bench/load"
	"github.com/culvert-vpn/culvert/internal/lab"
)

// session is a subject that is up.
type session struct {
	subject
	tunnel
	a, b   *site
	device string
	mtu    int
}

// newSession builds the network of a subject, starts it, and sees that packets come through.
func newSession(ctx context.Context, t lab.T, s subject, tree, dir string) (*session, error) {
	a, b, err := newSites(t, dir)
	if err != nil {
		return nil, err
	}
	e := &session{subject: s, tunnel: newTunnel(s, tree, a, b), a: a, b: b}
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	way, err := a.way()
	if err != nil {
		return nil, err
	}
	e.device, e.mtu = way.Attrs().Name, way.Attrs().MTU
	if outside := e.device == b.name; outside != (s.kind == rawLink) {
		return nil, fmt.Errorf("the traffic would leave on device %s", e.device)
	}
	echoer, err := load.NewEchoer(a.end(), b.end())
	if err != nil {
		return nil, err
	}
	defer echoer.Close()
	return e, e.answered(ctx, echoer)
}

// answered waits until an echo comes back.
func (e *session) answered(ctx context.Context, echoer *load.Echoer) error {
	const each = 100 * time.Millisecond
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; {
		if _, ok := echoer.Once(each); ok {
			return nil
		}
		if err := e.alive(); err != nil {
			return err
		}
	}
	return e.a.explain(errors.Join(errors.New("nothing comes through"), ctx.Err()))
}

// alive is an error when one of the daemons is not.
func (e *session) alive() error { return errors.Join(e.a.alive(), e.b.alive()) }

// sites are the sites that have a daemon: both, or none.
func (e *session) sites() []*site {
	if e.kind == rawLink {
		return nil
	}
	return []*site{e.a, e.b}
}

// daemons are the processes whose time and memory count.
func (e *session) daemons() (list []*lab.Process) {
	for _, s := range e.sites() {
		list = append(list, s.daemon)
	}
	return list
}

// usage is what was used up to a moment.
type usage struct {
	at        time.Time
	daemons   time.Duration // processor time
	generator time.Duration
}

func (e *session) usage() (usage, error) {
	u := usage{at: time.Now(), generator: ownCPU()}
	for _, d := range e.daemons() {
		t, err := cpuOf(d)
		if err != nil {
			return u, errors.Join(err, e.alive())
		}
		u.daemons += t
	}
	return u, nil
}

// spent is what was used between two moments.
type spent struct {
	seconds            float64
	daemons, generator float64 // seconds of processors
	peak               float64 // bytes of the bigger daemon
}

// measure runs f and tells what the daemons used meanwhile.
func (e *session) measure(f func()) (s spent, err error) {
	for _, d := range e.daemons() {
		if err := forgetPeak(d); err != nil {
			return s, errors.Join(err, e.alive())
		}
	}
	before, err := e.usage()
	if err != nil {
		return s, err
	}
	f()
	after, err := e.usage()
	if err != nil {
		return s, err
	}
	for _, d := range e.daemons() {
		peak, err := peakOf(d)
		if err != nil {
			return s, err
		}
		s.peak = max(s.peak, float64(peak))
	}
	s.seconds = after.at.Sub(before.at).Seconds()
	s.daemons = (after.daemons - before.daemons).Seconds()
	s.generator = (after.generator - before.generator).Seconds()
	return s, e.alive()
}

// passed is how many bytes have left on both sides, on the way to the peer and on the link.
func (e *session) passed() (inner, outer uint64, err error) {
	for _, s := range []*site{e.a, e.b} {
		way, err := s.way()
		if err != nil {
			return 0, 0, err
		}
		link, err := s.host.Netlink().LinkByName(s.peer.name)
		if err != nil {
			return 0, 0, err
		}
		inner += way.Attrs().Statistics.TxBytes
		outer += link.Attrs().Statistics.TxBytes
	}
	return inner, outer, nil
}

// through runs f, which returns how many bytes of payload arrived, and checks that they went through the tunnel and then over
// the link.
func (e *session) through(f func() (uint64, error)) error {
	innerBefore, outerBefore, err := e.passed()
	if err != nil {
		return err
	}
	payload, err := f()
	if err != nil {
		return err
	}
	inner, outer, err := e.passed()
	if err != nil {
		return err
	}
	if inner -= innerBefore; inner < payload {
		return fmt.Errorf("%d bytes arrived, but only %d went out on %s", payload, inner, e.device)
	}
	if outer -= outerBefore; outer < payload {
		return fmt.Errorf("%d bytes arrived, but only %d went over the link", payload, outer)
	}
	return nil
}
