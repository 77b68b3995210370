package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-vpn/culvert/vici"
	"github.com/culvert-vpn/culvert/vici/client"
)

// listenControl opens the control socket, for nobody but the user that we run as. A socket left behind by a crashed run
// is replaced.
func listenControl(path string) (*net.UnixListener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("another culvert runs already and listens on %s: stop it, or choose another control socket", path)
	} else if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() == fs.ModeSocket && errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("the directory of the control socket cannot be made: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Where the kernel allows it, the permissions are there before the socket has a name.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("the control socket cannot be opened: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("the control socket cannot be protected: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// openServer opens the control sockets, but for those that were brought.
func openServer(g *Gateway) (*server, error) {
	s := newServer(g)
	s.listeners = slices.Clone(g.options.listeners)
	for _, path := range append([]string{g.options.control}, g.options.vici...) {
		if path == "" || slices.ContainsFunc(s.listeners, func(l *net.UnixListener) bool { return l.Addr().String() == path }) {
			continue
		}
		l, err := listenControl(path)
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// close has nobody connect any more, and removes the sockets.
func (s *server) close() {
	if s == nil {
		return
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// Version is the version of this module that the program was built with.
func Version() string {
	const module = "github.com/culvert-vpn/culvert"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "unknown"
}

// Client speaks to a running gateway through its control socket. The zero value uses DefaultControl.
type Client struct{ Socket string }

// Do sends a request and calls each with every reply but the last. The error is that of the last reply (*RequestError),
// or says that there is no gateway.
func (c Client) Do(ctx context.Context, r Request, each func(Reply)) error {
	socket := c.Socket
	if socket == "" {
		socket = DefaultControl
	}
	conn, err := client.Dial(ctx, socket)
	if err != nil {
		return dialError(socket, err)
	}
	defer conn.Close()
	asked, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var last Reply
	var broken error
	var whole []byte
	answer, err := conn.Stream(ctx, ownPrefix+r.Cmd, replyEvent, new(vici.Message).SetBytes("json", asked), func(m *vici.Message) {
		reply, done, err := joinReply(&whole, m)
		switch {
		case err != nil:
			broken = err
		case !done:
		case reply.Done:
			last = reply
		case each != nil:
			each(reply)
		}
	})
	switch {
	case errors.Is(err, client.ErrUnknown):
		return &RequestError{Text: fmt.Sprintf("there is no command %q", r.Cmd)}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("the gateway went away before it had answered: %w", err)
	case last.Error != "":
		return &RequestError{Text: last.Error, Remedy: last.Remedy, Config: last.Config}
	case broken != nil:
		return broken
	}
	if err := client.Failed(answer); err != nil {
		return &RequestError{Text: err.Error()}
	}
	return nil
}

// Status asks for a snapshot.
func (c Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.Do(ctx, Request{Cmd: "status"}, func(r Reply) {
		if r.Status != nil {
			s = *r.Status
		}
	})
	return s, err
}

// Trace asks for the last IKE messages of a connection, as Gateway.Trace does.
func (c Client) Trace(ctx context.Context, conn string, after uint64) ([]TraceMessage, error) {
	var list []TraceMessage
	err := c.Do(ctx, Request{Cmd: "trace", Conn: conn, After: after}, func(r Reply) { list = append(list, r.Trace...) })
	return list, err
}

// Capture gives each the inner packets of a connection, as Gateway.Capture does, until ctx ends, which is no error.
func (c Client) Capture(ctx context.Context, o CaptureOptions, each func([]CapturedPacket) error) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	err := c.Do(waiting, Request{Cmd: "capture", Conn: o.Connection, Child: o.Child, Snap: o.Snap}, func(r Reply) {
		if failed == nil && len(r.Packets) > 0 {
			if failed = each(r.Packets); failed != nil {
				cancel()
			}
		}
	})
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// Profile writes a profile of the gateway's process, as WriteProfile does.
func (c Client) Profile(ctx context.Context, w io.Writer, name string, d time.Duration) error {
	var failed error
	err := c.Do(ctx, Request{Cmd: "pprof", Profile: name, Timeout: d.Seconds()}, func(r Reply) {
		if failed == nil {
			_, failed = w.Write(r.Data)
		}
	})
	return cmp.Or(failed, err)
}

// RequestError is why a request has failed.
type RequestError struct {
	Text, Remedy string
	// Config are the errors of a configuration that was not accepted, each with its place in front.
	Config []string
}

// Error is the text and the remedy.
func (e *RequestError) Error() string { return strings.TrimSuffix(e.Text+"; "+e.Remedy, "; ") }

// ErrNotRunning is wrapped by the errors of a Client that finds nobody to speak to.
var ErrNotRunning = errors.New("no culvert is running here")

// dialError says in one sentence why there is nobody to speak to.
func dialError(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nobody listens on %s): start it with `culvert run`", ErrNotRunning, socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the control socket %s is for root only: use sudo", socket)
	}
	return fmt.Errorf("the control socket cannot be used: %w", err)
}
