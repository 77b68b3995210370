package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// connection is what the control loop remembers of a configured connection.
type connection struct {
	cfg     *ike.Connection
	failure *Failure // the last one
	// warnings are what is wrong although nothing has failed. since is when the connection was configured; stirred: something has
	// happened to it since.
	warnings warnings
	since    time.Time
	stirred  bool
	// children are those of the configuration. The list is never changed, but may be replaced.
	children []*kept
	tally    tally
	trace    trace
}

// child is a configured child, nil if there is none of that name.
func (conn *connection) child(name string) *kept {
	i := slices.IndexFunc(conn.children, func(k *kept) bool { return k.cfg.Name == name })
	if i < 0 {
		return nil
	}
	return conn.children[i]
}

// maxRefused and maxReasons bound what is remembered of strangers.
const (
	maxRefused = 16
	maxReasons = 64
)

// event remembers, logs and passes on what has happened.
func (c *control) event(ev ike.Event) {
	c.log.event(ev)
	c.count(ev)
	c.counts.event(ev)
	c.tell(ev)
	if conn := c.conns[ev.Conn]; conn != nil {
		conn.note(ev)
	}
	switch ev.Kind {
	case ike.Dropped:
		reason := ev.Text
		if _, known := c.ikeDrops[reason]; !known && len(c.ikeDrops) >= maxReasons {
			reason = "other"
		}
		c.ikeDrops[reason]++
		return
	case ike.Initiating, ike.Established, ike.Rekeyed:
		c.mail.spis.add(ev.SPIi)
		c.mail.spis.add(ev.SPIr)
	case ike.Closed:
		c.mail.spis.remove(ev.SPIi)
		c.mail.spis.remove(ev.SPIr)
	case ike.Failed, ike.ChildFailed:
		c.failed(ev)
	}
	if c.options.events != nil {
		c.options.events(ev)
	}
	c.news = append(c.news, ev)
}

// count counts an event where it happened.
func (c *control) count(ev ike.Event) {
	conn := c.connOf(ev.Conn)
	conn.tally.event(ev.Kind)
	if k := conn.child(ev.Child); k != nil {
		k.tally.event(ev.Kind)
	}
}

// connOf is a connection, or what stands for all peers that belong to none.
func (c *control) connOf(name string) *connection {
	if conn := c.conns[name]; conn != nil {
		return conn
	}
	return c.strangers
}

// failed remembers a failure.
func (c *control) failed(ev ike.Event) {
	f := failureOf(ev)
	if conn := c.conns[ev.Conn]; conn != nil {
		conn.failure = &f
		return
	}
	if len(c.refused) >= maxRefused {
		c.refused = slices.Delete(c.refused, 0, 1)
	}
	c.refused = append(c.refused, f)
}

// watch waits for the end of something that was asked for.
type watch struct {
	conn string // empty: all of them
	// judge looks at what has just happened to the connection, and says when it is over and how it ended. It is
	// called by the control goroutine; once without events, after the order was given.
	judge  func(c *control, news []ike.Event) (over bool, err error)
	events chan ike.Event // for whoever waits; what finds it full is left out
	over   chan error
}

// watchedEvents is how many events wait for a slow listener.
const watchedEvents = 64

// tellWatches passes the news of the current input on.
func (c *control) tellWatches() {
	news := c.news
	c.news = c.news[:0]
	if len(news) == 0 {
		return
	}
	for w := range c.watches {
		w.tell(c, slices.DeleteFunc(slices.Clone(news), func(ev ike.Event) bool { return w.conn != "" && ev.Conn != w.conn }))
	}
}

func (w *watch) tell(c *control, news []ike.Event) {
	for _, ev := range news {
		select {
		case w.events <- ev:
		default:
		}
	}
	if over, err := w.judge(c, news); over {
		w.over <- err
		delete(c.watches, w)
	}
}

// Up brings up a child of a connection, or all its children if child is empty, and returns when that has succeeded or
// an attempt has failed; the gateway may go on trying. progress, unless nil, is called with what happens to the
// connection on the way.
func (g *Gateway) Up(ctx context.Context, conn, child string, progress func(ike.Event)) error {
	return g.ask(ctx, order{conn: conn, child: child, input: ike.Initiate{Conn: conn, Child: child}}, progress, func(c *control, news []ike.Event) (bool, error) {
		for _, ev := range news {
			if ev.Kind == ike.Failed || ev.Kind == ike.ChildFailed && (child == "" || ev.Child == child) {
				return true, &EventError{Event: ev}
			}
		}
		return c.allUp(conn, child, true), nil
	})
}

// Down closes a child of a connection, or the whole connection if child is empty, keeps it down until the next Up, and
// returns when it is down.
func (g *Gateway) Down(ctx context.Context, conn, child string, progress func(ike.Event)) error {
	return g.ask(ctx, order{conn: conn, child: child, input: ike.Terminate{Conn: conn, Child: child}}, progress, func(c *control, _ []ike.Event) (bool, error) {
		if child != "" {
			return c.allUp(conn, child, false), nil
		}
		return !slices.ContainsFunc(c.endpoint.Snapshot(), func(sa ike.SAInfo) bool { return sa.Conn == conn }), nil
	})
}

