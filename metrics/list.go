package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-vpn/culvert/ike"
)

// Metric is what docs/metrics.md says of one.
type Metric struct {
	Name   string
	Labels []string
	Help   string
	kind   prometheus.ValueType
	hist   bool
	desc   *prometheus.Desc
}

// Type is "counter", "gauge" or "histogram".
func (m *Metric) Type() string {
	switch {
	case m.hist:
		return "histogram"
	case m.kind == prometheus.CounterValue:
		return "counter"
	}
	return "gauge"
}

func gauge(name, help string, labels ...string) *Metric {
	return metric(Metric{Name: name, Help: help, Labels: labels, kind: prometheus.GaugeValue})
}

func counter(name, help string, labels ...string) *Metric {
	return metric(Metric{Name: name, Help: help, Labels: labels, kind: prometheus.CounterValue})
}

func histogram(name, help string) *Metric { return metric(Metric{Name: name, Help: help, hist: true}) }

func metric(m Metric) *Metric {
	m.Name = "culvert_" + m.Name
	m.desc = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	return &m
}

// The labels.
const (
	byConnection = "connection"
	byChild      = "child"
	byDirection  = "direction"
	byReason     = "reason"
	byState      = "state"
)

var (
	buildInfo      = gauge("build_info", "Always 1. The version of the daemon, of Go, and what computes AES-GCM.", "version", "goversion", "aes_gcm")
	startTime      = gauge("start_time_seconds", "When the gateway started, in Unix time.")
	controlAnswers = gauge("control_loop_answers", "1 if the control loop answered within 2 seconds. If not, most other metrics are missing.")
	connections    = gauge("connections", "Configured connections, by whether an IKE SA is established: up or down.", byState)

	connectionUp = gauge("connection_up", "1 if the configured connection has an established IKE SA, 0 if it is down.", byConnection)
	ikeSAs       = gauge("ike_sas", "IKE SAs by state: connecting, established, replaced (has a successor), closing. "+
		"Those of peers that are not known yet have an empty connection.", byConnection, byState)
	ikeNAT = gauge("ike_sas_nat", "Established IKE SAs by where a NAT was found: here (in front of us), there (in front of the peer), both, none.",
		byConnection, "nat")
	ikeEstablishedAt = gauge("ike_established_timestamp_seconds", "When the youngest established IKE SA was set up, in Unix time.", byConnection)
	ikeRekeyAt       = gauge("ike_next_rekey_timestamp_seconds", "When the first of the established IKE SAs gets new keys, in Unix time.", byConnection)

	ikeEstablished = counter("ike_established_total", "IKE SAs that were set up.", byConnection)
	ikeFailures    = counter("ike_failures_total", "IKE SAs that could not be set up, or broke. An empty connection stands for peers that belong to none.", byConnection)
	ikeRekeys      = counter("ike_rekeys_total", "IKE SAs that were replaced by rekeying.", byConnection)
	ikeReauths     = counter("ike_reauthentications_total", "IKE SAs that took the place of one that was set up before.", byConnection)
	ikeClosed      = counter("ike_closed_total", "IKE SAs that ended as one side wanted.", byConnection)
	ikeRetries     = counter("ike_retries_total", "Further attempts that were scheduled after a failure.", byConnection)
	ikePathChanges = counter("ike_path_changes_total", "Changes of the path to a peer: a NAT's mapping moved, or one side did.", byConnection)
	ikeRedirects   = counter("ike_redirects_total", "Times a peer sent us to another gateway.", byConnection)
	ikeWarnings    = counter("ike_warnings_total", "Warnings that were logged.", byConnection)
	childUps       = counter("child_established_total", "Child SAs that came up, other than by rekeying.", byConnection, byChild)
	childRekeys    = counter("child_rekeys_total", "Child SAs that were replaced by rekeying.", byConnection, byChild)
	childDowns     = counter("child_closed_total", "Child SAs that ended without a successor.", byConnection, byChild)
	childFailures  = counter("child_failures_total", "Child SAs that could not be set up.", byConnection, byChild)
	ikeMessages    = counter("ike_messages_total", "IKE messages, one for all fragments. An empty connection stands for peers that are not known yet, or never.", byConnection, byDirection)
	ikeRepeated    = counter("ike_repeated_requests_total", "Requests of the peer that came before: it did not get our answer.", byConnection)
	lastFailure    = gauge("last_failure_timestamp_seconds", "When the connection failed last, in Unix time, and why, as `culvert explain` calls it.", byConnection, "cause")

	ikeRetransmissions = counter("ike_retransmissions_total", "Requests of ours that were sent again for want of an answer.", byConnection)

	childUp      = gauge("child_up", "1 if the configured child has a Child SA, 0 if it is down.", byConnection, byChild)
	childWanted  = gauge("child_wanted", "1 if the child is to be up: it is kept up, or being brought up.", byConnection, byChild)
	childSAs     = gauge("child_sas", "Child SAs of the child, of all peers together.", byConnection, byChild)
	childRekeyAt = gauge("child_next_rekey_timestamp_seconds", "When the first of the Child SAs gets new keys, in Unix time.", byConnection, byChild)
	childBytes   = counter("child_bytes_total", "Bytes that were decrypted (in) and encrypted (out), by all Child SAs there were: inner packets and their padding.", byConnection, byChild, byDirection)
	childPackets = counter("child_packets_total", "Inner packets that were decrypted (in) and encrypted (out), by all Child SAs there were.", byConnection, byChild, byDirection)
	childNoSA    = counter("child_dropped_no_sa_total", "Packets that were dropped because the child was not up.", byConnection, byChild)

	drops      = counter("dropped_packets_total", "Packets that were not passed on, by reason.", byReason)
	ikeDrops   = counter("ike_dropped_messages_total", "IKE messages that were not acted upon, by reason.", byReason)
	keepalives = counter("keepalives_total", "Keepalives of NAT traversal.", byDirection)
	ecnUnused  = counter("ecn_unused_total", "Packets whose marks of congestion no sender makes (RFC 6040 4.2).")

	handling      = histogram("control_handling_seconds", "How long the control loop took for an input.")
	waiting       = histogram("control_waiting_seconds", "How long inputs waited for the control loop in its mailbox.")
	mailboxDepth  = gauge("mailbox_depth", "Inputs that wait for the control loop, by lane: of known peers, of those half done, of strangers.", "lane")
	mailboxRoom   = gauge("mailbox_capacity", "How many inputs may wait in the lane.", "lane")
	offloadActive = gauge("offload_active", "1 if the fast path is in use.", "name")
	queues        = gauge("tun_queues", "Queues of the TUN device.")
	inboundSPIs   = gauge("inbound_spis", "Inbound SPIs of ESP that are lent, of 65536.")
	poolAddresses = gauge("pool_addresses", "Addresses of the pool.", "pool")
	poolLeases    = gauge("pool_leases", "Addresses of the pool that are in use, and that are kept for who had them.", "pool", byState)
	shuntDropped  = counter("shunt_dropped_packets_total", "Packets of a policy without a tunnel that were dropped.", byConnection, "shunt", "mode")
)

