package compare

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/culvert-vpn/culvert/gateway"
)

// tunnel is what differs between the kinds of subjects.
type tunnel interface {
	// start starts the daemons and has the tunnel made.
	start(ctx context.Context) error
	// renew closes the tunnel and has it made anew.
	renew(ctx context.Context) error
}

func newTunnel(s subject, tree string, a, b *site) tunnel {
	switch s.kind {
	case culvert:
		return &culvertTunnel{subject: s, a: a, b: b}
	case wireguard:
		return &wireguardTunnel{program: s.program, a: a, b: b}
	case openvpn:
		return &openvpnTunnel{program: s.program, a: a, b: b}
	case strongswan:
		return &strongswanTunnel{tree: tree, plugins: s.plugins, a: a, b: b}
	}
	return linkTunnel{a: a, b: b}
}

// linkTunnel is none: the addresses are those of the link.
type linkTunnel struct{ a, b *site }

func (t linkTunnel) start(context.Context) error {
	t.a.inner, t.b.inner = t.a.outer, t.b.outer
	return nil
}

func (t linkTunnel) renew(context.Context) error { return nil }

// culvertTunnel is a build of Culvert.
type culvertTunnel struct {
	subject
	a, b *site
}

const culvertConf = `connections {
	peer {
		remote_addrs = %[1]s
		proposals = aes128gcm16-prfsha256-x25519
		local {
			auth = psk
			id = @%[2]s
		}
		remote {
			auth = psk
			id = @%[3]s
		}
		children {
			net {
				local_ts = %[4]s
				remote_ts = %[5]s
				esp_proposals = %[6]s
			}
		}
	}
}
secrets {
	ike-peer {
		id-1 = @%[3]s
		secret = "only for measurements"
	}
}
`

// conf is the configuration of a site, which Culvert and strongSwan both read.
func (s *site) conf(esp string) []byte {
	return fmt.Appendf(nil, culvertConf, s.peer.outer, s.name, s.peer.name, s.net, s.peer.net, esp)
}

func (t *culvertTunnel) start(ctx context.Context) error {
	for _, s := range []*site{t.a, t.b} {
		if err := os.WriteFile(filepath.Join(s.dir, "culvert.conf"), s.conf(t.suite), 0o600); err != nil {
			return err
		}
		if err := s.address("lo"); err != nil {
			return err
		}
		err := s.start("", nil, t.program, "run", "--config", "/run/culvert.conf", "--control", "/run/control", "--state", "/run/state")
		if err != nil {
			return err
		}
	}
	for _, s := range []*site{t.a, t.b} {
		err := s.await(ctx, func() error { _, err := t.client(s).Status(ctx); return err })
		if err != nil {
			return err
		}
		if err := t.checkCipher(s); err != nil {
			return err
		}
	}
	return t.order(ctx, "up")
}

// checkCipher makes sure that a build protects traffic if it is said to, and not otherwise.
func (t *culvertTunnel) checkCipher(s *site) error {
	log, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	if clear := bytes.Contains(log, []byte(gateway.NoCipher)); clear != t.clear {
		return fmt.Errorf("%s sends its traffic in clear: %v; that should be %v", t.program, clear, t.clear)
	}
	return nil
}

func (t *culvertTunnel) client(s *site) gateway.Client {
	return gateway.Client{Socket: filepath.Join(s.dir, "control")}
}

func (t *culvertTunnel) order(ctx context.Context, cmd string) error {
	request := gateway.Request{Cmd: cmd, Conn: "peer", Timeout: patience.Seconds()}
	if err := t.client(t.a).Do(ctx, request, nil); err != nil {
		return t.a.explain(err)
	}
	return nil
}

func (t *culvertTunnel) renew(ctx context.Context) error {
	return errors.Join(t.order(ctx, "down"), t.order(ctx, "up"))
}

// wireguardTunnel is wireguard-go, configured by its own protocol over its socket.
type wireguardTunnel struct {
	program string
	a, b    *site
	keys    map[*site]*ecdh.PrivateKey
}

const (
	wireguardDevice = "wg0"
	wireguardPort   = 51820
)

