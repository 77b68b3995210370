package gateway

import (
	"bufio"
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
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/ike"
)

const (
	// controlReaders is how many clients are heard at the same time, and answered if what they ask for takes no time.
	controlReaders = 16
	// controlWaiters is how many clients wait at the same time for what they asked for; maxQueue more wait for that.
	controlWaiters = 32
	maxQueue       = 256
	// maxRequest is the length of the longest request in bytes.
	maxRequest = 4096
	// lookEvery is how soon it is noticed that a client has gone away while it waited.
	lookEvery = time.Second
	// requestTime is how long a client may take to send its request, replyTime to take a line of the answer.
	requestTime = 5 * time.Second
	replyTime   = 10 * time.Second
)

// server serves the control protocol.
type server struct {
	gateway  *Gateway
	listener *net.UnixListener

	queue chan *visit // of those that ask for what takes its time, so that nobody else has to wait for them

	mu     sync.Mutex
	visits map[*visit]bool
}

// visit is a client that is connected.
type visit struct {
	conn    *net.UnixConn
	ctx     context.Context // ends when the client has gone away, or the gateway ends; conn is closed then
	cancel  context.CancelFunc
	request Request
}

// listenControl opens the control socket, for nobody but the user that we run as. A socket left behind by a crashed run
// is replaced.
func listenControl(path string, g *Gateway) (*server, error) {
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
	return &server{gateway: g, listener: l.(*net.UnixListener), queue: make(chan *visit, maxQueue), visits: make(map[*visit]bool)}, nil
}

// close ends serve, after the client that it is serving, and removes the socket.
func (s *server) close() {
	if s != nil {
		_ = s.listener.Close()
	}
}

// start starts the goroutines that serve until ctx ends and the listener is closed.
func (s *server) start(ctx context.Context, goroutines *sync.WaitGroup) {
	if s == nil {
		return
	}
	for range controlReaders {
		goroutines.Go(func() { s.serve(ctx) })
	}
	for range controlWaiters {
		goroutines.Go(func() { s.serveQueue(ctx) })
	}
	goroutines.Go(func() { s.lookOut(ctx) })
}

// serve hears one client after the other. What takes its time is left to serveQueue.
func (s *server) serve(ctx context.Context) {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of files, most likely
			continue
		}
		v := s.enter(ctx, conn)
		if v.request, err = readRequest(conn); err == nil {
			if v.request.takesTime() {
				select {
				case s.queue <- v:
					continue
				default:
					err = fmt.Errorf("%d clients wait already: try again when some of them are done", maxQueue)
				}
			} else {
				err = s.answer(v)
			}
		}
		s.leave(v, err)
	}
}

// serveQueue serves one client after the other for which there is something to wait.
func (s *server) serveQueue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-s.queue:
			err := context.Cause(v.ctx)
			if err == nil {
				err = s.answer(v)
			}
			s.leave(v, err)
		}
	}
}

// enter begins the visit of a client.
func (s *server) enter(ctx context.Context, conn *net.UnixConn) *visit {
	v := &visit{conn: conn}
	v.ctx, v.cancel = context.WithCancel(ctx)
	context.AfterFunc(v.ctx, func() { conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(requestTime))
	s.mu.Lock()
	s.visits[v] = true
	s.mu.Unlock()
	return v
}

// leave ends it with the last reply.
func (s *server) leave(v *visit, err error) {
	_ = v.reply(lastReply(err))
	s.mu.Lock()
	delete(s.visits, v)
	s.mu.Unlock()
	_ = v.conn.Close()
	v.cancel()
}

// reply sends one line.
func (v *visit) reply(r Reply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_ = v.conn.SetWriteDeadline(time.Now().Add(replyTime))
	_, err = v.conn.Write(append(line, '\n'))
	return err
}

// lastReply says how a request ended.
func lastReply(err error) Reply {
	last := Reply{Done: true}
	if err == nil {
		return last
	}
	last.Error = err.Error()
	var failed *EventError
	if errors.As(err, &failed) {
		last.Error, last.Remedy = failed.Event.Text, failed.Event.Remedy
	}
	var bad config.Errors
	if errors.As(err, &bad) {
		last.Error = "the configuration is not accepted; the former one stays in effect"
		for _, e := range bad {
			last.Config = append(last.Config, e.Error())
		}
	}
	return last
}

// lookOut ends the requests of clients that have gone away, so that they do not keep others waiting.
func (s *server) lookOut(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		for v := range s.visits {
			if hungUp(v.conn) {
				v.cancel()
			}
		}
		s.mu.Unlock()
	}
}

// hungUp reports whether the other end is closed. One that only sends no more still waits for the answer.
func hungUp(conn *net.UnixConn) (gone bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}} // hang-ups are told without being asked for
		_, _ = unix.Poll(poll, 0)
		gone = poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// readRequest reads the one line that a client sends.
func readRequest(conn io.Reader) (Request, error) {
	var r Request
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("no request of one line and at most %d bytes came: %w", maxRequest, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("the request is not understood: %w", err)
	}
	return r, nil
}

// takesTime reports whether a request may have to wait, for a peer say.
func (r Request) takesTime() bool { return r.Cmd != "status" && r.Cmd != "version" }

// answer does what a client asks for, but for the last reply.
func (s *server) answer(v *visit) error {
	r := v.request
	timeout := DefaultTimeout
	if r.Timeout > 0 {
		timeout = time.Duration(min(r.Timeout, MaxTimeout.Seconds()) * float64(time.Second))
	}
	ctx, cancel := context.WithTimeoutCause(v.ctx, timeout, fmt.Errorf("it is not done after %v", timeout))
	defer cancel()
	progress := func(ev ike.Event) {
		if v.reply(Reply{Event: infoOf(ev, time.Now())}) != nil {
			cancel() // the client has gone away
		}
	}
	switch r.Cmd {
	case "status":
		status := s.gateway.Status()
		return v.reply(Reply{Status: &status})
	case "version":
		return v.reply(Reply{Version: Version()})
	case "reload":
		if s.gateway.options.reload == nil {
			return errors.New("this gateway has no configuration that it could load again")
		}
		r, err := s.gateway.options.reload(ctx)
		if err != nil {
			return err
		}
		return v.reply(Reply{Reload: &r})
	case "up":
		return s.gateway.Up(ctx, r.Conn, r.Child, progress)
	case "down":
		return s.gateway.Down(ctx, r.Conn, r.Child, progress)
	case "rekey":
		if r.Reauth {
			return s.gateway.Reauthenticate(ctx, r.Conn, progress)
		}
		return s.gateway.Rekey(ctx, r.Conn, r.Child, progress)
	}
	return fmt.Errorf("there is no command %q", r.Cmd)
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
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return dialError(socket, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return fmt.Errorf("the request could not be sent: %w", err)
	}
	replies := json.NewDecoder(conn)
	for {
		var reply Reply
		if err := replies.Decode(&reply); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the gateway went away before it had answered: %w", err)
		}
		if reply.Done {
			if reply.Error != "" {
				return &RequestError{Text: reply.Error, Remedy: reply.Remedy, Config: reply.Config}
			}
			return nil
		}
		if each != nil {
			each(reply)
		}
	}
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
