package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

const (
	// settleTime is how long a change of addresses is left to be completed: a new address and its routes come in several steps.
	settleTime = 20 * time.Millisecond
	// restTime and longRest bound the pause between two reports. It doubles while the host never comes to rest, as a router
	// does that follows a routing protocol.
	restTime = 100 * time.Millisecond
	longRest = 2 * time.Second
)

// lookout tells the control loop what addresses the host has, in the beginning and whenever they or its routes change.
type lookout struct {
	host    Host
	changed chan struct{}
	// answer runs something on the control goroutine.
	answer func(func(*control))
}

func newLookout(host Host, answer func(func(*control))) *lookout {
	return &lookout{host: host, changed: make(chan struct{}, 1), answer: answer}
}

// watch is the goroutine that waits for changes.
func (l *lookout) watch(ctx context.Context) {
	l.host.Watch(ctx, func() {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	})
}

// run is the goroutine that tells of them.
func (l *lookout) run(ctx context.Context) {
	rest := restTime
	for {
		if list, err := l.host.Addresses(); err == nil {
			networks := hostNetworks()
			l.answer(func(c *control) {
				c.claimsChanged = c.claimsChanged || !slices.Equal(c.networks, networks)
				c.networks = networks
				c.handle(ike.Addresses{Local: list})
			})
		}
		if !pause(ctx, rest) {
			return
		}
		if len(l.changed) > 0 {
			rest = min(2*rest, longRest)
		} else {
			rest = restTime
		}
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		}
		if !pause(ctx, settleTime) {
			return
		}
	}
}

// pause waits. It returns false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
