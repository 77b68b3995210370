//go:build !linux

package compare

import (
	"context"
	"errors"
)

// Run is implemented on Linux only.
func Run(context.Context, Options) (*Report, error) {
	return nil, errors.New("the comparison needs the network namespaces of Linux")
}
