package doctor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// defaultMetadata is where AWS, Google Cloud and Azure have their metadata services, each only for its own machines.
	defaultMetadata = "http://169.254.169.254"
	// metadataPatience is for all questions together: elsewhere nobody answers at this address.
	metadataPatience = time.Second
	// maxMetadata is the length of the longest answer that is read, in bytes.
	maxMetadata = 64 << 10
	// maxInterfaces is how many network interfaces and how many public addresses of one are asked for.
	maxInterfaces = 16
)

// CloudFacts is what a cloud's metadata service says of the host's addresses.
type CloudFacts struct {
	Provider Provider `json:"provider"`
	// Addresses are those of IPv4, at most 256.
	Addresses []Mapping `json:"addresses"`
}

// Provider is a cloud.
type Provider string

// The clouds that are known.
const (
	AWS    Provider = "aws"
	Google Provider = "google"
	Azure  Provider = "azure"
)

// String is its name for people.
func (p Provider) String() string {
	return map[Provider]string{AWS: "AWS", Google: "Google Cloud", Azure: "Azure"}[p]
}

// Mapping is an address of a network interface, and the public one that the cloud translates it to; an invalid Public is none.
type Mapping struct {
	Private netip.Addr `json:"private"`
	Public  netip.Addr `json:"public,omitzero"`
}

// metadata asks a metadata service.
type metadata struct {
	base   string
	client *http.Client
}

// askClouds asks for all three clouds at a time; nil: none has answered.
func askClouds(ctx context.Context, base string, dial func(context.Context, string, string) (net.Conn, error)) *CloudFacts {
	ctx, cancel := context.WithTimeout(ctx, metadataPatience)
	defer cancel()
	// No proxy: it would answer for its own machine. No redirect: what is asked goes nowhere else.
	transport := &http.Transport{DialContext: dial, ResponseHeaderTimeout: metadataPatience, MaxResponseHeaderBytes: maxMetadata, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	m := &metadata{base: strings.TrimSuffix(base, "/"), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	asked := []struct {
		Provider
		ask   func(context.Context) ([]Mapping, error)
		found []Mapping
		err   error
	}{{Provider: AWS, ask: m.aws}, {Provider: Google, ask: m.google}, {Provider: Azure, ask: m.azure}}
	var all sync.WaitGroup
	for i := range asked {
		all.Go(func() {
			asked[i].found, asked[i].err = asked[i].ask(ctx)
			if asked[i].err == nil {
				cancel() // a machine is in one cloud
			}
		})
	}
	all.Wait()
	for _, a := range asked {
		if a.err == nil {
			return &CloudFacts{a.Provider, a.found}
		}
	}
	return nil
}

// get asks for a path; the error of any other status than 200 says which.
func (m *metadata) get(ctx context.Context, method, path string, header map[string]string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, nil)
	if err != nil {
		return nil, nil, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := m.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the metadata service answers %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxMetadata))
	return body, answer.Header, err
}

// aws asks the second version of AWS's service, which wants a token of the session first. Instances may be without the first.
func (m *metadata) aws(ctx context.Context) ([]Mapping, error) {
	token, _, err := m.get(ctx, http.MethodPut, "/latest/api/token", map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
	if err != nil {
		return nil, err
	}
	session, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	ask := func(path string) ([]byte, error) {
		body, _, err := m.get(ctx, http.MethodGet, "/latest/meta-data/network/interfaces/macs/"+path, map[string]string{"X-aws-ec2-metadata-token": session})
		return body, err
	}
	body, err := ask("")
	if err != nil {
		return nil, err
	}
	var found []Mapping
	for _, mac := range parseMACs(body) {
		own, err := ask(mac + "/local-ipv4s")
		if err != nil {
			continue // an interface that is going
		}
		private := parseAddresses(own)
		public := map[netip.Addr]netip.Addr{}
		if body, err = ask(mac + "/ipv4-associations/"); err == nil { // 404: none is public
			for _, outside := range parseAddresses(body) {
				inside, err := ask(mac + "/ipv4-associations/" + url.PathEscape(outside.String()))
				if err != nil {
					continue
				}
				for _, a := range parseAddresses(inside) {
					public[a] = outside
				}
			}
		}
		for _, a := range private {
			found = append(found, Mapping{a, public[a]})
		}
	}
	return found, nil
}

// google asks Google's service, which says in a header that it is one.
func (m *metadata) google(ctx context.Context) ([]Mapping, error) {
	body, header, err := m.get(ctx, http.MethodGet, "/computeMetadata/v1/instance/network-interfaces/?recursive=true", map[string]string{"Metadata-Flavor": "Google"})
	if err != nil {
		return nil, err
	}
	if header.Get("Metadata-Flavor") != "Google" {
		return nil, fmt.Errorf("it is not Google's metadata service")
	}
	return parseGoogle(body)
}

// azure asks Azure's service. Of a public address of the Standard SKU, and of one of a load balancer, the description of the instance
// says nothing, and that of the load balancer does.
func (m *metadata) azure(ctx context.Context) ([]Mapping, error) {
	header := map[string]string{"Metadata": "true"}
	body, _, err := m.get(ctx, http.MethodGet, "/metadata/instance/network?api-version=2021-02-01", header)
	if err != nil {
		return nil, err
	}
	found, err := parseAzure(body)
	if err != nil {
		return nil, err
	}
	if body, _, err := m.get(ctx, http.MethodGet, "/metadata/loadbalancer?api-version=2020-10-01", header); err == nil {
		found = balance(found, parseAzureBalancer(body))
	}
	return found, nil
}
