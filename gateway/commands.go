package gateway

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/culvert-vpn/culvert/vici"
)

// call is a command that a client has given.
type call struct {
	gateway *Gateway
	server  *server
	visit   *visit
	name    string
	// ctx ends when the client has gone away, or the gateway ends.
	ctx context.Context
	// args are borrowed: they are wiped when the command is done. A secret that is to be kept has to be copied.
	args *vici.Message
}

// handler carries out a command on the goroutine of the client. An error is answered as success=no with its text; an answer of
// nil and no error as success=yes.
type handler func(*call) (*vici.Message, error)

// commandTable is what clients can ask for: one table for each family of commands.
func commandTable() map[string]handler {
	all := make(map[string]handler)
	for _, family := range []map[string]handler{loadCommands(), queryCommands(), controlCommands(), counterCommands()} {
		maps.Copy(all, family)
	}
	return all
}

// eventNames are the events that clients can register for.
var eventNames = []string{
	"log", "control-log", "list-sa", "list-policy", "list-conn", "list-cert", "list-authority",
	"ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "alert", replyEvent,
}

// command carries out a command and answers it.
func (s *server) command(v *visit, p vici.Packet) error {
	do := s.commands[p.Name]
	if do == nil && strings.HasPrefix(p.Name, ownPrefix) {
		do = ownCommand
	}
	if do == nil {
		return v.send(vici.Packet{Type: vici.Unknown})
	}
	answer, err := do(&call{gateway: s.gateway, server: s, visit: v, name: p.Name, ctx: v.ctx, args: p.Message})
	if answer == nil || err != nil {
		answer = outcome(err)
	}
	return v.send(vici.Packet{Type: vici.Response, Message: answer})
}

// outcome is the answer of a command that can only succeed or fail.
func outcome(err error) *vici.Message {
	if err == nil {
		return new(vici.Message).Set("success", "yes")
	}
	return new(vici.Message).Set("success", "no").Set("errmsg", shortened(err.Error()))
}

// maxText is the longest text in an answer, well below what a value may have.
const maxText = 16 << 10

func shortened(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "..."
	}
	return text
}

// stream sends an event to the client that gave the command, if it wants that.
func (c *call) stream(event string, m *vici.Message) error {
	if !c.server.hears(c.visit, event) {
		return nil
	}
	return c.visit.send(vici.Packet{Type: vici.Event, Name: event, Message: m})
}

// wait takes one of the places of clients that wait for something. done gives it back.
func (c *call) wait() (done func(), err error) {
	if c.server.waiting.Add(1) > maxWaiting {
		c.server.waiting.Add(-1)
		return nil, fmt.Errorf("%d clients wait already: try again when some of them are done", maxWaiting)
	}
	return func() { c.server.waiting.Add(-1) }, nil
}
