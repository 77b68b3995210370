package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/vici"
)

// controlCommands bring SAs up and down.
func controlCommands() map[string]handler {
	return map[string]handler{
		"initiate": initiate, "terminate": terminate, "rekey": rekey, "redirect": redirect, "install": install, "uninstall": uninstall,
	}
}

// forbearance is how long a client waits for what it asked for: for ever, not at all, or up to a limit.
type forbearance struct {
	none  bool
	limit time.Duration // 0: for ever
}

// readPatience reads a timeout in milliseconds: 0 is for ever, and -1 not at all.
func readPatience(args *vici.Message) (p forbearance, err error) {
	text := cmp.Or(args.Text("timeout"), "0")
	ms, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil || ms < -1:
		return p, fmt.Errorf("timeout is %s, which is no number of milliseconds", strconv.Quote(text))
	case ms < 0:
		return forbearance{none: true}, nil
	}
	return forbearance{limit: time.Duration(ms) * time.Millisecond}, nil
}

// within is ctx with that limit.
func (p forbearance) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("it is not done after %v", p.limit))
}

// initiate brings up a child of a connection, or all of a connection.
func initiate(c *call) (*vici.Message, error) {
	child, conn := c.args.Text("child"), c.args.Text("ike")
	patience, err := readPatience(c.args)
	switch {
	case err != nil:
		return nil, err
	case child == "" && conn == "":
		return nil, errors.New("initiate wants the name of a child or of a connection")
	case c.args.Text("my-host") != "" || c.args.Text("other-host") != "":
		return nil, errors.New("my-host and other-host are not supported: the addresses are those of the connection")
	}
	if err := c.gateway.do(c.ctx, func(k *control) { conn, err = k.connectionWith(conn, child) }); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if patience.none {
		o := order{conn: conn, child: child, input: ike.Initiate{Conn: conn, Child: child}}
		var refused error
		failed := c.gateway.do(c.ctx, func(k *control) {
			if refused = k.takes(o); refused == nil {
				k.handle(o.input)
			}
		})
		return nil, cmp.Or(failed, refused)
	}
	done, err := c.wait()
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := patience.within(c.ctx)
	defer cancel()
	return nil, c.gateway.Up(ctx, conn, child, c.progress)
}

// connectionWith is the connection of a name, or the first one with a child of a name.
func (c *control) connectionWith(conn, child string) (string, error) {
	for _, k := range c.order {
		if conn != "" && conn != k.cfg.Name {
			continue
		}
		if child == "" || slices.ContainsFunc(k.cfg.Children, func(k *ike.Child) bool { return k.Name == child }) {
			return k.cfg.Name, nil
		}
	}
	switch {
	case child == "":
		return "", fmt.Errorf("there is no connection %q", conn)
	case conn == "":
		return "", fmt.Errorf("no connection has a child %q", child)
	}
	return "", fmt.Errorf("there is no connection %q with a child %q", conn, child)
}

// progress tells a client what happens on the way to what it asked for.
func (c *call) progress(ev ike.Event) {
	if level := cmp.Or(c.args.Text("loglevel"), "1"); level == "-1" || level == "0" {
		return
	}
	m := logMessage(groupOf(ev), eventText(ev)).SetIf("ikesa-name", ev.Conn)
	if ev.SA != nil {
		m.SetUint("ikesa-uniqueid", ev.SA.ID)
	}
	_ = c.stream("control-log", m) // who does not read it any more is noticed elsewhere
}

// target is an SA by its numbers; child is 0 if it is an IKE SA.
type target struct{ id, child uint64 }

// targets are the SAs that are chosen: Child SAs if the filter says anything about children.
func (c *control) targets(f filter) []target {
	var list []target
	for _, sa := range c.endpoint.Snapshot() {
		switch {
		case !f.takes(&sa):
		case !f.aboutChildren():
			list = append(list, target{id: sa.ID})
		default:
			for _, child := range sa.Children {
				if f.takesChild(&child) && child.State != "draining" {
					list = append(list, target{sa.ID, child.ID})
				}
			}
		}
	}
	return list
}

// chosen reads which SAs a command is about.
func (c *call) chosen(what string) (filter, error) {
	f, err := readFilter(c.args)
	if err == nil && f.isEmpty() {
		err = fmt.Errorf("%s wants the name or the number of an SA", what)
	}
	return f, err
}

