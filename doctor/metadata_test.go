package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestParseMetadata(t *testing.T) {
	both := []Mapping{{addr("10.0.0.4"), addr("203.0.113.4")}}
	alone := []Mapping{{Private: addr("10.0.0.4")}}
	for _, c := range []struct {
		name string
		got  func() ([]Mapping, error)
		want []Mapping
		fail bool
	}{
		{"google", func() ([]Mapping, error) {
			return parseGoogle([]byte(`[{"accessConfigs":[{"externalIp":"203.0.113.4","type":"ONE_TO_ONE_NAT"}],"ip":"10.0.0.4","mtu":1460}]`))
		}, both, false},
		{"google without a public address", func() ([]Mapping, error) {
			return parseGoogle([]byte(`[{"accessConfigs":[{"externalIp":""}],"ip":"10.0.0.4"}]`))
		}, alone, false},
		{"google, another tree", func() ([]Mapping, error) { return parseGoogle([]byte(`{"ip":"10.0.0.4"}`)) }, nil, true},
		{"google, an address of IPv6", func() ([]Mapping, error) { return parseGoogle([]byte(`[{"ip":"fd00::1"}]`)) }, nil, false},
		{"azure", func() ([]Mapping, error) {
			return parseAzure([]byte(`{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4","publicIpAddress":"203.0.113.4"}]}}]}`))
		}, both, false},
		{"azure without a public address", func() ([]Mapping, error) {
			return parseAzure([]byte(`{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4","publicIpAddress":""}]}}]}`))
		}, alone, false},
		{"azure, no network", func() ([]Mapping, error) { return parseAzure([]byte(`{"error":"no"}`)) }, nil, true},
		{"azure, a load balancer", func() ([]Mapping, error) {
			return balance(alone, parseAzureBalancer([]byte(`{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"203.0.113.4","privateIpAddress":"10.0.0.4"}]}}`))), nil
		}, both, false},
		{"azure, a load balancer of others", func() ([]Mapping, error) {
			return balance([]Mapping{{Private: addr("10.0.0.5")}}, parseAzureBalancer([]byte(`{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"203.0.113.4","privateIpAddress":"10.0.0.4"}]}}`))), nil
		}, []Mapping{{Private: addr("10.0.0.5")}}, false},
	} {
		got, err := c.got()
		if (err != nil) != c.fail || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if got := parseMACs([]byte("02:29:96:8f:6a:2d/\n../../x/\n02:29:96:8f:6a:2d:01:02/\n0229.968f.6a2e")); !reflect.DeepEqual(got, []string{"02:29:96:8f:6a:2d", "02:29:96:8f:6a:2e"}) {
		t.Errorf("the interfaces are %q", got)
	}
	for text, ok := range map[string]bool{"AQAEA-token==\n": true, "": false, "a\r\nb": false, "a b": false, strings.Repeat("a", 513): false, "\x80": false} {
		if _, err := parseToken([]byte(text)); (err == nil) != ok {
			t.Errorf("the token %q: %v", text, err)
		}
	}
}

// FuzzMetadata: whatever pretends to be a metadata service, what comes out are addresses, and not many.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{"", "10.0.0.4\n10.0.0.5", "02:29:96:8f:6a:2d/", `[{"accessConfigs":[{"externalIp":"203.0.113.4"}],"ip":"10.0.0.4"}]`,
		`{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4","publicIpAddress":"203.0.113.4"}]}}]}`,
		`{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"203.0.113.4","privateIpAddress":"10.0.0.4"}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		google, _ := parseGoogle(b)
		azure, _ := parseAzure(b)
		for _, list := range [][]Mapping{google, azure, parseAzureBalancer(b)} {
			if len(list) > maxInterfaces*maxInterfaces {
				t.Fatalf("%d addresses", len(list))
			}
			for _, m := range list {
				if !m.Private.Is4() || m.Public.IsValid() && !m.Public.Is4() {
					t.Fatalf("%v", m)
				}
			}
		}
		for _, m := range parseMACs(b) {
			if len(m) != len("02:29:96:8f:6a:2d") {
				t.Fatalf("an interface %q", m)
			}
		}
		if list := parseAddresses(b); len(list) > maxInterfaces {
			t.Fatalf("%d addresses", len(list))
		}
		if token, err := parseToken(b); err == nil && strings.ContainsAny(token, "\r\n\x00 ") {
			t.Fatalf("a token %q", token)
		}
	})
}

// TestAskClouds has services that are none: nobody, an error, another host that answers everything, an endless answer, a redirect.
func TestAskClouds(t *testing.T) {
	plain := (&net.Dialer{}).DialContext
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"nothing is there":   http.NotFound,
		"it answers all":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello, <b>world</b></html>") },
		"it does not end":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(`[[`, 1<<20)) },
		"it leads elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) },
	} {
		server := httptest.NewServer(handler)
		if got := askClouds(context.Background(), server.URL, plain); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
		server.Close()
		if got := askClouds(context.Background(), server.URL, plain); got != nil {
			t.Errorf("nobody is there: %+v", got)
		}
	}
	if elsewhere != 0 {
		t.Errorf("a redirect was followed %d times", elsewhere)
	}
}
