//go:build !linux

package gcm

import "testing"

func fenced(*testing.T) []byte { return make([]byte, 4096) }
