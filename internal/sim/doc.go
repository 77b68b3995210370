// Package sim is a network without wires for IKE endpoints: hosts, NAT boxes and links with loss, doubling and reordering, in a
// time of its own. A whole run, every key and every lost packet, is a function of one seed.
//
//	w := sim.New(seed)
//	a := w.Host("a", "192.0.2.1", sim.Config{Connections: ..., Secret: "..."})
//	b := w.Host("b", "198.51.100.1", sim.Config{...})
//	w.Run(time.Minute)
//	a.Rekey("site", "net")
//	w.Run(time.Minute)
//	w.WantPaired("site", "net")
//	err := w.Err()
//
// # How it is built
//
// The World owns the clock and one heap of what is going to happen: flights that arrive, and whatever was set for a time. It
// takes the earliest of them and of the deadlines of the hosts, moves the clock there and lets it happen; nothing else makes
// time pass.
//
// A Host is an ike.Endpoint with a datapath made of tables. The datapath does not encrypt; a simulated ESP packet carries the
// Install that its sender used, and the receiver compares it with its own: same keys, same selectors the other way round.
//
// A watcher stands at every host and checks after each step what must hold at all times: the window, repeated answers, unused
// initialisation vectors, no keys before AUTH (see watch.go). What must hold when nothing is under way any more is checked on
// demand (see quiet.go). Whatever does not hold is kept for Err, and the run goes on.
package sim
