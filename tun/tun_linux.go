package tun

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/offload"
)

const (
	nativeQueues = true
	cloneDevice  = "/dev/net/tun"
)

// device is a TUN device of Linux.
type device struct {
	name   string
	index  int
	mtu    atomic.Int64
	ctl    control
	queues []Queue
	fast   offload.Set
	closed atomic.Bool
}

func openNative(o Options) (Device, error) {
	ctl, err := openControl()
	if err != nil {
		return nil, err
	}
	d := &device{name: o.Name, ctl: ctl}
	if o.Offload {
		d.fast = (offload.TSO | offload.USO) &^ o.Without
	}
	for range o.Queues {
		q, name, err := openQueue(d.name, o.Queues > 1, &d.fast)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.name = name // from the second queue on, the name the kernel chose
		d.queues = append(d.queues, q)
	}
	if d.index, err = ctl.index(d.name); err == nil {
		err = d.SetMTU(o.MTU)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	if d.fast.Has(offload.TSO) {
		d.limitTCP(o.TCPPayload)
	}
	return d, nil
}

// openQueue attaches one more file to the device called name, making the device if it is not there. Of the fast paths in
// fast those remain that the kernel has.
func openQueue(name string, multi bool, fast *offload.Set) (Queue, string, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", openError(name, err)
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = setOffload(fd, fast)
	}
	if err != nil {
		unix.Close(fd)
		return nil, "", openError(name, err)
	}
	// Only now: a file that is not attached to a device cannot be polled.
	q, err := newQueue(os.NewFile(uintptr(fd), cloneDevice))
	if err != nil {
		return nil, "", fmt.Errorf("tun: cannot wait for packets of %s: %w", req.Name(), err)
	}
	return q, req.Name(), nil
}

// Flags of TUNSETOFFLOAD, from linux/if_tun.h.
const (
	offloadChecksum = 0x01
	offloadTSO4     = 0x02
	offloadTSO6     = 0x04
	offloadUSO4     = 0x20
	offloadUSO6     = 0x40
)

// setOffload tells the kernel what Read copes with; without any of it the kernel segments and completes every packet
// itself. A kernel before 6.2 knows no UDP segmentation here: then there is none in fast afterwards.
func setOffload(fd int, fast *offload.Set) error {
	err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadFlags(*fast))
	if errors.Is(err, unix.EINVAL) && fast.Has(offload.USO) {
		*fast &^= offload.USO
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadFlags(*fast))
	}
	return err
}

func offloadFlags(fast offload.Set) (flags int) {
	if fast.Has(offload.TSO) {
		flags |= offloadChecksum | offloadTSO4 | offloadTSO6
	}
	if fast.Has(offload.USO) {
		flags |= offloadChecksum | offloadUSO4 | offloadUSO6
	}
	return flags
}

func (d *device) Name() string    { return d.name }
func (d *device) Index() int      { return d.index }
func (d *device) MTU() int        { return int(d.mtu.Load()) }
func (d *device) Queues() []Queue { return d.queues }

func (d *device) Offloads() offload.Set { return d.fast }

func (d *device) SetMTU(bytes int) error {
	if err := checkMTU(bytes); err != nil {
		return err
	}
	if d.closed.Load() {
		return os.ErrClosed
	}
	if err := d.ctl.setMTU(d.name, bytes); err != nil {
		return err
	}
	d.mtu.Store(int64(bytes))
	return nil
}

// Close closes the queues; with the last of them the kernel removes the interface.
func (d *device) Close() error {
	if d.closed.Swap(true) {
		return os.ErrClosed
	}
	var errs []error
	for _, q := range d.queues {
		if err := q.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, d.ctl.close())...)
}
