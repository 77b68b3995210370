package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/vici"
)

// The control socket speaks vici, strongSwan's control protocol, so that its tools work with this daemon. Each client that is
// connected has one of a fixed number of places, with a goroutine that carries out what it asks for, one thing at a time, and
// one that writes to it what has happened. The control loop never waits for a client: one that does not read is dropped.
const (
	// maxClients is how many are connected at the same time.
	maxClients = 64
	// maxWaiting is how many of them may wait for a peer; further ones are refused, so that who wants to know the state does not
	// have to wait for them.
	maxWaiting = 32
	// idleTime is how long a client that does nothing keeps its place when others want it.
	idleTime = time.Second
	// maxEvents is how many events wait for a client that is slow to read them; with more it is dropped.
	maxEvents = 512
	// lookEvery is how soon it is noticed that a client has gone away while it waited.
	lookEvery = time.Second
	// requestTime is how long a client may take for a packet that it has begun to send, replyTime to take one.
	requestTime = 5 * time.Second
	replyTime   = 10 * time.Second
)

// server serves the control protocol.
type server struct {
	gateway   *Gateway
	listeners []*net.UnixListener
	commands  map[string]handler
	arrivals  chan *visit
	places    chan struct{} // one for each client that is connected
	// listening counts for each event who wants it, so that nobody goes to the trouble of describing what nobody hears.
	listening map[string]*atomic.Int32
	waiting   atomic.Int32 // clients that wait for a peer

	mu     sync.Mutex
	visits map[*visit]bool
}

// visit is a client that is connected.
type visit struct {
	conn   *net.UnixConn
	ctx    context.Context // ends when the client has gone away, or the gateway ends; conn is closed then
	cancel context.CancelFunc
	news   chan []byte // segments with events, never changed

	writing sync.Mutex // so that answers and events do not mix

	// These belong to server.mu. since is when it was heard of last.
	wants map[string]bool
	busy  bool
	since time.Time
}

func newServer(g *Gateway) *server {
	s := &server{
		gateway: g, commands: commandTable(), arrivals: make(chan *visit), places: make(chan struct{}, maxClients),
		listening: make(map[string]*atomic.Int32), visits: make(map[*visit]bool),
	}
	for _, name := range eventNames {
		s.listening[name] = new(atomic.Int32)
	}
	return s
}

// start starts the goroutines that serve until ctx ends and the listeners are closed.
func (s *server) start(ctx context.Context, goroutines *sync.WaitGroup) {
	if s == nil {
		return
	}
	for _, l := range s.listeners {
		goroutines.Go(func() { s.accept(ctx, l) })
	}
	for range maxClients {
		writers := make(chan *visit)
		goroutines.Go(func() { s.serve(ctx, writers) })
		goroutines.Go(func() { s.write(ctx, writers) })
	}
	goroutines.Go(func() { s.lookOut(ctx) })
}

// accept gives each client a place.
func (s *server) accept(ctx context.Context, l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of files, most likely
			continue
		}
		if !s.makeRoom(ctx) {
			conn.Close()
			return
		}
		v := s.enter(ctx, conn)
		select {
		case s.arrivals <- v:
		case <-ctx.Done():
			s.leave(v)
		}
	}
}

// makeRoom waits for a place, at the cost of a client that does nothing if need be. It reports whether there is one.
func (s *server) makeRoom(ctx context.Context) bool {
	for {
		select {
		case s.places <- struct{}{}:
			return true
		default:
		}
		s.mu.Lock()
		if v := s.idlest(time.Now()); v != nil {
			v.cancel()
		}
		s.mu.Unlock()
		select {
		case s.places <- struct{}{}:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(idleTime / 10):
		}
	}
}

// enter begins the visit of a client.
func (s *server) enter(ctx context.Context, conn *net.UnixConn) *visit {
	v := &visit{conn: conn, news: make(chan []byte, maxEvents), wants: make(map[string]bool), since: time.Now()}
	v.ctx, v.cancel = context.WithCancel(ctx)
	context.AfterFunc(v.ctx, func() { conn.Close() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits[v] = true
	return v
}

// idlest is the client that is worth least: one that has done nothing and waited for nothing for idleTime, the longest of all,
// or else the one of those that only listen that came last. It is called with mu.
func (s *server) idlest(now time.Time) (idle *visit) {
	for v := range s.visits {
		switch listens := len(v.wants) > 0; {
		case v.busy || v.ctx.Err() != nil || now.Sub(v.since) < idleTime:
		case idle == nil, !listens && len(idle.wants) > 0:
			idle = v
		case listens != (len(idle.wants) > 0):
		case v.since.Before(idle.since) != listens:
			idle = v
		}
	}
	return idle
}

// leave ends a visit.
func (s *server) leave(v *visit) {
	v.cancel()
	_ = v.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.visits, v)
	for event := range v.wants {
		s.listening[event].Add(-1)
	}
	clear(v.wants)
	<-s.places
}

// serve serves one client after the other. Its news are left to the goroutine behind writers.
func (s *server) serve(ctx context.Context, writers chan<- *visit) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-s.arrivals:
			select {
			case writers <- v:
				s.hear(v)
			case <-ctx.Done():
			}
			s.leave(v)
		}
	}
}

