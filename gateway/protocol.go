package gateway

import (
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// What a Client asks and is told. A Request is answered by Replies until one is Done. Both travel as JSON inside of vici (see
// ownCommand).

// DefaultControl is the control socket of the daemon.
const DefaultControl = "/run/culvert/control"

// Request asks for something.
type Request struct {
	// Cmd is "status", "up", "down", "rekey", "reload", "trace", "capture", "pprof" or "version".
	Cmd string `json:"cmd"`
	// Conn and Child name what up, down and rekey are about; without Child it is all of the connection.
	Conn  string `json:"conn,omitempty"`
	Child string `json:"child,omitempty"`
	// Reauth makes rekey set the IKE SA up anew, with all its children.
	Reauth bool `json:"reauth,omitempty"`
	// After is the number of the last message of a trace that is known already.
	After uint64 `json:"after,omitempty"`
	// Snap is how many bytes of each packet are captured at most; 0: all.
	Snap int `json:"snap,omitempty"`
	// Profile is the name of one, see Profiles.
	Profile string `json:"profile,omitempty"`
	// Timeout in seconds is how long to wait for success; 0 is DefaultTimeout, and more than MaxTimeout is cut off.
	Timeout float64 `json:"timeout,omitempty"`
}

// How long up, down and rekey wait.
const (
	DefaultTimeout = time.Minute
	MaxTimeout     = 10 * time.Minute
)

// Reply is a part of an answer.
type Reply struct {
	Event   *EventInfo `json:"event,omitempty"`
	Status  *Status    `json:"status,omitempty"`
	Reload  *Reloaded  `json:"reload,omitempty"`
	Version string     `json:"version,omitempty"`
	// Trace is set in the answer to "trace", even if it is empty.
	// Packets were captured, Data is part of a profile.
	Packets []CapturedPacket `json:"packets,omitempty"`
	Data    []byte           `json:"data,omitempty"`
	Trace   []TraceMessage   `json:"trace,omitempty"`
	// Done is set in the last one, together with Error and Remedy if the request has failed.
	Done   bool   `json:"done,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Config are the errors of a configuration that was not accepted, each with its place in front.
	Config []string `json:"config,omitempty"`
}

// EventInfo is an ike.Event in words.
type EventInfo struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Conn     string    `json:"conn,omitempty"`
	Child    string    `json:"child,omitempty"`
	Local    string    `json:"local,omitempty"`
	Remote   string    `json:"remote,omitempty"`
	LocalID  string    `json:"local_id,omitempty"`
	RemoteID string    `json:"remote_id,omitempty"`
	SPIi     string    `json:"spi_i,omitempty"`
	SPIr     string    `json:"spi_r,omitempty"`
	SPIIn    string    `json:"spi_in,omitempty"`
	SPIOut   string    `json:"spi_out,omitempty"`
	Text     string    `json:"text,omitempty"`
	Remedy   string    `json:"remedy,omitempty"`
}

// infoOf puts an event in words.
func infoOf(ev ike.Event, now time.Time) *EventInfo {
	info := &EventInfo{
		Time: now, Kind: ev.Kind.String(), Conn: ev.Conn, Child: ev.Child,
		LocalID: idText(ev.LocalID), RemoteID: idText(ev.RemoteID), SPIi: ikeSPI(ev.SPIi), SPIr: ikeSPI(ev.SPIr),
		SPIIn: espSPI(ev.SPIIn), SPIOut: espSPI(ev.SPIOut), Text: ev.Text, Remedy: ev.Remedy,
	}
	if ev.Path.Remote.IsValid() {
		info.Local, info.Remote = ev.Path.Local.String(), ev.Path.Remote.String()
	}
	return info
}
