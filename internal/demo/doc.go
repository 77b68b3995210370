// Package demo shows on one machine what Culvert is for: it builds two sites, an internet and a NAT out of network
// namespaces, runs a gateway on each side, connects the sites, and tells what it sees.
package demo

import (
	"errors"
	"io"
)

// Options say how to run the demo.
type Options struct {
	// Out is where the story is told. Live means that a person watches it on a terminal.
	Out  io.Writer
	Live bool
	// Program is the path of a culvert binary that runs the gateways.
	Program string
	// Bytes is how much is transferred each way.
	Bytes int64
}

// ErrUnexpected means that the demo ran, and something was not as it should be. It has been told on Out.
var ErrUnexpected = errors.New("not everything was as expected")
