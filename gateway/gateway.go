// Package gateway runs an IKEv2 gateway: it wires the endpoint that decides (package ike), the SAs (package esp), a TUN
// device and UDP sockets together, and offers the result to programs.
//
//	g, err := gateway.New(cfg, gateway.WithLogger(logger))
//	...
//	err = g.Run(ctx) // until ctx ends; then every peer is told good-bye
//
// # How it is built
//
// One goroutine, the control loop, owns all IKE state. Each TUN queue has a goroutine that forwards outward, each socket
// one that forwards inward. The control loop writes what the forwarders read (datapath), they tell it news through the
// mailbox, and neither ever waits for the other. The number of goroutines is fixed when Run starts.
//
// Traffic of a configured child never leaves in clear: what has no SA is dropped, counted, and asks for one.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
)

// Gateway is a gateway that runs once. Its methods may be called by any goroutine.
type Gateway struct {
	cfg      config.Config
	options  options
	counters counters

	// tokenSecret is kept from one run to the next; nil if it is not. Run sets it.
	tokenSecret []byte

	started atomic.Bool
	// requests are run by the control loop. stopped is closed when it runs no more.
	requests chan func(*control)
	stopped  chan struct{}
}

// ErrStopped is returned for what needs a running gateway when it runs no more.
var ErrStopped = errors.New("the gateway has ended")

// New makes a gateway of a configuration. It takes the connections, which it may change when another configuration is loaded, and
// borrows the secrets until then; see Reload. Nothing is opened before Run.
func New(cfg config.Config, opts ...Option) (*Gateway, error) {
	g := &Gateway{cfg: cfg, options: defaults(), requests: make(chan func(*control)), stopped: make(chan struct{})}
	g.options.without = cfg.NoOffload
	for _, o := range opts {
		o(&g.options)
	}
	g.cfg.Secrets = orEmpty(g.cfg.Secrets)
	if err := unambiguous(cfg.Connections); err != nil {
		return nil, err
	}
	if err := g.options.check(); err != nil {
		return nil, err
	}
	return g, nil
}

// unambiguous refuses two connections of one name, or two children of one connection.
func unambiguous(conns []*ike.Connection) error {
	names := make(map[string]bool)
	for _, c := range conns {
		if names[c.Name] {
			return fmt.Errorf("there are two connections of the name %q", c.Name)
		}
		names[c.Name] = true
		children := make(map[string]bool)
		for _, child := range c.Children {
			if children[child.Name] {
				return fmt.Errorf("there are two children of the name %q in connection %q", child.Name, c.Name)
			}
			children[child.Name] = true
		}
	}
	return nil
}

// NoCipher is what a build for measurements, which protects no traffic, logs when it starts.
const NoCipher = "this build is for measurements only: it sends all traffic in clear"

// shutdownGrace is how long peers have to answer our good-bye.
const shutdownGrace = 3 * time.Second

// ErrRestart is the cause (see context.WithCancelCause) with which to end the context of Run when another run is to follow at
// once: until then the host stays protected.
var ErrRestart = errors.New("the gateway is started anew")

// Run opens what was not brought, and forwards until ctx ends or the device is gone. Then it tells the peers good-bye
// and closes everything, what was brought too. It may be called once. The error is nil if ctx ended it; after any other
// end, and if the cause is ErrRestart, the host stays protected, see Host.Release.
func (g *Gateway) Run(ctx context.Context) (err error) {
	if g.started.Swap(true) {
		return errors.New("a gateway runs only once")
	}
	halt := sync.OnceFunc(func() { close(g.stopped) })
	defer halt()
	var goroutines sync.WaitGroup
	defer goroutines.Wait()

	guard := &guard{host: g.options.host, log: g.options.log}
	mtu := deviceMTU(g.cfg.Connections)
	edges, server, err := g.open(mtu)
	if err != nil {
		return errors.Join(err, guard.end(err, false))
	}
	defer edges.close()
	defer server.close()
	restart := func() bool { return errors.Is(context.Cause(ctx), ErrRestart) }
	defer func() { err = errors.Join(err, guard.end(err, restart())) }() // while the control socket keeps other gateways off
	defer g.remember()()
	c := newControl(g, edges, guard, mtu)
	defer func() { c.sources.wipe() }()
	c.server = server
	if err := guard.setup(edges.name, mtu); err != nil {
		return err
	}
	c.policies.publish()
	policies, _ := c.policies.expose()
	if err := guard.protect(policies); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server.start(running, &goroutines)
	if !protects {
		g.options.log.Warn(NoCipher)
	}
	defer halt() // first, so that nobody waits for the control loop any more
	broken := c.start(running, &goroutines)
	edges.announce(g.options.log)
	if g.options.ready != nil {
		g.options.ready()
	}
	return c.run(ctx, broken)
}

// open opens what a run needs. The control socket comes before the host is touched: another gateway may be behind it.
// The server is nil if there is none.
func (g *Gateway) open(mtu int) (*edges, *server, error) {
	edges, err := g.options.open(mtu)
	if err != nil || g.options.control == "" && g.options.listeners == nil {
		return edges, nil, err
	}
	server, err := openServer(g)
	if err != nil {
		edges.close()
		return nil, nil, err
	}
	g.options.log = slog.New(&logTee{Handler: g.options.log.Handler(), server: server})
	return edges, server, nil
}

// start starts the goroutines beside the control loop. They end when the edges are closed and ctx has ended. An error
// comes out if the device fails.
func (c *control) start(ctx context.Context, goroutines *sync.WaitGroup) <-chan error {
	broken := make(chan error, len(c.edges.queues))
	for _, q := range c.edges.queues {
		f := newOutboundLoop(c.datapath, q)
		goroutines.Go(func() {
			if err := f.run(); err != nil {
				broken <- fmt.Errorf("the TUN device has failed: %w", err)
			}
		})
	}
	for _, conn := range c.edges.conns.IKE {
		goroutines.Go(newInboundLoop(c.datapath, conn, false, c.edges.writer(c.counters)).run)
	}
	for _, conn := range c.edges.conns.NATT {
		goroutines.Go(newInboundLoop(c.datapath, conn, true, c.edges.writer(c.counters)).run)
	}
	goroutines.Go(func() { c.resolver.run(ctx) })
	for range dnsQuestions {
		goroutines.Go(func() { c.resolver.lookUp(ctx) })
	}
	if c.prober != nil {
		goroutines.Go(func() { c.prober.run(ctx) })
	}
	if c.lookout != nil {
		goroutines.Go(func() { c.lookout.watch(ctx) })
		goroutines.Go(func() { c.lookout.run(ctx) })
	}
	goroutines.Go(func() { c.inner.run(ctx, c.resolver.answer) })
	goroutines.Go(func() { c.leases.run(ctx, c.resolver.answer) })
	return broken
}

// answer runs f on the control loop, if that still runs.
func (g *Gateway) answer(f func(*control)) {
	select {
	case g.requests <- f:
	case <-g.stopped:
	}
}

// do runs f on the control loop, as soon as that runs, and waits until it has.
func (g *Gateway) do(ctx context.Context, f func(*control)) error {
	done := make(chan struct{})
	select {
	case g.requests <- func(c *control) { f(c); close(done) }:
		<-done
		return nil
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
