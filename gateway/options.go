package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/tun"
	"github.com/culvert-vpn/culvert/udp"
)

// Option changes what New does by default.
type Option func(*options)

type options struct {
	log          *slog.Logger
	rand         io.Reader
	host         Host
	queues       []tun.Queue
	conns        *Conns
	deviceName   string
	deviceQueues int
	portable     bool
	without      offload.Set
	ikeKeys      io.Writer
	espKeys      io.Writer
	capture      bool
	events       func(ike.Event)
	ready        func()
	control      string
	vici         []string
	listeners    []*net.UnixListener
	reload       func(context.Context) (Reloaded, error)
	// uptime is the time since some moment, which goes on while the host is suspended.
	uptime func() time.Duration
	// lookup asks the DNS; nil: as usual.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	state  string
}

func defaults() options {
	return options{log: slog.New(slog.DiscardHandler), rand: rand.Reader, deviceQueues: 1, uptime: hostUptime}
}

// check reports options that do not go together.
func (o *options) check() error {
	switch {
	case o.queues == nil && o.deviceQueues < 1:
		return fmt.Errorf("a TUN device with %d queues is not possible: choose 1 or more", o.deviceQueues)
	case o.queues != nil && o.host != nil && (o.deviceName == "" || strings.Contains(o.deviceName, "%")):
		return errors.New("the host cannot route traffic into queues of an unknown device: with WithTUN and WithHost, name it by WithDevice")
	}
	return nil
}

// Conns are the sockets of a gateway. Both lists may hold sockets of IPv4 and of IPv6, bound to one address or to all.
type Conns struct {
	// IKE are the sockets of port 500, NATT those of port 4500.
	IKE, NATT []udp.Conn
}

// WithLogger has the gateway log; without it, it does not. Secrets are never logged.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithTUN brings the queues on which packets to be protected come in and unprotected ones go out, as superpackets too
// unless WithoutOffload has Coalesce in it. The gateway closes them in the end. Without it the gateway makes a TUN device. With a
// Host, WithDevice must say which device the queues belong to.
func WithTUN(queues ...tun.Queue) Option { return func(o *options) { o.queues = queues } }

// WithConns brings the sockets. The gateway closes them in the end. Without it the gateway listens on UDP ports 500
// and 4500 of all addresses.
func WithConns(c Conns) Option { return func(o *options) { o.conns = &c } }

// WithHost lets the gateway route traffic into its device. Without it nothing on the host is changed but for the
// device, and keeping the traffic from leaving in clear is the host's affair while the device is down.
func WithHost(h Host) Option { return func(o *options) { o.host = h } }

// WithRand replaces crypto/rand as the only source of randomness, for tests.
func WithRand(r io.Reader) Option { return func(o *options) { o.rand = r } }

// WithKeyLog writes the keys of every IKE SA and of every Child SA as lines of Wireshark's tables ikev2_decryption_table
// and esp_sa. Either may be nil, and both may be the same. Whoever reads them reads the traffic.
func WithKeyLog(ikeTable, espTable io.Writer) Option {
	return func(o *options) { o.ikeKeys, o.espKeys = ikeTable, espTable }
}

// WithCapture lets whoever may use the control socket capture packets in clear, see Gateway.Capture. Without it nobody can.
func WithCapture() Option { return func(o *options) { o.capture = true } }

// WithEvents has f called with every event but for dropped messages. It is called by the goroutine that runs IKE, and
// must not block nor call the gateway.
func WithEvents(f func(ike.Event)) Option { return func(o *options) { o.events = f } }

// WithReady has f called once, when the gateway is up: sockets, device and policies are in place.
func WithReady(f func()) Option { return func(o *options) { o.ready = f } }

// WithDevice names the TUN device (a "%d" becomes a number on Linux) and says how many queues it has, each with a
// goroutine of its own. The default is a device culvert%d with one queue. The queues share the sequence numbers of an SA: a
// goroutine that is held up between taking some and sending may be overtaken by more packets than the peer's replay window
// has room for, and what it sends then is dropped there. Of queues that are brought it only tells the name.
func WithDevice(name string, queues int) Option {
	return func(o *options) { o.deviceName, o.deviceQueues = name, queues }
}

// WithPortableTUN uses the plain TUN device that every platform has.
func WithPortableTUN() Option { return func(o *options) { o.portable = true } }

// WithoutOffload does without these fast paths, beside those that the configuration switches off. The packets are the same
// without them.
func WithoutOffload(off offload.Set) Option { return func(o *options) { o.without |= off } }

// WithReload has f called when a client of the control protocol wants the configuration loaded again. f is expected to read it
// and to call Gateway.Reload.
func WithReload(f func(context.Context) (Reloaded, error)) Option {
	return func(o *options) { o.reload = f }
}

// WithControl serves the control protocol on a Unix socket, which only root may use. See Client. The protocol is vici, that of
// strongSwan's charon, with commands of our own beside those.
func WithControl(path string) Option { return func(o *options) { o.control = path } }

// WithVICI serves the same protocol, together with WithControl, on further Unix sockets: where tools made for charon look for one.
func WithVICI(paths ...string) Option { return func(o *options) { o.vici = append(o.vici, paths...) } }

// WithControlListeners serves the same protocol on sockets that are brought; the gateway closes them in the end. Who may use them is the
// affair of who made them. A socket of WithControl or WithVICI that is among them is not made.
func WithControlListeners(l ...*net.UnixListener) Option {
	return func(o *options) { o.listeners = append(o.listeners, l...) }
}

// WithState names the directory in which the gateway keeps what outlives it: a secret by which peers notice at once that it crashed
// and is back (RFC 6290), and which peer had which address of a pool, for when it comes back. It must be this gateway's alone, on this machine alone, and is made if it does not exist. Without it
// nothing is kept.
func WithState(dir string) Option { return func(o *options) { o.state = dir } }
