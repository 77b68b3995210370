//go:build !linux

package demo

import (
	"context"
	"errors"
)

// Run is implemented on Linux only.
func Run(context.Context, Options) error {
	return errors.New("the demo needs the network namespaces of Linux")
}