// Rekey gives new keys to a child of a connection, or to its IKE SA if child is empty, and returns when they are in use.
func (g *Gateway) Rekey(ctx context.Context, conn, child string, progress func(ike.Event)) error {
	o := order{conn: conn, child: child, input: ike.Rekey{Conn: conn, Child: child}, mustBeUp: true}
	return g.ask(ctx, o, progress, func(_ *control, news []ike.Event) (bool, error) {
		for _, ev := range news {
			switch {
			case child == "" && ev.Kind == ike.Rekeyed, child != "" && ev.Kind == ike.ChildRekeyed && ev.Child == child:
				return true, nil
			case ev.Kind == ike.Failed, ev.Kind == ike.Closed,
				child != "" && ev.Child == child && (ev.Kind == ike.ChildFailed || ev.Kind == ike.ChildDown):
				return true, &EventError{Event: ev}
			}
		}
		return false, nil
	})
}

// Reauthenticate sets the IKE SA of a connection up anew, with all its children, and returns when the new one has taken the place of the
// old one. If an attempt fails the old one stays; the gateway goes on trying.
func (g *Gateway) Reauthenticate(ctx context.Context, conn string, progress func(ike.Event)) error {
	o := order{conn: conn, input: ike.Reauth{Conn: conn}, mustBeUp: true}
	return g.ask(ctx, o, progress, func(c *control, news []ike.Event) (bool, error) {
		for _, ev := range news {
			switch {
			case ev.Kind == ike.Reauthenticated:
				return true, nil
			case ev.Kind == ike.Established && c.conns[conn].cfg.BreakBeforeMake:
				return true, nil
			case ev.Kind == ike.Failed:
				return true, &EventError{Event: ev}
			}
		}
		return false, nil
	})
}

// EventError is a failure that an event tells of.
type EventError struct{ Event ike.Event }

// Error is the event's text and remedy.
func (e *EventError) Error() string {
	text := e.Event.Text
	if text == "" {
		text = e.Event.Kind.String()
	}
	if e.Event.Remedy != "" {
		text += "; " + e.Event.Remedy
	}
	return text
}

// order is what an operator asks for.
type order struct {
	conn, child string // child may be empty: all of the connection
	input       ike.Input
	mustBeUp    bool
}

// ask gives an order to the endpoint and waits for what comes of it.
func (g *Gateway) ask(ctx context.Context, o order, progress func(ike.Event), judge func(*control, []ike.Event) (bool, error)) error {
	w := &watch{conn: o.conn, judge: judge, events: make(chan ike.Event, watchedEvents), over: make(chan error, 1)}
	var refused error
	err := g.do(ctx, func(c *control) {
		if refused = c.takes(o); refused != nil {
			return
		}
		c.watches[w] = true
		c.handle(o.input)
		if c.watches[w] {
			w.tell(c, nil) // what needs no event to be over is over now
		}
	})
	if err = cmp.Or(err, refused); err != nil {
		return err
	}
	return g.await(ctx, w, progress)
}

// await passes events on until the watch is over.
func (g *Gateway) await(ctx context.Context, w *watch, progress func(ike.Event)) error {
	tell := func(ev ike.Event) {
		if progress != nil {
			progress(ev)
		}
	}
	for {
		select {
		case ev := <-w.events:
			tell(ev)
		case err := <-w.over:
			for len(w.events) > 0 {
				tell(<-w.events)
			}
			return err
		case <-ctx.Done():
			_ = g.do(context.WithoutCancel(ctx), func(c *control) { delete(c.watches, w) })
			return context.Cause(ctx)
		case <-g.stopped:
			return ErrStopped
		}
	}
}

// takes says why an order cannot be obeyed.
func (c *control) takes(o order) error {
	conn := c.conns[o.conn]
	if conn == nil {
		return fmt.Errorf("there is no connection %q", o.conn)
	}
	if o.child != "" && !slices.ContainsFunc(conn.cfg.Children, func(k *ike.Child) bool { return k.Name == o.child }) {
		return fmt.Errorf("connection %s has no child %q", o.conn, o.child)
	}
	_, up := o.input.(ike.Initiate)
	switch {
	case up && len(conn.cfg.Children) == 0:
		return fmt.Errorf("connection %s has no children: there is nothing to bring up", o.conn)
	case !o.mustBeUp:
	case !c.established(o.conn):
		return fmt.Errorf("connection %s is not up", o.conn)
	case o.child != "" && !c.allUp(o.conn, o.child, true):
		return fmt.Errorf("child %s of connection %s is not up", o.child, o.conn)
	}
	return nil
}

// allUp reports whether a child, or every child if the name is empty, is up, or not up.
func (c *control) allUp(conn, child string, up bool) bool {
	for _, k := range c.policies.children {
		if k.conn.Name == conn && (child == "" || k.cfg.Name == child) && c.policies.up(k) != up {
			return false
		}
	}
	return true
}

// established reports whether a connection has an IKE SA that is up.
func (c *control) established(conn string) bool {
	return slices.ContainsFunc(c.endpoint.Snapshot(), func(sa ike.SAInfo) bool { return sa.Conn == conn && sa.Current })
}
