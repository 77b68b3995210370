package tun

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// control is a socket for ioctls on interfaces.
type control struct{ fd int }

func openControl() (control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return control{-1}, fmt.Errorf("tun: cannot open a socket to set up the interface: %w", err)
	}
	unix.CloseOnExec(fd)
	return control{fd}, nil
}

func (c control) index(name string) (int, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("tun: cannot find the interface %s just made: %w", name, err)
	}
	return i.Index, nil
}

func (c control) setMTU(name string, bytes int) error {
	req := unix.IfreqMTU{MTU: int32(bytes)}
	copy(req.Name[:maxName], name)
	if err := unix.IoctlSetIfreqMTU(c.fd, &req); err != nil {
		return fmt.Errorf("tun: cannot set the MTU of %s to %d bytes: %w", name, bytes, err)
	}
	return nil
}

func (c control) close() error { return unix.Close(c.fd) }
