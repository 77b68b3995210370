package tun

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// openError says in one sentence why there is no device and what to do about it.
func openError(name string, err error) error {
	if name == "" {
		name = "tun%d"
	}
	var why string
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		why = fmt.Sprintf("the host has no %s: load the module with `modprobe tun`, or pass the device into the container", cloneDevice)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		why = fmt.Sprintf("making the interface %s is not permitted: run as root or with CAP_NET_ADMIN, and with access to %s", name, cloneDevice)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		why = fmt.Sprintf("the interface %s is in use by another program: stop it or choose another name", name)
	case errors.Is(err, unix.EINVAL):
		why = fmt.Sprintf("an interface %s of another kind exists or the name is not allowed: remove it with `ip link delete %s` or choose another name", name, name)
	case errors.Is(err, unix.E2BIG):
		why = fmt.Sprintf("the interface %s has no room for another queue: ask for fewer", name)
	default:
		why = fmt.Sprintf("cannot make the interface %s", name)
	}
	return fmt.Errorf("tun: %s (%w)", why, err)
}
