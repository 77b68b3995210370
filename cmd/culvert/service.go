package main

import (
	"context"
	"log/slog"
	"time"

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
