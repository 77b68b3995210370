package tun

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// control is a socket for ioctls on interfaces. It stays in the network namespace in which it was opened, where the
// device is too, whatever thread uses it later.
type control struct{ fd int }

func openControl() (control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return control{-1}, fmt.Errorf("tun: cannot open a socket to set up the interface: %w", err)
	}
	return control{fd}, nil
}

func (c control) index(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("tun: cannot find the interface %s just made: %w", name, err)
	}
	return int(req.Uint32()), nil
}

func (c control) setMTU(name string, bytes int) error {
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint32(uint32(bytes))
		err = unix.IoctlIfreq(c.fd, unix.SIOCSIFMTU, req)
	}
	if err != nil {
		return fmt.Errorf("tun: cannot set the MTU of %s to %d bytes: %w", name, bytes, err)
	}
	return nil
}

func (c control) close() error { return unix.Close(c.fd) }
