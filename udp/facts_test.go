package udp

import (
	"strings"
	"testing"
)

func TestShortage(t *testing.T) {
	enough, little := Buffer{Asked: 4000, Granted: 4000}, Buffer{Asked: 4000, Granted: 200}
	for _, c := range []struct {
		f    Facts
		want []string
	}{
		{Facts{}, nil},
		{Facts{Recv: Buffer{Asked: 4000}, Send: enough}, nil}, // one of them is not known
		{Facts{Recv: little, Send: enough}, []string{"receive buffer has 200 bytes instead of 4000", "sysctl -w net.core.rmem_max=4000"}},
		{Facts{Recv: enough, Send: little}, []string{"send buffer has 200 bytes", "net.core.wmem_max=4000"}},
		{Facts{Recv: little, Send: little}, []string{"rmem_max", "wmem_max"}},
	} {
		got := c.f.Shortage()
		if (got == "") != (c.want == nil) {
			t.Errorf("%+v: %q", c.f, got)
		}
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%+v: %q does not say %q", c.f, got, w)
			}
		}
	}
}
