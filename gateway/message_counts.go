package gateway

import (
	"errors"
	"maps"
	"slices"

	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/vici"
)

// countKind is something that is counted for all connections together, and for each.
type countKind int

// What is counted, in charon's order. Messages are counted in four kinds for each exchange: requests and answers that came, and those
// that were sent, each once however often it was repeated.
const (
	countRekeyByUs countKind = iota
	countRekeyByPeer
	countRekeyChild
	countInvalid
	countInvalidSPI
	countInit
	countAuth        = countInit + 4
	countCreateChild = countAuth + 4
	countInfo        = countCreateChild + 4
	countKinds       = countInfo + 4
)

// countNames are charon's names.
var countNames = [countKinds]string{
	"ike-rekey-init", "ike-rekey-resp", "child-rekey", "invalid", "invalid-spi",
	"ike-init-in-req", "ike-init-in-resp", "ike-init-out-req", "ike-init-out-resp",
	"ike-auth-in-req", "ike-auth-in-resp", "ike-auth-out-req", "ike-auth-out-resp",
	"create-child-in-req", "create-child-in-resp", "create-child-out-req", "create-child-out-resp",
	"info-in-req", "info-in-resp", "info-out-req", "info-out-resp",
}

// messageCounts counts what IKE does. It belongs to the control goroutine.
type messageCounts struct {
	all [countKinds]uint64
	of  map[string]*[countKinds]uint64 // by connection
}

func (c *messageCounts) count(conn string, kind countKind) {
	c.all[kind]++
	if conn == "" {
		return
	}
	if c.of[conn] == nil {
		c.of[conn] = &[countKinds]uint64{}
	}
	c.of[conn][kind]++
}

// message counts a message.
func (c *messageCounts) message(m *ike.Message) {
	if m.Repeated || m.Sends > 1 {
		return
	}
	switch {
	case m.IsAstray():
		c.count("", countInvalidSPI)
		return
	case m.IsInvalid():
		c.count(m.Conn, countInvalid)
		return
	case m.Refused != "":
		return
	}
	var kind countKind
	switch m.Header.Exchange {
	case wire.IKE_SA_INIT:
		kind = countInit
	case wire.IKE_AUTH:
		kind = countAuth
	case wire.CREATE_CHILD_SA:
		kind = countCreateChild
	case wire.INFORMATIONAL:
		kind = countInfo
	default:
		return
	}
	if m.Header.Response {
		kind++
	}
	if m.Out {
		kind += 2
	}
	c.count(m.Conn, kind)
}

// event counts what has come of messages.
func (c *messageCounts) event(ev ike.Event) {
	switch {
	case ev.Kind == ike.ChildRekeyed:
		c.count(ev.Conn, countRekeyChild)
	case ev.Kind == ike.Rekeyed && ev.SA.Initiator:
		c.count(ev.Conn, countRekeyByUs)
	case ev.Kind == ike.Rekeyed:
		c.count(ev.Conn, countRekeyByPeer)
	}
}

// forget takes away what is not configured any more.
func (c *messageCounts) forget(conns map[string]*connection) {
	maps.DeleteFunc(c.of, func(name string, _ *[countKinds]uint64) bool { return conns[name] == nil })
}

// counterCommands tell how much there was.
func counterCommands() map[string]handler {
	return map[string]handler{"get-counters": getCounters, "reset-counters": resetCounters}
}

var errNoCounters = errors.New("nothing was counted for this connection")

// getCounters tells the counters of all connections together, of one, or of each.
func getCounters(c *call) (*vici.Message, error) {
	name, one := c.args.Bytes("name")
	all, _ := c.args.Yes("all")
	m := &vici.Message{}
	section := m.Section("counters")
	var failed error
	err := c.gateway.do(c.ctx, func(k *control) {
		switch {
		case all:
			for _, conn := range slices.Sorted(maps.Keys(k.counts.of)) {
				describeCounts(section.Section(conn), k.counts.of[conn])
			}
		case !one:
			describeCounts(section.Section(""), &k.counts.all)
		case k.counts.of[string(name)] != nil:
			describeCounts(section.Section(string(name)), k.counts.of[string(name)])
		default:
			failed = errNoCounters
		}
	})
	if err != nil {
		return nil, err
	}
	m.Elements = append(m.Elements, outcome(failed).Elements...)
	return m, nil
}

func describeCounts(m *vici.Message, counts *[countKinds]uint64) {
	for kind, n := range counts {
		m.SetUint(countNames[kind], n)
	}
}

// resetCounters begins to count anew: for all connections together, for one, or for each.
func resetCounters(c *call) (*vici.Message, error) {
	name, one := c.args.Bytes("name")
	all, _ := c.args.Yes("all")
	return nil, c.gateway.do(c.ctx, func(k *control) {
		switch {
		case all:
			clear(k.counts.of)
		case one:
			delete(k.counts.of, string(name))
		default:
			k.counts.all = [countKinds]uint64{}
		}
	})
}
