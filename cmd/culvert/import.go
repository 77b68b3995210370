package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/convert"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Convert the configuration of another gateway",
		Args:  arguments(0, 0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImportVyOS(), newImportIPsecConf())
	return cmd
}

// importTail ends the help of both imports.
const importTail = `

The result goes to the standard output, or to a file that only its owner can read; it is checked first, and holds the secrets.
Everything in the source that is not in the result is listed on the standard error, with its line and the reason.`

func newImportVyOS() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "vyos FILE",
		Short: "Convert the vpn ipsec of a VyOS configuration",
		Long: `Vyos converts the IPsec part of a VyOS configuration of any version: a config.boot, with braces, or what
"show configuration commands" prints. FILE is "-" for the standard input.` + importTail,
		Example: `  culvert import vyos config.boot -o /etc/culvert/conf.d/vyos.conf
  ssh vyos@gw 'cat /config/config.boot' | culvert import vyos - -o new.conf`,
		Args: arguments(1, 1, "a FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := readSource(cmd, args[0])
			if err != nil {
				return err
			}
			result, err := convert.VyOS(source)
			return out.write(cmd, args[0], result, err)
		},
	}
	out.flags(cmd)
	return cmd
}

func newImportIPsecConf() *cobra.Command {
	var out output
	var secrets, here string
	cmd := &cobra.Command{
		Use:   "ipsec.conf FILE",
		Short: "Convert an ipsec.conf and ipsec.secrets of strongSwan or libreswan",
		Long: `Ipsec.conf converts what strongSwan (before swanctl) and libreswan read, with the files that it includes. Which of left and right
is this side follows from the addresses of this host, or of --here; otherwise it is left, unless right is %defaultroute.` + importTail,
		Example: `  culvert import ipsec.conf /etc/ipsec.conf --secrets /etc/ipsec.secrets -o /etc/culvert/conf.d/ipsec.conf
  culvert import ipsec.conf gw.conf --secrets gw.secrets --here 192.0.2.10 -o new.conf`,
		Args: arguments(1, 1, "a FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from := convert.IPsecConfSource{Include: includeFiles}
			var err error
			if from.Local, err = ownAddresses(here); err != nil {
				return err
			}
			from.Conf.Name, from.Secrets.Name = args[0], secrets
			if from.Conf.Text, err = readSource(cmd, args[0]); err != nil {
				return err
			}
			if secrets != "" {
				if from.Secrets.Text, err = readSource(cmd, secrets); err != nil {
					return err
				}
			}
			result, err := convert.IPsecConf(from)
			if secrets == "" && err == nil && result.Connections > 0 {
				return usage("the connections need their secrets: --secrets /etc/ipsec.secrets")
			}
			return out.write(cmd, args[0], result, err)
		},
	}
	cmd.Flags().StringVar(&secrets, "secrets", "", "the ipsec.secrets")
	cmd.Flags().StringVar(&here, "here", "", "address of the gateway that the files are of (default the addresses of this host)")
	out.flags(cmd)
	return cmd
}

// ownAddresses are the addresses of the gateway whose files are converted.
func ownAddresses(here string) (list []netip.Addr, err error) {
	if here != "" {
		addr, err := netip.ParseAddr(here)
		if err != nil {
			return nil, usage("--here %s: it is not an address", here)
		}
		return []netip.Addr{addr}, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				list = append(list, addr.Unmap())
			}
		}
	}
	return list, nil
}

// includeFiles reads what an include statement in the file from names.
func includeFiles(from, pattern string) (sources []convert.Source, err error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(from), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err == nil && len(paths) == 0 && !strings.ContainsAny(pattern, "*?[") {
		err = fmt.Errorf("there is no file %q", pattern)
	}
	for _, path := range paths {
		text, rerr := os.ReadFile(path)
		if rerr != nil {
			err = cmp.Or(err, rerr)
			continue
		}
		sources = append(sources, convert.Source{Name: path, Text: text})
	}
	return sources, err
}

// maxImport bounds a source in memory; the converters have a tighter bound and say so.
const maxImport = 16 << 20

func readSource(cmd *cobra.Command, path string) ([]byte, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, maxImport))
}

// output is where a converted configuration goes.
type output struct {
	path  string
	force bool
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.path, "output", "o", "", "write to this file, readable by its owner only (default the standard output)")
	cmd.Flags().BoolVar(&o.force, "force", false, "overwrite the file if it exists")
}

// write tells what was not carried over, checks what was, and writes it.
func (o *output) write(cmd *cobra.Command, path string, r *convert.Result, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	errs := cmd.ErrOrStderr()
	for _, n := range r.NotCarried {
		if n.File == "" {
			n.File = path
		}
		fmt.Fprintln(errs, n)
	}
	if r.Connections == 0 {
		return fmt.Errorf("%s: no connection could be carried over", path)
	}
	name := o.path
	if name == "" {
		name = "result"
	}
	conf, warnings, err := config.Parse(name, []byte(r.Config), config.Options{})
	for _, w := range warnings {
		fmt.Fprintln(errs, w)
	}
	if err != nil {
		fmt.Fprintf(errs, "culvert: what %s says is not accepted here, and nothing was written:\n", path)
		return err
	}
	conf.Secrets.Wipe()
	text := bytes.Join([][]byte{fmt.Appendf(nil, "# Converted by culvert import. This file holds secrets: chmod 600.\n"), []byte(r.Config)}, nil)
	switch {
	case o.path == "" && isTerminal(cmd.OutOrStdout()):
		return errors.New("the result has secrets, which this terminal would show: write it to a file, -o FILE")
	case o.path == "":
		if _, err := cmd.OutOrStdout().Write(text); err != nil {
			return err
		}
	default:
		if err := writeAll([]*file{{path: o.path, text: string(text)}}, o.force); err != nil {
			return err
		}
	}
	fmt.Fprintf(errs, "culvert: %s carried over; %s of the source not, or not quite: see above\n",
		count(r.Connections, "connection"), count(len(r.NotCarried), "statement"))
	return nil
}