func (t *wireguardTunnel) start(ctx context.Context) error {
	t.keys = map[*site]*ecdh.PrivateKey{}
	for _, s := range []*site{t.a, t.b} {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		t.keys[s] = key
		if err := s.start("", []string{"LOG_LEVEL=error"}, t.program, "--foreground", wireguardDevice); err != nil {
			return err
		}
	}
	for _, s := range []*site{t.a, t.b} {
		own := fmt.Sprintf("private_key=%x\nlisten_port=%d\n", t.keys[s].Bytes(), wireguardPort)
		err := s.await(ctx, func() error { return t.set(s, own+t.peer(s)) })
		if err := errors.Join(err, s.address(wireguardDevice), s.route(wireguardDevice)); err != nil {
			return err
		}
	}
	return nil
}

// peer tells a site of the other one.
func (t *wireguardTunnel) peer(s *site) string {
	return fmt.Sprintf("public_key=%s\nendpoint=%v:%d\nallowed_ip=%v\n", t.public(s.peer), s.peer.outer, wireguardPort, s.peer.net)
}

func (t *wireguardTunnel) public(s *site) string {
	return hex.EncodeToString(t.keys[s].PublicKey().Bytes())
}

// set changes the configuration of a daemon.
func (t *wireguardTunnel) set(s *site, lines string) error {
	conn, err := net.Dial("unix", filepath.Join(s.dir, "wireguard", wireguardDevice+".sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "set=1\n"+lines+"\n"); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(answer[:n])); text != "errno=0" {
		return fmt.Errorf("wireguard-go answers %q", text)
	}
	return nil
}

// renew has one side forget the other: the next packet makes a new session.
func (t *wireguardTunnel) renew(context.Context) error {
	return t.set(t.a, fmt.Sprintf("public_key=%s\nremove=true\n", t.public(t.b))+t.peer(t.a))
}

// strongswanTunnel is strongSwan's charon with ESP in user space.
type strongswanTunnel struct {
	tree    string
	plugins string
	a, b    *site
}

const (
	charonConf = `charon {
	load_modular = no
	load = random nonce %[1]s curve25519 gcm aes sha1 sha2 hmac kdf kernel-libipsec kernel-netlink socket-default vici
	plugins {
		vici { socket = unix:///run/charon.vici }
	}
}
swanctl {
	load = random %[1]s
}
`
	vici      = "unix:///run/charon.vici"
	swanEnv   = "STRONGSWAN_CONF=/run/strongswan.conf"
	childName = "net"
)

func (t *strongswanTunnel) start(ctx context.Context) error {
	for _, s := range []*site{t.a, t.b} {
		err := errors.Join(
			os.WriteFile(filepath.Join(s.dir, "strongswan.conf"), fmt.Appendf(nil, charonConf, t.plugins), 0o600),
			os.WriteFile(filepath.Join(s.dir, "swanctl.conf"), s.conf(aes128), 0o600),
			s.address("lo"))
		if err != nil {
			return err
		}
		if err := s.start(t.tree, []string{swanEnv}, charon); err != nil {
			return err
		}
	}
	for _, s := range []*site{t.a, t.b} {
		err := s.await(ctx, func() error { return t.swanctl(s, "--load-all", "--noprompt", "--file", "/run/swanctl.conf") })
		if err != nil {
			return err
		}
	}
	return t.initiate()
}

// swanctl gives an order to a charon.
func (t *strongswanTunnel) swanctl(s *site, args ...string) error {
	var out bytes.Buffer
	cmd := exec.Command(swanctl, append(args, "--uri", vici)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{swanEnv}, &out, &out
	process, err := s.run(t.tree, cmd)
	if err != nil {
		return err
	}
	if err := process.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

func (t *strongswanTunnel) initiate() error {
	return t.swanctl(t.a, "--initiate", "--child", childName, "--timeout", "20")
}

func (t *strongswanTunnel) renew(context.Context) error {
	return errors.Join(t.swanctl(t.a, "--terminate", "--ike", "peer", "--timeout", "20"), t.initiate())
}
