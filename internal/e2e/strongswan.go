//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// StrongSwan is strongSwan's charon with kernel-libipsec: IKE and ESP in user space. Peculiarities:
//
//   - To install a Child SA it needs an address of the gateway's own inside the local traffic selector.
//   - Its TUN device has an MTU of 1400; it encapsulates in UDP always, and knows neither ESN nor trap policies.
//   - When an address changes, by MOBIKE say, it cannot move a Child SA, and rekeys it.
//   - With the tunnel down, traffic for the other site leaves the gateway in clear.
//   - Malformed ESP can crash it.
type StrongSwan struct {
	host    *Host
	dir     string // seen as /run by charon and swanctl
	process *Process
}

const (
	plugins = "random nonce openssl curve25519 chapoly gcm ccm aes ctr xcbc cmac sha1 sha2 hmac kdf kernel-libipsec kernel-netlink socket-default vici"

	startPatience = 20 * time.Second
	stopPatience  = 20 * time.Second // charon waits for the answer to its DELETE
)

// NewStrongSwan prepares a peer with the text of its swanctl.conf, and further lines for the section charon of its
// strongswan.conf, such as "retransmit_tries = 2".
func NewStrongSwan(h *Host, conf string, settings ...string) *StrongSwan {
	h.net.t.Helper()
	s := &StrongSwan{host: h, dir: filepath.Join(h.net.dir, h.Name)}
	Must(h.net.t,
		os.MkdirAll(s.dir, 0o755),
		s.write("strongswan.conf", fmt.Sprintf(strongswanConf, plugins, strings.Join(settings, "\n"))),
		s.write("swanctl.conf", conf))
	return s
}

func (s *StrongSwan) write(name, text string) error {
	return os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600)
}

const strongswanConf = `
charon {
	load_modular = no
	load = %s
	plugins {
		vici { socket = unix:///run/charon.vici }
	}
	filelog {
		run {
			path = /run/charon.log
			append = yes
			flush_line = yes
			time_format = %%T
			time_add_ms = yes
			default = 1
			ike = 2
			chd = 2
			cfg = 2
		}
	}
	%s
}
swanctl {
	load = random openssl
}
`

func (s *StrongSwan) command(path string, args ...string) Command {
	env := []string{"STRONGSWAN_CONF=/run/strongswan.conf", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return Command{Path: path, Args: args, Env: env, Run: s.dir}
}

// swanctl runs a swanctl command against this charon.
func (s *StrongSwan) swanctl(args ...string) (string, error) {
	out, err := s.host.Run(s.command("/usr/sbin/swanctl", append(args, "--uri", "unix:///run/charon.vici")...))
	if err != nil {
		// The reason stands somewhere in the output, not always in the last line.
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(out))
	}
	return out, nil
}

// Start starts charon and loads swanctl.conf.
func (s *StrongSwan) Start() error {
	// A charon that was killed leaves these, and would take itself for running.
	for _, name := range []string{"charon.pid", "charon.vici"} {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	process, err := s.host.Start(s.command("/usr/lib/ipsec/charon"))
	if err != nil {
		return err
	}
	s.process = process
	if err := s.ready(); err != nil {
		return err
	}
	return s.Reload()
}

// ready waits until charon answers.
func (s *StrongSwan) ready() error {
	patience := time.After(startPatience)
	socket := filepath.Join(s.dir, "charon.vici")
	for {
		if _, err := os.Stat(socket); err == nil {
			if _, err := s.swanctl("--stats"); err == nil {
				return nil
			}
		}
		select {
		case <-s.process.Done():
			return fmt.Errorf("%s: charon ended at start: %v: %s", s.host.Name, s.process.Wait(), complaint(s.Log()))
		case <-patience:
			return fmt.Errorf("%s: charon does not answer after %v: %s", s.host.Name, startPatience, complaint(s.Log()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Reload loads swanctl.conf again.
func (s *StrongSwan) Reload() error {
	_, err := s.swanctl("--load-all", "--noprompt", "--file", "/run/swanctl.conf")
	return err
}

// Configure replaces swanctl.conf and loads it.
func (s *StrongSwan) Configure(conf string) error {
	if err := s.write("swanctl.conf", conf); err != nil {
		return err
	}
	return s.Reload()
}

// Stop ends charon, which deletes its SAs at its peers first.
func (s *StrongSwan) Stop() error { return s.process.Stop(stopPatience) }

// Kill ends charon at once.
func (s *StrongSwan) Kill() error { return s.process.Kill() }

// Initiate sets up a child, and its connection if need be, and returns when it is installed.
func (s *StrongSwan) Initiate(child string) error {
	_, err := s.swanctl("--initiate", "--child", child, "--timeout", "30")
	return err
}

// Terminate deletes the IKE SAs of a connection.
func (s *StrongSwan) Terminate(connection string) error {
	_, err := s.swanctl("--terminate", "--ike", connection, "--timeout", "30")
	return err
}

// RekeyIKE starts to rekey the IKE SAs of a connection, and does not wait for it.
func (s *StrongSwan) RekeyIKE(connection string) error {
	_, err := s.swanctl("--rekey", "--ike", connection)
	return err
}

// RekeyChild starts to rekey the Child SAs of a name, and does not wait for it.
func (s *StrongSwan) RekeyChild(child string) error {
	_, err := s.swanctl("--rekey", "--child", child)
	return err
}

// SAs lists the IKE SAs in every state.
func (s *StrongSwan) SAs() ([]SA, error) {
	text, err := s.swanctl("--list-sas", "--pretty")
	if err != nil {
		return nil, err
	}
	return parseSAs(text)
}

// Log is charon's log of all its runs.
func (s *StrongSwan) Log() string { return readLog(filepath.Join(s.dir, "charon.log")) }

// readLog returns a log as text, or the reason why there is none.
func readLog(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}
