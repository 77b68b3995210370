package gateway

import (
	"log/slog"
	"slices"

	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/udp"
)

// OffloadStatus is a fast path of the datapath.
type OffloadStatus struct {
	Name string `json:"name"` // as in the key no_offload
	// State is "on", "off" by order, "missing" because the host or what was brought cannot, "unasked" for several queues if nobody
	// asked for them, or "unknown" for queues and sockets that were brought and do not tell.
	State string `json:"state"`
	What  string `json:"what"`
}

// SocketStatus is a socket of the gateway, with the sizes of its buffers in bytes. A kernel grants less than is asked for when the
// daemon lacks CAP_NET_ADMIN; then a burst is lost sooner.
type SocketStatus struct {
	Address string     `json:"address"`
	Recv    udp.Buffer `json:"recv_buffer"`
	Send    udp.Buffer `json:"send_buffer"`
}

// inUse are the fast paths that are in use, and those of which it is not known.
func (e *edges) inUse() (on, unknown offload.Set) {
	if e.device != nil {
		on = e.device.Offloads()
	} else {
		unknown = offload.TSO | offload.USO
	}
	on |= offload.Coalesce &^ e.without
	if len(e.queues) > 1 {
		on |= offload.Queues
	}
	for _, c := range e.sockets() {
		if d, ok := c.(udp.Described); ok {
			f := d.Facts()
			on |= f.Offloads
		} else {
			unknown |= offload.Segment | offload.GRO | offload.Batch
		}
	}
	return on, unknown &^ (on | e.ordered)
}

// sockets are all sockets.
func (e *edges) sockets() []udp.Conn { return slices.Concat(e.conns.IKE, e.conns.NATT) }

// offloadStatus is the state of every fast path.
func (e *edges) offloadStatus() (list []OffloadStatus) {
	on, unknown := e.inUse()
	for _, one := range offload.All.Each() {
		state := "missing"
		switch {
		case on.Has(one):
			state = "on"
		case e.ordered.Has(one):
			state = "off"
		case one == offload.Queues:
			state = "unasked"
		case unknown.Has(one):
			state = "unknown"
		}
		list = append(list, OffloadStatus{Name: one.String(), State: state, What: one.What()})
	}
	return list
}

// socketStatus are the sockets that tell about themselves.
func (e *edges) socketStatus() (list []SocketStatus) {
	for _, c := range e.sockets() {
		if d, ok := c.(udp.Described); ok {
			f := d.Facts()
			list = append(list, SocketStatus{Address: c.LocalAddr().String(), Recv: f.Recv, Send: f.Send})
		}
	}
	return list
}

// shortages are sentences about what the kernel has not granted, each once.
func (e *edges) shortages() (list []string) {
	for _, c := range e.sockets() {
		if d, ok := c.(udp.Described); ok {
			f := d.Facts()
			if text := f.Shortage(); text != "" && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	return list
}

// announce logs once what the host gives.
func (e *edges) announce(log *slog.Logger) {
	on, unknown := e.inUse()
	missing := offload.All &^ (on | unknown | e.ordered | offload.Queues)
	log.Info("fast paths", "on", on.String(), "off", e.ordered.String(), "missing", missing.String(),
		"queues", len(e.queues), "sockets", len(e.sockets()), "aes_gcm", suite.AESGCM())
	for _, text := range e.shortages() {
		log.Warn(text)
	}
}
