package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/spf13/pflag"

	"github.com/culvert-vpn/culvert/metrics"
)

// metricsFlags say where metrics are served, if they are.
type metricsFlags struct {
	address     string
	connections int
}

func (f *metricsFlags) register(set *pflag.FlagSet) {
	set.StringVar(&f.address, "metrics", "", "serve metrics for Prometheus at this `address`, as 127.0.0.1:9517; empty for none")
	set.IntVar(&f.connections, "metrics-connections", metrics.DefaultConnections, "how many connections have metrics of their own; all others are counted together")
}

// listen opens the address, so that a mistake in it is told before anything else is done. The listener is nil without an address.
func (f *metricsFlags) listen(log *slog.Logger) (net.Listener, error) {
	if f.connections < 1 {
		return nil, usage("--metrics-connections is %d; it must be 1 or more", f.connections)
	}
	if f.address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	if !metrics.Loopback(l.Addr()) {
		log.Warn("metrics are served to whoever reaches the address: there is no authentication", "address", l.Addr().String())
	}
	return l, nil
}

// serve serves the metrics of a gateway until end is called.
func (f *metricsFlags) serve(l net.Listener, g metrics.Source, log *slog.Logger) (end func()) {
	if l == nil {
		return func() {}
	}
	log.Info("metrics are served", "address", l.Addr().String())
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		registry := metrics.NewRegistry(g, metrics.Options{Connections: f.connections, Version: version()})
		if err := metrics.Serve(ctx, l, registry, log); err != nil {
			log.Error("metrics", "error", err)
		}
	})
	return func() { stop(); done.Wait() }
}
