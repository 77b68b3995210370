package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// Run runs the demo and tells what happens. When ctx ends it stops where it is and leaves nothing behind.
func Run(ctx context.Context, o Options) error {
	if err := lab.Usable(); err != nil {
		return fmt.Errorf("the demo cannot run: %w; try: sudo culvert demo", err)
	}
	s := lab.NewStage(ctx)
	d := &demo{Options: o, tell: &narrator{ctx: ctx, w: o.Out, live: o.Live}}
	err := s.Run(func() error { return d.play(ctx, s) })
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted; nothing is left behind")
	}
	return err
}

// demo is one performance.
type demo struct {
	Options
	tell *narrator
	net  *network
	a, b *side
}

// play tells the story from the beginning to the end.
func (d *demo) play(ctx context.Context, s *lab.Stage) error {
	d.tell.say("%s", intro)
	err := d.tell.step("build the network out of namespaces", func() (string, error) {
		return "six machines: two hosts, two gateways, a NAT, the internet", s.Try(func() { d.net = newNetwork(s) })
	})
	if err != nil {
		return ErrUnexpected
	}
	d.tell.say("%s\n%s", d.net.draw(), why)
	d.a, d.b = d.sides()
	if d.tell.step("without a tunnel", func() (string, error) { return "host A does not reach host B", d.net.apart() }) != nil {
		return ErrUnexpected
	}
	seen := d.net.internet.Census(500, 4500)
	for _, run := range []struct {
		title  string
		caller *side
	}{
		{"1 of 2: gateway B calls, from behind the NAT", d.b},
		{"2 of 2: gateway A calls, from outside, with the same configurations", d.a},
	} {
		d.tell.say("\nRun %s", run.title)
		if err := d.run(ctx, run.caller); err != nil {
			return ErrUnexpected // it has been told
		}
	}
	d.tell.say("")
	if d.tell.step("what crossed the internet meanwhile", func() (string, error) { return census(seen) }) != nil {
		return ErrUnexpected
	}
	d.tell.say("\n%s", outro)
	return nil
}

// census tells what the internet has seen: what belongs to IKE and UDP encapsulation, or something is wrong.
func census(c *lab.Census) (string, error) {
	ports, others, err := c.Read()
	if err != nil {
		return "", err
	}
	if others != 0 {
		return "", fmt.Errorf("%d packets that are neither IKE nor ESP in UDP", others)
	}
	return fmt.Sprintf("UDP to port 500 (%d times) and to port 4500 (%d times), nothing else", ports[0], ports[1]), nil
}

const intro = `Two sites are to be one network. Gateway A has a public address. Gateway B is a machine in a cloud: it has a private
address only, and a 1:1 NAT in front of it stands for it on the internet. All of this is built on this machine now.
`

const why = `Set up as if there were no NAT, this fails: A looks for a secret that belongs to B's address, but B knows only its
private address and A sees only the public one; and bare ESP, the protocol of the tunnel, is not made for NATs.

It works like this:  B calls itself @foo, a name that depends on no address, and A finds the secret by that name.
                     ESP travels inside UDP, on port 4500, which every NAT understands.
`

const outro = `Everything was as expected. The two configurations: culvert demo --configs`

// sides are the gateways and how each must see the tunnel.
func (d *demo) sides() (a, b *side) {
	publicA, privateB, publicB := natted(d.net.gwA), natted(d.net.gwB), d.net.publicB.String()+":4500"
	addrA := d.net.gwA.Addr().String()
	a = &side{name: "A", host: d.net.gwA, config: ConfigA, connection: "site-b", want: view{
		local: publicA, remote: publicB, localID: addrA, remoteID: "@foo",
		nat: "the peer is behind a NAT", secret: "owner @foo matches the peer exactly",
	}}
	b = &side{name: "B", host: d.net.gwB, config: ConfigB, connection: "site-a", want: view{
		local: privateB, remote: publicA, localID: "@foo", remoteID: addrA,
		nat: "we are behind a NAT", secret: "owner " + addrA + " matches the peer exactly",
	}}
	return a, b
}

// natted is a gateway's own end of UDP encapsulation.
func natted(h *lab.Host) string { return h.Addr().String() + ":4500" }

// run starts the gateways, lets one call the other, tries the tunnel, and stops them.
func (d *demo) run(ctx context.Context, caller *side) error {
	var a, b tunnel
	err := d.steps(
		step{"start the gateways", func() (string, error) {
			return "", errors.Join(d.a.start(ctx, d.Program), d.b.start(ctx, d.Program))
		}},
		step{"gateway " + caller.name + " calls", func() (string, error) {
			begin := time.Now()
			err := caller.call(ctx)
			return fmt.Sprintf("the tunnel is up after %v", time.Since(begin).Round(time.Millisecond)), err
		}},
		step{"ask both gateways about it", func() (_ string, err error) {
			if a, err = d.a.see(ctx); err != nil {
				return "", err
			}
			if b, err = d.b.see(ctx); err != nil {
				return "", err
			}
			return "they agree", agree(a, b)
		}},
	)
	if err != nil {
		return err
	}
	d.tell.tell(a, b)
	return d.steps(
		step{"ping host B from host A", func() (string, error) { return ping(d.net.hostA, d.net.hostB) }},
		step{"send a file from host A to host B", func() (string, error) { return d.transfer(d.net.hostA, d.net.hostB) }},
		step{"send a file from host B to host A", func() (string, error) { return d.transfer(d.net.hostB, d.net.hostA) }},
		step{"stop the gateways", func() (string, error) {
			return "no device, route or rule is left", errors.Join(d.a.stop(), d.b.stop())
		}},
		step{"without the tunnel", func() (string, error) { return "host A does not reach host B any more", d.net.apart() }},
	)
}

// step is something to do, and what to call it.
type step struct {
	what string
	do   func() (string, error)
}

// steps does one after the other, up to the first that fails.
func (d *demo) steps(list ...step) error {
	for _, s := range list {
		if err := d.tell.step(s.what, s.do); err != nil {
			return err
		}
	}
	return nil
}

const pings = 50

func ping(from, to *lab.Host) (string, error) {
	result, err := from.Ping(to.Addr(), lab.Ping{Count: pings})
	if err != nil {
		return "", err
	}
	if result.Lost() != 0 || result.Doubles != 0 {
		return "", fmt.Errorf("%v, %d answered twice", result, result.Doubles)
	}
	return fmt.Sprintf("%d sent, %d answered, 0 lost", result.Sent, result.Received), nil
}

func (d *demo) transfer(from, to *lab.Host) (string, error) {
	result, err := from.Transfer(to, to.Addr(), d.Bytes)
	if err != nil {
		return "", err
	}
	if !result.Intact() || result.Bytes != d.Bytes {
		return "", fmt.Errorf("%v, should be %d bytes", result, d.Bytes)
	}
	return fmt.Sprintf("%d MB in %.1f s, %.0f Mbit/s\nSHA-256 on both sides %x", d.Bytes/1e6, result.Took.Seconds(),
		float64(d.Bytes)*8e-6/result.Took.Seconds(), result.Received), nil
}
