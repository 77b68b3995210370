package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/draft"
)

// access are the flags of remote access.
type access struct {
	as, public    string
	here, clients []string
	pool          string
	dns           []string
	out           placement
}

func newRemoteAccess() *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use:   "remote-access --as NAME --public ADDRESS --here NETWORKS --pool NETWORK --client NAMES",
		Short: "Let laptops and single machines into the network here",
		Long: `Remote-access writes the configuration of this gateway, to its place, and one for each client, to the current directory.
Each client has a secret of its own, and gets an address out of the pool when it calls.

Files are readable by their owner only, and none is overwritten without --force.`,
		Example: `  culvert new remote-access --as office --public vpn.example.org --here 10.103.0.0/24 --pool 10.11.0.0/24 --client laptop,phone
  culvert new remote-access --as office --public 203.0.113.1 --here 0.0.0.0/0 --pool 10.11.0.0/24 --dns 10.103.0.53 --client laptop`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&a.as, "as", "", "what this gateway is called; its identity is @NAME")
	f.StringVar(&a.public, "public", "", "address or DNS name at which the clients call")
	f.StringSliceVar(&a.here, "here", nil, "networks that the clients reach; 0.0.0.0/0 takes all their traffic")
	f.StringVar(&a.pool, "pool", "", "network whose addresses are lent to the clients")
	f.StringSliceVar(&a.dns, "dns", nil, "name servers for the clients")
	f.StringSliceVar(&a.clients, "client", nil, "names of the clients, with commas between them")
	a.out.flags(cmd)
	return cmd
}

func (a *access) run(cmd *cobra.Command) error {
	r, err := a.read()
	if err != nil {
		return err
	}
	gateway := file{gateway: r.Gateway.Name, peer: r.Gateway.Name + "-clients", text: r.File(), here: true}
	files := []*file{&gateway}
	for _, c := range r.Clients {
		files = append(files, &file{gateway: c.Name, peer: r.Gateway.Name, text: r.ClientFile(c)})
	}
	if err := a.out.write(cmd, files...); err != nil || a.out.stdout {
		return err
	}
	var clients []file
	for _, f := range files[1:] {
		clients = append(clients, *f)
	}
	var advice adviser
	advice.clients(r, gateway, clients, a.out)
	return advice.writeTo(cmd.OutOrStdout())
}

// read makes remote access of the flags, or tells all that is wrong with them at once.
func (a *access) read() (r draft.RemoteAccess, err error) {
	var missing []string
	for _, needed := range []struct {
		flag  string
		given bool
	}{
		{"--as NAME", a.as != ""}, {"--public ADDRESS", a.public != ""}, {"--here NETWORKS", len(a.here) > 0},
		{"--pool NETWORK", a.pool != ""}, {"--client NAMES", len(a.clients) > 0},
	} {
		if !needed.given {
			missing = append(missing, needed.flag)
		}
	}
	if missing != nil {
		return r, usage("missing: %s; such as\n  culvert new remote-access --as office --public vpn.example.org --here 10.103.0.0/24 --pool 10.11.0.0/24 --client laptop",
			strings.Join(missing, ", "))
	}
	r.Gateway = draft.Gateway{Name: a.as, Address: a.public}
	var wrong []error
	var problem error
	r.Gateway.Networks, problem = networks("--here", a.here)
	wrong = append(wrong, problem, callable("--public", a.public))
	pool, problem := networks("--pool", []string{a.pool})
	wrong = append(wrong, problem)
	for _, text := range a.dns {
		addr, problem := netip.ParseAddr(text)
		if problem != nil {
			wrong = append(wrong, fmt.Errorf("--dns %s: it is not an address", text))
		}
		r.DNS = append(r.DNS, addr)
	}
	for _, name := range a.clients {
		r.Clients = append(r.Clients, draft.Client{Name: strings.TrimSpace(name), Secret: newSecret()})
	}
	if err = errors.Join(wrong...); err == nil {
		r.Pool = pool[0]
		err = r.Check()
	}
	if err != nil {
		return r, &failure{exitUsage, err}
	}
	return r, nil
}