// ikeEvents and childEvents are the counters of events, by the name of the event.
var (
	ikeEvents = map[string]*Metric{
		ike.Established.String(): ikeEstablished, ike.Failed.String(): ikeFailures, ike.Rekeyed.String(): ikeRekeys,
		ike.Reauthenticated.String(): ikeReauths, ike.Closed.String(): ikeClosed, ike.Retrying.String(): ikeRetries,
		ike.PathChanged.String(): ikePathChanges, ike.Redirected.String(): ikeRedirects, ike.Warned.String(): ikeWarnings,
	}
	childEvents = map[string]*Metric{
		ike.ChildUp.String(): childUps, ike.ChildRekeyed.String(): childRekeys, ike.ChildDown.String(): childDowns, ike.ChildFailed.String(): childFailures,
	}
)

// List is all metrics of the gateway, in the order of docs/metrics.md. The slice is the caller's.
func List() []*Metric {
	return []*Metric{
		buildInfo, startTime, connections,
		connectionUp, ikeSAs, ikeNAT, ikeEstablishedAt, ikeRekeyAt,
		ikeEstablished, ikeFailures, lastFailure, ikeRetries, ikeRekeys, ikeReauths, ikeClosed, ikePathChanges, ikeRedirects, ikeWarnings,
		ikeMessages, ikeRetransmissions, ikeRepeated,
		childUp, childWanted, childSAs, childRekeyAt, childBytes, childPackets, childNoSA, childUps, childRekeys, childDowns, childFailures,
		drops, ikeDrops, shuntDropped, keepalives, ecnUnused,
		controlAnswers, handling, waiting, mailboxDepth, mailboxRoom,
		offloadActive, queues, inboundSPIs, poolAddresses, poolLeases,
	}
}
