package draft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-vpn/culvert/internal/conftext"
)

// RemoteAccess is a gateway that lends addresses to machines without a network of their own, each of which has a secret of its own.
type RemoteAccess struct {
	// Gateway has the networks that the clients reach. It must have an address.
	Gateway Gateway
	// Pool is what is lent.
	Pool netip.Prefix
	// DNS are the name servers that the clients are told of.
	DNS []netip.Addr
	// Clients have names, and secrets as in SiteToSite.
	Clients []Client
}

// Client is a machine that asks for an address.
type Client struct {
	Name, Secret string
}

// identity is @laptop.office: of all clients of a gateway the identities end alike.
func (r RemoteAccess) identity(c Client) string { return "@" + c.Name + "." + r.Gateway.Name }

// Check returns everything that is wrong, each as an error of its own, in a joined error.
func (r RemoteAccess) Check() error {
	wrong := []error{CheckName(r.Gateway.Name)}
	if r.Gateway.Address == "" {
		wrong = append(wrong, errors.New("the clients need an address or a name to call"))
	}
	seen := map[string]bool{}
	for _, c := range r.Clients {
		wrong = append(wrong, CheckName(c.Name))
		if seen[c.Name] {
			wrong = append(wrong, fmt.Errorf("two clients are called %q", c.Name))
		}
		seen[c.Name] = true
	}
	for _, n := range r.Gateway.Networks {
		if n.Bits() > 0 && n.Overlaps(r.Pool) {
			wrong = append(wrong, fmt.Errorf("the addresses to lend, %v, are in the network %v: hosts there would look for the clients next to themselves; lend other addresses", r.Pool, n))
		}
	}
	return errors.Join(wrong...)
}

// File is the configuration of the gateway.
func (r RemoteAccess) File() string {
	var w conftext.Writer
	w.Comment(fmt.Sprintf("Gateway %s: remote access. This file holds the secrets of the clients: chmod 600.", r.Gateway.Name))
	w.Open("connections")
	w.Open(conftext.Name(r.Gateway.Name + "-clients"))
	w.Set("version", "2")
	w.Set("encap", "yes")
	w.Set("dpd_delay", "30s")
	w.Set("unique", "replace")
	w.Set("pools", conftext.Name(r.Gateway.Name))
	ends(&w, "@"+r.Gateway.Name, "*."+r.Gateway.Name)
	w.Open("children")
	w.Open("net")
	w.Set("local_ts", join(r.Gateway.Networks))
	w.Close()
	w.Close()
	w.Close()
	w.Close()
	w.Open("pools")
	w.Open(conftext.Name(r.Gateway.Name))
	w.Set("addrs", r.Pool.String())
	w.Set("dns", join(r.DNS))
	w.Close()
	w.Close()
	w.Open("secrets")
	for _, c := range r.Clients {
		secret(&w, c.Name, r.identity(c), c.Secret)
	}
	w.Close()
	return w.String()
}

// ClientFile is the configuration of a client.
func (r RemoteAccess) ClientFile(c Client) string {
	var w conftext.Writer
	w.Comment(fmt.Sprintf("Client %s of gateway %s. This file holds its secret: chmod 600.", c.Name, r.Gateway.Name))
	w.Open("connections")
	w.Open(conftext.Name(r.Gateway.Name))
	w.Set("version", "2")
	w.Set("remote_addrs", r.Gateway.Address)
	any := "0.0.0.0"
	if r.Pool.Addr().Is6() {
		any = "::"
	}
	w.Set("vips", any)
	w.Set("encap", "yes")
	w.Set("dpd_delay", "30s")
	ends(&w, r.identity(c), "@"+r.Gateway.Name)
	w.Open("children")
	w.Open("net")
	w.Set("remote_ts", join(r.Gateway.Networks))
	w.Set("start_action", "start")
	w.Close()
	w.Close()
	w.Close()
	w.Close()
	w.Open("secrets")
	secret(&w, r.Gateway.Name, "@"+r.Gateway.Name, c.Secret)
	w.Close()
	return w.String()
}