// write passes news on to one client after the other.
func (s *server) write(ctx context.Context, writers <-chan *visit) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-writers:
			for v.ctx.Err() == nil {
				select {
				case b := <-v.news:
					_ = v.write(b) // an error ends the visit
				case <-v.ctx.Done():
				}
			}
		}
	}
}

// hear takes the packets of a client until it goes away, or sends what is no vici.
func (s *server) hear(v *visit) {
	for {
		var length [4]byte
		_ = v.conn.SetReadDeadline(time.Time{})
		if _, err := io.ReadFull(v.conn, length[:1]); err != nil {
			return
		}
		_ = v.conn.SetReadDeadline(time.Now().Add(requestTime))
		if _, err := io.ReadFull(v.conn, length[1:]); err != nil {
			return
		}
		b, err := readPacket(v.conn, length)
		if err != nil {
			return
		}
		p, err := vici.Parse(b)
		if err != nil {
			return
		}
		s.occupy(v, true)
		err = s.take(v, p)
		clear(b) // it may have held secrets
		s.occupy(v, false)
		if err != nil {
			return
		}
	}
}

// readPacket reads a packet after its length. There is no buffer in between, in which secrets would stay.
func readPacket(in io.Reader, length [4]byte) ([]byte, error) {
	n, err := vici.Segment(length[:])
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return b, err
}

func (s *server) occupy(v *visit, busy bool) {
	s.mu.Lock()
	v.busy, v.since = busy, time.Now()
	s.mu.Unlock()
}

// take does what a packet asks for. An error ends the visit.
func (s *server) take(v *visit, p vici.Packet) error {
	answer := vici.Packet{Type: vici.NoEvent}
	switch p.Type {
	case vici.Request:
		return s.command(v, p)
	case vici.Register:
		if s.listen(v, p.Name, true) {
			answer.Type = vici.Confirm
		}
	case vici.Unregister:
		if s.listen(v, p.Name, false) {
			answer.Type = vici.Confirm
		}
	default:
		return fmt.Errorf("a client does not send a %v", p.Type)
	}
	return v.send(answer)
}

// listen begins or ends the events of a name, and reports whether that is possible.
func (s *server) listen(v *visit, event string, begin bool) bool {
	count := s.listening[event]
	s.mu.Lock()
	defer s.mu.Unlock()
	if count == nil || !begin && !v.wants[event] || v.ctx.Err() != nil {
		return false
	}
	if begin && !v.wants[event] {
		v.wants[event] = true
		count.Add(1)
	} else if !begin {
		delete(v.wants, event)
		count.Add(-1)
	}
	return true
}

// hears reports whether this client wants an event.
func (s *server) hears(v *visit, event string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.wants[event]
}

// isHeard reports whether anybody wants an event.
func (s *server) isHeard(event string) bool {
	return s != nil && s.listening[event].Load() > 0
}

// publish passes an event on to all who want it. It never waits: who is too slow is dropped.
func (s *server) publish(event string, m *vici.Message) {
	if !s.isHeard(event) {
		return
	}
	b, err := vici.Packet{Type: vici.Event, Name: event, Message: m}.Append(nil)
	if err != nil {
		return // longer than the protocol can tell
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.visits {
		if !v.wants[event] {
			continue
		}
		select {
		case v.news <- b:
		default:
			v.cancel()
		}
	}
}

// send sends a packet.
func (v *visit) send(p vici.Packet) error {
	b, err := p.Append(nil)
	if err != nil {
		if p.Type != vici.Response {
			return err
		}
		if b, err = (vici.Packet{Type: vici.Response, Message: outcome(err)}).Append(nil); err != nil {
			return err
		}
	}
	return v.write(b)
}

// write writes a segment. The visit of a client that does not take it in time is over.
func (v *visit) write(b []byte) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	_ = v.conn.SetWriteDeadline(time.Now().Add(replyTime))
	_, err := v.conn.Write(b)
	if err != nil {
		v.cancel()
	}
	return err
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
			if v.busy && hungUp(v.conn) {
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
