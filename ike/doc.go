// Package ike is an IKEv2 endpoint (RFC 7296): one state machine, without I/O, for all IKE SAs of a host.
//
// An Endpoint takes Inputs (a datagram, the time, a wish of the operator, news from the datapath) and returns Effects (send
// this, install that, tell somebody). It reads no clock, opens no socket, starts no goroutine and logs nothing:
//
//	effects := endpoint.Handle(now, ike.Datagram{...})
//	deadline, ok := endpoint.Deadline() // when to call Handle with a Tick
//
// # How it is built
//
// Every message passes a table first (admission.go): in this role and state, is there a place for it? A first message then passes the
// limits on what strangers can cause (cookie.go, limit.go), and is parsed after that.
//
// Establishing an IKE SA is states: expectInitReply, expectAuthReply and expectAuth are named for what they wait for and hold
// what only that wait needs, so a spent Diffie-Hellman key or the first messages are out of reach afterwards.
//
// An established IKE SA is exchanges. Each thing that we can want of the peer (newChild, rekeyChild, deleteChildren, rekeyIKE,
// deleteIKE, alive) is an exchange with three methods: request builds it, reply takes the answer, and clash says what to
// do with a request of the peer that crosses it (RFC 7296 2.8.1, 2.8.2, 2.25).
//
// The children are asked for in IKE_AUTH, the first one, and in CREATE_CHILD_SA, or all of them there (childless.go, RFC 6023).
//
// Messages that are too large for a packet travel in fragments (fragments.go, RFC 7383), which nothing else knows of: what is
// sealed is one message or several, and what is opened is there when its last fragment is.
//
// A gateway that we call may send us to another one (redirect.go, RFC 5685), which is called in its stead this time.
//
// Where the two ends are may change (mobike*.go, RFC 4555): one of them decides, the other one follows when it has a proof.
//
// What a Child SA is to carry, and how its selectors are agreed upon, is in traffic.go; that the peer may want several for one policy, in
// parts.go; when nobody uses one, in activity.go.
//
// The window of an IKE SA numbers the messages, repeats what is unanswered (window.go) and answers what is repeated (inbox.go). A
// connection's keeper (keeper.go) decides what should be up and when to try again. When the configuration changes (reconfigure.go),
// it keeps what is the same, and replaces what is outdated before that is closed.
package ike
