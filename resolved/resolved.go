// Package resolved tells systemd-resolved which name servers are behind a network device, over D-Bus (org.freedesktop.resolve1).
package resolved

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.resolve1"
	object  = "/org/freedesktop/resolve1"
	manager = "org.freedesktop.resolve1.Manager."
)

// ErrAbsent says that systemd-resolved, or the system bus, is not there.
var ErrAbsent = errors.New("systemd-resolved does not run here")

// address and domain are the arguments a(iay) and a(sb) of the interface.
type (
	address struct {
		Family int32
		Bytes  []byte
	}
	domain struct {
		Name        string
		RoutingOnly bool
	}
)

// Set has names looked up at servers that are reached through the device with this index: those of the domains and below, or all
// names if there are no domains. No name of the domains is looked up elsewhere (RFC 8598 5). The service forgets it with the device.
// It takes until ctx ends at most. The error is ErrAbsent if there is no such service.
func Set(ctx context.Context, device int, servers []netip.Addr, domains []string) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return ErrAbsent
	}
	defer bus.Close()
	return set(ctx, bus, device, servers, domains)
}

func set(ctx context.Context, bus *dbus.Conn, device int, servers []netip.Addr, domains []string) error {
	var addresses []address
	for _, a := range servers {
		addresses = append(addresses, address{Family: family(a), Bytes: a.AsSlice()})
	}
	// Domains that are for routing only are not appended to short names.
	var routes []domain
	for _, name := range domains {
		routes = append(routes, domain{Name: name, RoutingOnly: true})
	}
	if len(domains) == 0 {
		routes = []domain{{Name: ".", RoutingOnly: true}}
	}
	o := bus.Object(service, object)
	// The domains first: no moment at which the servers are asked for other names.
	if err := call(ctx, o, "SetLinkDomains", int32(device), routes); err != nil {
		return err
	}
	if err := call(ctx, o, "SetLinkDefaultRoute", int32(device), len(domains) == 0); err != nil && !errors.Is(err, errUnknownMethod) {
		return err // systemd before 240 has no such method, and derives it from the domains
	}
	if err := call(ctx, o, "SetLinkDNS", int32(device), addresses); err != nil {
		return err
	}
	return call(ctx, o, "FlushCaches")
}

// Revert has the device's servers forgotten, and all that was learnt from them.
func Revert(ctx context.Context, device int) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return ErrAbsent
	}
	defer bus.Close()
	return revert(ctx, bus, device)
}

func revert(ctx context.Context, bus *dbus.Conn, device int) error {
	o := bus.Object(service, object)
	if err := call(ctx, o, "RevertLink", int32(device)); err != nil {
		return err
	}
	return call(ctx, o, "FlushCaches") // RFC 8598 5
}

var errUnknownMethod = errors.New("the method is not known")

func call(ctx context.Context, o dbus.BusObject, method string, args ...any) error {
	err := o.CallWithContext(ctx, manager+method, 0, args...).Err
	var failure dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failure):
		switch failure.Name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
			"org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.Spawn.ServiceNotFound":
			return ErrAbsent
		case "org.freedesktop.DBus.Error.UnknownMethod":
			return errUnknownMethod
		}
	}
	return fmt.Errorf("systemd-resolved refuses %s: %w", method, err)
}

// family is the address family as the kernel numbers it.
func family(a netip.Addr) int32 {
	const inet, inet6 = 2, 10
	if a.Is4() {
		return inet
	}
	return inet6
}
