package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/vici"
)

// loadCommands load configuration piece by piece, as swanctl does. Errors have charon's words where it has some, for those who look
// for these; what else there is to say stands behind them.
func loadCommands() map[string]handler {
	return map[string]handler{
		"load-conn": loadConn, "unload-conn": unloadConn, "get-conns": listing("conns", func(l Loaded) []string { return l.Connections }),
		"load-shared": loadShared, "unload-shared": unloadShared, "get-shared": listing("keys", func(l Loaded) []string { return l.Secrets }),
		"clear-creds": func(c *call) (*vici.Message, error) { return nil, c.gateway.ClearSecrets(c.ctx) },
		"load-pool":   loadPool, "unload-pool": unloadPool,
		"reload-settings": reloadSettings,

		// There are no certificates here. What would make swanctl give up is accepted, and has no effect; what is one file of many is
		// refused.
		"load-cert": noCertificates, "load-key": noCertificates, "load-token": noCertificates,
		"unload-key":     func(*call) (*vici.Message, error) { return nil, errors.New("key not found") },
		"get-keys":       listing("keys", func(Loaded) []string { return nil }),
		"flush-certs":    func(*call) (*vici.Message, error) { return nil, nil },
		"load-authority": loadAuthority, "unload-authority": unloadAuthority,
		"get-authorities": listing("authorities", func(l Loaded) []string { return l.Authorities }),
	}
}

// listing answers with the names of what was loaded: of what a client may unload.
func listing(name string, of func(Loaded) []string) handler {
	return func(c *call) (*vici.Message, error) {
		loaded, err := c.gateway.Loaded(c.ctx)
		if err != nil {
			return nil, err
		}
		return new(vici.Message).SetList(name, of(loaded)...), nil
	}
}

func loadConn(c *call) (*vici.Message, error) {
	return nil, eachSection(c.args, func(s config.Section) error {
		return charonsWords(c.gateway.LoadConnection(c.ctx, s), "unknown option: %s, config discarded", "invalid value for: %s, config discarded", "invalid section: %s")
	})
}

func unloadConn(c *call) (*vici.Message, error) {
	name, ok := c.args.Bytes("name")
	if !ok {
		return nil, errors.New("unload: missing connection name")
	}
	return nil, c.gateway.UnloadConnection(c.ctx, string(name))
}

func loadPool(c *call) (*vici.Message, error) {
	return nil, eachSection(c.args, func(s config.Section) error {
		i := slices.IndexFunc(s.Settings, func(t config.Setting) bool { return t.Name == "addrs" })
		if i < 0 {
			return fmt.Errorf("missing addrs for pool '%s'", s.Name)
		}
		err := c.gateway.LoadPool(c.ctx, s)
		var list config.Errors
		if errors.As(err, &list) && list[0].Key == "addrs" {
			return fmt.Errorf("invalid addrs value: %w", err)
		}
		return charonsWords(err, "invalid attribute: %s", "invalid attribute value for %s", "invalid section: %s")
	})
}

func unloadPool(c *call) (*vici.Message, error) {
	name, ok := c.args.Bytes("name")
	if !ok {
		return nil, errors.New("missing pool name to unload")
	}
	return nil, c.gateway.UnloadPool(c.ctx, string(name))
}

// loadShared loads a secret. Kinds that nothing here uses are accepted and not kept, as the file has them.
func loadShared(c *call) (*vici.Message, error) {
	kind, ok := c.args.Bytes("type")
	if !ok {
		return nil, errors.New("shared key type missing")
	}
	data, _ := c.args.Bytes("data")
	owners, _ := c.args.Items("owners")
	name := c.args.Text("id")
	switch strings.ToLower(string(kind)) {
	case "ike":
	case "eap", "xauth", "ntlm", "ppk":
		if len(data) == 0 {
			return nil, errors.New("shared key data missing")
		}
		return nil, c.gateway.noteSecret(c.ctx, name, strings.ToLower(string(kind)))
	default:
		return nil, fmt.Errorf("invalid shared key type: %q", shortened(string(kind)))
	}
	if len(data) == 0 {
		return nil, errors.New("shared key data missing")
	}
	err := c.gateway.LoadSecret(c.ctx, name, bytes.Clone(data), owners)
	var list config.Errors
	if errors.As(err, &list) && list[0].Key == "id" {
		return nil, fmt.Errorf("parsing shared key owners failed: %w", err)
	}
	return nil, err
}

func unloadShared(c *call) (*vici.Message, error) {
	name, ok := c.args.Bytes("id")
	if !ok {
		return nil, errors.New("unique identifier missing")
	}
	return nil, c.gateway.UnloadSecret(c.ctx, string(name))
}

// reloadSettings loads the file again: what strongSwan keeps in strongswan.conf is there.
func reloadSettings(c *call) (*vici.Message, error) {
	if c.gateway.options.reload == nil {
		return nil, nil
	}
	done, err := c.wait()
	if err != nil {
		return nil, err
	}
	defer done()
	_, err = c.gateway.options.reload(c.ctx)
	return nil, err
}

func noCertificates(*call) (*vici.Message, error) {
	return nil, errors.New("no certificates or private keys are used: Culvert authenticates by pre-shared key")
}

func loadAuthority(c *call) (*vici.Message, error) {
	return nil, eachSection(c.args, func(s config.Section) error { return c.gateway.noteAuthority(c.ctx, s.Name) })
}

func unloadAuthority(c *call) (*vici.Message, error) {
	name, ok := c.args.Bytes("name")
	if !ok {
		return nil, errors.New("unload: missing authority name")
	}
	return nil, c.gateway.forgetAuthority(c.ctx, string(name))
}

// eachSection hands over each section of a message, until one is refused.
func eachSection(m *vici.Message, f func(config.Section) error) error {
	for _, e := range m.Elements {
		if e.Kind != vici.KindSection {
			continue
		}
		if err := f(sectionOf(e.Name, e.Section)); err != nil {
			return err
		}
	}
	return nil
}

// sectionOf is a section as the configuration has it.
func sectionOf(name string, m *vici.Message) config.Section {
	s := config.Section{Name: name}
	for _, e := range m.Elements {
		switch e.Kind {
		case vici.KindSection:
			s.Sections = append(s.Sections, sectionOf(e.Name, e.Section))
		case vici.KindList:
			s.Settings = append(s.Settings, config.Setting{Name: e.Name, Value: strings.Join(e.Texts(), ",")})
		default:
			s.Settings = append(s.Settings, config.Setting{Name: e.Name, Value: string(e.Value)})
		}
	}
	return s
}

// maxRefusals is how many of the errors of a section are told.
const maxRefusals = 8

// charonsWords puts what charon would say before the errors of a section: about a key that is not known, a value and a section.
func charonsWords(err error, key, value, section string) error {
	var list config.Errors
	if !errors.As(err, &list) {
		return err
	}
	var words strings.Builder
	if formats := map[config.Fault]string{config.UnknownKey: key, config.BadValue: value, config.BadSection: section}; formats[list[0].Fault] != "" {
		fmt.Fprintf(&words, formats[list[0].Fault]+": ", list[0].Key)
	}
	for i, e := range list[:min(len(list), maxRefusals)] {
		if i > 0 {
			words.WriteString("; ")
		}
		words.WriteString(e.Error())
	}
	if more := len(list) - maxRefusals; more > 0 {
		fmt.Fprintf(&words, "; and %d more", more)
	}
	return errors.New(words.String())
}
