package config

import (
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/offload"
)

func TestNoOffload(t *testing.T) {
	for text, want := range map[string]offload.Set{
		"": 0,
		"culvert {\n no_offload = uso, GRO \n}\n":     0,
		"culvert {\n no_offload = \n}\n":              0,
		"culvert {\n no_offload = uso, udp-gro \n}\n": offload.USO | offload.GRO,
		"culvert {\n no_offload = all \n}\n":          offload.All,
	} {
		c, _, err := Parse("test.conf", []byte(text+natCase), Options{})
		if strings.Contains(text, "GRO") {
			if err == nil || !strings.Contains(err.Error(), `there is no offload "GRO"`) || !strings.Contains(err.Error(), "udp-gro") {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err != nil || c.NoOffload != want {
			t.Errorf("%q: %v, %v", text, c, err)
			continue
		}
		var b strings.Builder
		if err := c.Describe(&b); err != nil || strings.Contains(b.String(), "no offload") != (want != 0) {
			t.Errorf("%q is described as %s, %v", text, &b, err)
		}
	}
}

func TestCulvertUnknownKey(t *testing.T) {
	_, _, err := Parse("test.conf", []byte("culvert {\n no_ofload = uso\n}\n"+natCase), Options{})
	if err == nil || !strings.Contains(err.Error(), "did you mean \"no_offload\"?") {
		t.Error(err)
	}
}
