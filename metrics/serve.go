package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Limits of the server: whoever asks can keep it busy, but nothing else.
const (
	maxClients = 16 // connected at the same time
	maxScrapes = 2  // answered at the same time; the others are told to come again
	maxHeader  = 8 << 10
	headerTime = 5 * time.Second
	scrapeTime = 10 * time.Second
	idleTime   = time.Minute
)

// Handler answers scrapes at /metrics, and says at / where they are.
func Handler(r prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime, EnableOpenMetrics: true,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Culvert's metrics are at /metrics.")
	})
	return mux
}

// Serve answers scrapes until ctx ends. It closes the listener.
func Serve(ctx context.Context, l net.Listener, r prometheus.Gatherer, log *slog.Logger) error {
	server := http.Server{
		Handler: Handler(r), ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: scrapeTime + headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(netutil.LimitListener(l, maxClients)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics are not served any more: %w", err)
	}
	return nil
}

// Loopback reports whether an address can be reached from this machine only.
func Loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