// matched is an answer that says how many SAs were meant.
func matched(err error, matches int) *vici.Message {
	m := outcome(err)
	number := vici.Element{Name: "matches", Kind: vici.KindValue, Value: []byte(strconv.Itoa(matches))}
	m.Elements = slices.Insert(m.Elements, 1, number)
	return m
}

// terminate closes the SAs that are chosen, and ends the attempts to set up a connection that is named.
func terminate(c *call) (*vici.Message, error) {
	f, err := c.chosen("terminate")
	if err != nil {
		return nil, err
	}
	patience, err := readPatience(c.args)
	if err != nil {
		return nil, err
	}
	force, _ := c.args.Yes("force")
	done, err := c.wait()
	if err != nil {
		return nil, err
	}
	defer done()
	var list []target
	left := func(k *control) int {
		return len(slices.DeleteFunc(slices.Clone(list), func(t target) bool { return !k.endpoint.Exists(t.id, t.child) }))
	}
	w := &watch{events: make(chan ike.Event, watchedEvents), over: make(chan error, 1)}
	w.judge = func(k *control, _ []ike.Event) (bool, error) { return left(k) == 0, nil }
	trying := 0
	if err := c.gateway.do(c.ctx, func(k *control) {
		if list = k.targets(f); len(list) == 0 {
			trying = k.giveUp(f)
			return
		}
		k.watches[w] = true
		for _, t := range list {
			k.handle(ike.TerminateSA{ID: t.id, Child: t.child, Force: force && patience.limit == 0})
		}
		if k.watches[w] {
			w.tell(k, nil)
		}
		if patience.none && k.watches[w] {
			delete(k.watches, w)
		}
	}); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if trying > 0 {
			return c.terminated(nil, trying, trying), nil
		}
		return c.terminated(errors.New("no SA matches"), 0, 0), nil
	}
	if patience.none {
		return c.terminated(nil, len(list), len(list)), nil
	}
	ctx, cancel := patience.within(c.ctx)
	defer cancel()
	if err := c.gateway.await(ctx, w, c.progress); err == nil {
		return c.terminated(nil, len(list), len(list)), nil
	}
	remaining := 0
	if err := c.gateway.do(c.ctx, func(k *control) {
		if force { // the peer had the time that it was given
			for _, t := range list {
				k.handle(ike.TerminateSA{ID: t.id, Child: t.child, Force: true})
			}
		}
		remaining = left(k)
	}); err != nil {
		return nil, err
	}
	if remaining > 0 {
		err = fmt.Errorf("%d of %d SAs are still being closed: the peer has not answered", remaining, len(list))
	}
	return c.terminated(err, len(list), len(list)-remaining), nil
}

// giveUp has a connection or child that is named, and being tried, not be tried any more. It returns how many were.
func (c *control) giveUp(f filter) (trying int) {
	if f.ikeID != 0 || f.childID != 0 {
		return 0
	}
	for _, w := range c.endpoint.Wishes() {
		if w.Wanted && (f.ike == "" || f.ike == w.Conn) && (f.child == "" || f.child == w.Child) {
			c.handle(ike.Terminate{Conn: w.Conn, Child: w.Child})
			trying++
		}
	}
	return trying
}

func (c *call) terminated(err error, matches, done int) *vici.Message {
	m := matched(err, matches)
	number := vici.Element{Name: "terminated", Kind: vici.KindValue, Value: []byte(strconv.Itoa(done))}
	m.Elements = slices.Insert(m.Elements, 2, number)
	return m
}

// rekey begins to give new keys to the SAs that are chosen, and does not wait for it.
func rekey(c *call) (*vici.Message, error) {
	f, err := c.chosen("rekey")
	if err != nil {
		return nil, err
	}
	reauth, _ := c.args.Yes("reauth")
	matches := 0
	if err := c.gateway.do(c.ctx, func(k *control) {
		list := k.targets(f)
		for _, t := range list {
			k.handle(ike.RekeySA{ID: t.id, Child: t.child, Reauth: reauth})
		}
		matches = len(list)
	}); err != nil {
		return nil, err
	}
	if matches == 0 {
		err = errors.New("no SA matches")
	}
	return matched(err, matches), nil
}

