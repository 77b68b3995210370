package resolved

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// manager1 notes what it is told, in the place of systemd-resolved.
type manager1 struct {
	mu      sync.Mutex
	calls   []string
	refuses string
}

func (m *manager1) note(name, args string) *dbus.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, name+args)
	if name == m.refuses {
		return dbus.NewError("org.freedesktop.resolve1.LinkBusy", []any{"busy"})
	}
	return nil
}

func (m *manager1) SetLinkDNS(device int32, servers []address) *dbus.Error {
	var text []string
	for _, s := range servers {
		a, _ := netip.AddrFromSlice(s.Bytes)
		text = append(text, fmt.Sprintf("%d:%v", s.Family, a))
	}
	return m.note("SetLinkDNS", fmt.Sprint(device, text))
}

func (m *manager1) SetLinkDomains(device int32, domains []domain) *dbus.Error {
	return m.note("SetLinkDomains", fmt.Sprint(device, domains))
}

func (m *manager1) RevertLink(device int32) *dbus.Error {
	return m.note("RevertLink", fmt.Sprint(device))
}
func (m *manager1) FlushCaches() *dbus.Error { return m.note("FlushCaches", "") }

// modern is a service that has the newer method too.
type modern struct{ *manager1 }

func (m modern) SetLinkDefaultRoute(device int32, on bool) *dbus.Error {
	return m.note("SetLinkDefaultRoute", fmt.Sprint(device, on))
}

// privateBus starts a bus of its own and returns its address.
func privateBus(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir := t.TempDir()
	conf := dir + "/bus.conf"
	text := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=` + dir + `/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(path, "--config-file="+conf, "--nofork", "--nopidfile")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	for range 500 {
		if _, err := os.Stat(dir + "/bus"); err == nil {
			return "unix:path=" + dir + "/bus"
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the bus does not come up")
	return ""
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func serve(t *testing.T, address string, m any) {
	t.Helper()
	c := connect(t, address)
	if err := c.Export(m, object, strings.TrimSuffix(manager, ".")); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.RequestName(service, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

func TestSet(t *testing.T) {
	servers := []netip.Addr{netip.MustParseAddr("10.1.0.53"), netip.MustParseAddr("2001:db8::53")}
	for _, c := range []struct {
		name    string
		old     bool
		domains []string
		want    []string
	}{
		{"some domains", false, []string{"corp.example", "x.test"}, []string{"SetLinkDomains7 [{corp.example true} {x.test true}]",
			"SetLinkDefaultRoute7 false", "SetLinkDNS7 [2:10.1.0.53 10:2001:db8::53]", "FlushCaches"}},
		{"all names and an old service", true, nil, []string{"SetLinkDomains7 [{. true}]", "SetLinkDNS7 [2:10.1.0.53 10:2001:db8::53]", "FlushCaches"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := privateBus(t)
			m := &manager1{}
			if c.old {
				serve(t, address, m)
			} else {
				serve(t, address, modern{m})
			}
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
			if err := Set(t.Context(), 7, servers, c.domains); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.calls, c.want) {
				t.Errorf("calls %q, want %q", m.calls, c.want)
			}
			m.calls = nil
			if err := Revert(t.Context(), 7); err != nil || !slices.Equal(m.calls, []string{"RevertLink7", "FlushCaches"}) {
				t.Errorf("%v, %q", err, m.calls)
			}
			m.refuses = "SetLinkDNS"
			if err := Set(t.Context(), 7, servers, nil); err == nil || !strings.Contains(err.Error(), "refuses SetLinkDNS") {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func TestAbsent(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/nothing")
	if err := Set(context.Background(), 7, nil, nil); !errors.Is(err, ErrAbsent) {
		t.Errorf("without a bus: %v", err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", privateBus(t))
	if err := Set(context.Background(), 7, nil, nil); !errors.Is(err, ErrAbsent) {
		t.Errorf("without the service: %v", err)
	}
	if err := Revert(context.Background(), 7); !errors.Is(err, ErrAbsent) {
		t.Errorf("revert without the service: %v", err)
	}
}
