package resolved_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/resolved"
	"github.com/culvert-vpn/culvert/resolved/resolvedtest"
)

// systemBus starts a bus that is the system's for this test.
func systemBus(t *testing.T, o resolvedtest.Options) *resolvedtest.Bus {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	b, err := resolvedtest.Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	return b
}

var servers = []netip.Addr{netip.MustParseAddr("10.1.0.53"), netip.MustParseAddr("2001:db8::53")}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name    string
		old     bool
		domains []string
		calls   []string
		link    resolvedtest.Link
	}{
		{"some domains", false, []string{"corp.example", "x.test"},
			[]string{"SetLinkDomains 7 [~corp.example ~x.test]", "SetLinkDefaultRoute 7 false", "SetLinkDNS 7 [10.1.0.53 2001:db8::53]", "FlushCaches"},
			resolvedtest.Link{Servers: servers, Domains: []string{"~corp.example", "~x.test"}}},
		{"all names", false, nil,
			[]string{"SetLinkDomains 7 [~.]", "SetLinkDefaultRoute 7 true", "SetLinkDNS 7 [10.1.0.53 2001:db8::53]", "FlushCaches"},
			resolvedtest.Link{Servers: servers, Domains: []string{"~."}, Default: true}},
		{"all names and an old service", true, nil,
			[]string{"SetLinkDomains 7 [~.]", "SetLinkDNS 7 [10.1.0.53 2001:db8::53]", "FlushCaches"},
			resolvedtest.Link{Servers: servers, Domains: []string{"~."}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := systemBus(t, resolvedtest.Options{Old: c.old})
			if err := resolved.Set(t.Context(), 7, servers, c.domains); err != nil {
				t.Fatal(err)
			}
			if calls := b.Calls(); !slices.Equal(calls, c.calls) {
				t.Errorf("calls %q, want %q", calls, c.calls)
			}
			if links := b.Links(); !reflect.DeepEqual(links, map[int]resolvedtest.Link{7: c.link}) {
				t.Errorf("links %+v, want %+v", links, c.link)
			}
			if err := resolved.Revert(t.Context(), 7); err != nil || len(b.Links()) != 0 {
				t.Errorf("%v, links %+v", err, b.Links())
			}
			if calls := b.Calls()[len(c.calls):]; !slices.Equal(calls, []string{"RevertLink 7", "FlushCaches"}) {
				t.Errorf("calls of Revert: %q", calls)
			}
		})
	}
}

// A method that fails is named, and what comes after it is not done.
func TestRefused(t *testing.T) {
	for _, method := range []string{"SetLinkDomains", "SetLinkDefaultRoute", "SetLinkDNS", "FlushCaches"} {
		b := systemBus(t, resolvedtest.Options{Refuses: method})
		if err := resolved.Set(t.Context(), 7, servers, nil); err == nil || !strings.Contains(err.Error(), "refuses "+method) {
			t.Errorf("%s: %v", method, err)
		}
		if l := b.Links()[7]; (l.Servers != nil) != (method == "FlushCaches") {
			t.Errorf("%s is refused, and the servers are %v", method, l.Servers)
		}
	}
}

func TestAbsent(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/nothing")
	if err := resolved.Set(context.Background(), 7, nil, nil); !errors.Is(err, resolved.ErrAbsent) {
		t.Errorf("without a bus: %v", err)
	}
	systemBus(t, resolvedtest.Options{Absent: true})
	if err := resolved.Set(context.Background(), 7, nil, nil); !errors.Is(err, resolved.ErrAbsent) {
		t.Errorf("without the service: %v", err)
	}
	if err := resolved.Revert(context.Background(), 7); !errors.Is(err, resolved.ErrAbsent) {
		t.Errorf("revert without the service: %v", err)
	}
}
