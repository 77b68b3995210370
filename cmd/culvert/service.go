package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// tell reports a state to the service manager, if there is one.
func tell(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("the service manager cannot be told", "state", state, "error", err)
	}
}

// tellReloading says that the configuration is being loaded, and since when (sd_notify(3)); tellReady that this is done, or that the
// daemon is up.
func tellReloading(log *slog.Logger) {
	tell(log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
}

func tellReady(log *slog.Logger) { tell(log, daemon.SdNotifyReady) }

// passedSockets are the control sockets that the service manager has made (sd_listen_fds(3)).
func passedSockets() (sockets []*net.UnixListener, err error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets of the service manager: %w", err)
	}
	for i, l := range passed {
		socket, ok := l.(*net.UnixListener)
		if !ok {
			return nil, fmt.Errorf("socket %d of the service manager cannot be used: Culvert takes Unix stream sockets, for control", i+1)
		}
		sockets = append(sockets, socket)
	}
	return sockets, nil
}

// watchdog tells the service manager, twice as often as it wants, that the daemon is alive, until ctx ends. alive returns
// when the daemon has answered; one that never does is restarted.
func watchdog(ctx context.Context, log *slog.Logger, alive func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not served", "error", err)
	}
	if err != nil || limit == 0 {
		return
	}
	tick := time.NewTicker(limit / 2)
	defer tick.Stop()
	for {
		alive()
		tell(log, daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
