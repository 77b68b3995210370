package config

import "github.com/culvert-vpn/culvert/offload"

// culvertKeys are the keys of the section culvert: what strongSwan knows nothing of, about the daemon as a whole. swanctl passes over
// the section.
var culvertKeys = []key[Config]{
	{name: "no_offload", set: func(c *Config, v string) error {
		off, err := offload.Parse(v)
		if err != nil {
			return wrong("names with commas between them, such as uso,udp-gro", "%v", err)
		}
		c.NoOffload = off
		return nil
	}},
}

// addCulvert reads the section culvert; nil is none.
func (b *builder) addCulvert(s *section) {
	if s == nil {
		return
	}
	apply(b.report, place{what: "section culvert"}, s, culvertKeys, nil, b.config)
}
