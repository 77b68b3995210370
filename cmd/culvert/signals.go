package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/culvert-vpn/culvert/gateway"
)

// patience is how long the daemon may take to say good-bye to its peers and to put the host back as it was.
const patience = 5 * time.Second

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or SIGUSR1; the last one says that the daemon is to be started
// anew, so that the cause is gateway.ErrRestart. With the second, or when the process still
// runs after patience, exit is called at once.
func untilSignal(log *slog.Logger, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
	over := make(chan struct{})
	go func() {
		var late <-chan time.Time
		for {
			select {
			case <-over:
				return
			case <-late:
				log.Error("the daemon did not stop in time and ends at once", "patience", patience)
				exit(exitFailed)
			case s := <-signals:
				switch {
				case ctx.Err() != nil:
					log.Warn("second signal: the daemon ends at once", "signal", s.String())
					exit(exitFailed)
				default:
					log.Info("stopping", "signal", s.String())
					cancel(causes[s])
					late = time.After(patience)
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(over)
		cancel(nil)
	}
}

// causes of the end by signals, other than what it is without one.
var causes = map[os.Signal]error{syscall.SIGUSR1: gateway.ErrRestart}

// hangups returns what each SIGHUP from now on can be heard by; several at once are one.
func hangups() <-chan os.Signal {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	return heard
}
