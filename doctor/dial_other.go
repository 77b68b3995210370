//go:build !linux

package doctor

import "net"

func markedDialer() *net.Dialer     { return &net.Dialer{} }
func markedResolver() *net.Resolver { return net.DefaultResolver }