// redirect sends peers that take it to another gateway.
func redirect(c *call) (*vici.Message, error) {
	to, err := readGateway(c.args.Text("gateway"))
	if err != nil {
		return nil, err
	}
	f, err := readFilter(c.args)
	if err != nil {
		return nil, err
	}
	peer, err := readPeer(c.args)
	if err != nil {
		return nil, err
	}
	if f.ike == "" && f.ikeID == 0 && peer.isAny() {
		return nil, errors.New("redirect wants to know whom")
	}
	matches, unable := 0, 0
	if err := c.gateway.do(c.ctx, func(k *control) {
		for _, sa := range k.endpoint.Snapshot() {
			switch {
			case !f.takes(&sa) || !sa.Current || !peer.takes(&sa):
			case !sa.Redirectable:
				unable++
			default:
				matches++
				k.handle(ike.RedirectSA{ID: sa.ID, To: to})
			}
		}
	}); err != nil {
		return nil, err
	}
	switch {
	case matches > 0:
	case unable > 0:
		err = fmt.Errorf("%d IKE SAs match, whose peers did not call, or did not say that they can be redirected", unable)
	default:
		err = errors.New("no SA matches")
	}
	return matched(err, matches), nil
}

// readGateway reads where peers are sent: an address or a name.
func readGateway(text string) (g wire.Gateway, err error) {
	if text == "" {
		return g, errors.New("the gateway to redirect to is missing")
	}
	if g.Addr, err = netip.ParseAddr(text); err != nil {
		g.Name = strings.TrimPrefix(text, "@")
	}
	if g.Addr.Zone() == "" && len(g.Name) <= maxName {
		if same, _, ok := wire.ParseRedirect(wire.AppendGateway(nil, g)); ok && same == g {
			return g, nil
		}
	}
	return g, fmt.Errorf("%s is no gateway: it is an address, or a name", strconv.Quote(shortened(text)))
}

// maxName is the length of the longest name of a host.
const maxName = 253

// peers says which peers are meant, by address and identity.
type peers struct {
	first, last netip.Addr // invalid: any
	id          ident.Pattern
}

func (p peers) isAny() bool { return !p.first.IsValid() && p.id.IsAny() }

func (p peers) takes(sa *ike.SAInfo) bool {
	a := sa.Path.Remote.Addr()
	inside := !p.first.IsValid() || a.BitLen() == p.first.BitLen() && !a.Less(p.first) && !p.last.Less(a)
	return inside && p.id.Match(sa.RemoteID) > 0
}

// readPeer reads which peers are meant: an address, a network or a range, and an identity, which may have wildcards.
func readPeer(args *vici.Message) (p peers, err error) {
	if p.id, err = ident.ParsePattern(cmp.Or(args.Text("peer-id"), "%any")); err != nil {
		return p, fmt.Errorf("peer-id: %w", err)
	}
	text := args.Text("peer-ip")
	if text == "" {
		return p, nil
	}
	spec, err := ts.ParseSpec(text)
	if err != nil || spec.Dynamic || strings.Contains(text, "[") {
		return p, fmt.Errorf("peer-ip is %s, which is no address, network or range", strconv.Quote(shortened(text)))
	}
	p.first, p.last = spec.Sel.Start, spec.Sel.End
	return p, nil
}

// install has packets bring a child up. Policies without a tunnel are in force as long as they are configured.
func install(c *call) (*vici.Message, error) { return nil, c.intercept(true) }

// uninstall has them not do that any more.
func uninstall(c *call) (*vici.Message, error) { return nil, c.intercept(false) }

func (c *call) intercept(on bool) error {
	conn, child := c.args.Text("ike"), c.args.Text("child")
	if child == "" {
		return errors.New("the name of a child is missing")
	}
	var refused error
	err := c.gateway.do(c.ctx, func(k *control) {
		for _, s := range k.shunts {
			if s.Name == child && (conn == "" || conn == s.Conn) {
				if !on {
					refused = fmt.Errorf("%s has no tunnel, and its policy is in force as long as it is configured: remove it from the configuration", child)
				}
				return
			}
		}
		var found string
		if found, refused = k.connectionWith(conn, child); refused == nil {
			k.handle(ike.Intercept{Conn: found, Child: child, On: on})
		}
	})
	return cmp.Or(err, refused)
}
