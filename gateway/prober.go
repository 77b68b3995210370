package gateway

import (
	"context"
	"net/netip"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/natt"
	"github.com/culvert-vpn/culvert/udp"
)

// prober finds out what ICMP says of peers that do not answer. One goroutine does it.
type prober struct {
	asked chan ike.Probe
	mark  uint32
	// answer runs something on the control goroutine.
	answer func(func(*control))
}

const (
	// proberLane is how many questions wait, openProbes how many are open at a time. More go without.
	proberLane = 64
	openProbes = 64
	// probeTime is how long an answer is waited for: a router takes three seconds to find that a host is not there.
	probeTime = 5 * time.Second
	// lookAtProbes is how often it is looked for answers, while there are questions.
	lookAtProbes = 100 * time.Millisecond
)

// newProber makes a prober. It is nil without sockets of the host's own: what the sockets that were brought lead to is not known.
func newProber(o *options, answer func(func(*control))) *prober {
	if o.conns != nil {
		return nil
	}
	p := &prober{asked: make(chan ike.Probe, proberLane), answer: answer}
	if o.host != nil {
		p.mark = Mark
	}
	return p
}

// ask asks, if that is not too much.
func (p *prober) ask(e ike.Probe) {
	if p == nil {
		return
	}
	select {
	case p.asked <- e:
	default:
	}
}

// openProbe is a question that was not answered yet.
type openProbe struct {
	*udp.Probe
	remote netip.AddrPort
	// sas are the IKE SAs that want to know.
	sas   map[uint64]bool
	until time.Time
}

// run is the goroutine.
func (p *prober) run(ctx context.Context) {
	open := make(map[natt.Path]*openProbe)
	look := time.NewTicker(lookAtProbes)
	look.Stop()
	defer look.Stop()
	defer func() {
		for _, o := range open {
			o.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-p.asked:
			if len(open) == 0 {
				look.Reset(lookAtProbes)
			}
			p.open(open, e)
		case <-look.C:
			p.look(open)
		}
		if len(open) == 0 {
			look.Stop()
		}
	}
}

// open asks, or asks again.
func (p *prober) open(open map[natt.Path]*openProbe, e ike.Probe) {
	o := open[e.Path]
	if o != nil {
		o.Again()
		o.until = time.Now().Add(probeTime)
	} else {
		if len(open) >= openProbes {
			return
		}
		probe, err := udp.OpenProbe(e.Path.Local.Addr(), e.Path.Remote, p.mark)
		if err != nil {
			return
		}
		o = &openProbe{Probe: probe, remote: e.Path.Remote, sas: make(map[uint64]bool), until: time.Now().Add(probeTime)}
		open[e.Path] = o
	}
	if len(o.sas) < openProbes {
		o.sas[e.IKE] = true
	}
}

// look passes on what was heard.
func (p *prober) look(open map[natt.Path]*openProbe) {
	now := time.Now()
	for path, o := range open {
		u, ok := o.Heard()
		if ok {
			p.answer(func(c *control) {
				for spi := range o.sas {
					c.handle(ike.Unreached{IKE: spi, Remote: o.remote, By: u.By, Why: obstacleOf[u.Why]})
				}
			})
		}
		if ok || now.After(o.until) {
			o.Close()
			delete(open, path)
		}
	}
}

var obstacleOf = [...]ike.Obstacle{
	udp.HostUnreachable: ike.HostUnreachable, udp.NetUnreachable: ike.NetUnreachable, udp.PortClosed: ike.PortClosed, udp.Prohibited: ike.Prohibited,
}
