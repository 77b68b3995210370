package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/culvert-vpn/culvert/offload"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/tun/tuntest"
	"github.com/culvert-vpn/culvert/udp"
	"github.com/culvert-vpn/culvert/udp/udptest"
)

// toldConn is a socket of a kernel that grants little.
type toldConn struct {
	wireConn
	facts udp.Facts
}

func (c *toldConn) Facts() udp.Facts { return c.facts }

// What is in use, what is off by order, what the host lacks and what is not known are told apart.
func TestOffloadStatus(t *testing.T) {
	told := &toldConn{facts: udp.Facts{Offloads: offload.GRO, Recv: udp.Buffer{Asked: 4 << 20, Granted: 106496}, Send: udp.Buffer{Asked: 4 << 20, Granted: 4 << 20}}}
	device := tuntest.New("tun-test", 1400, 2)
	for _, c := range []struct {
		name string
		e    edges
		want string
	}{
		{"a device and sockets of ours", edges{device: device, queues: device.Queues(), conns: Conns{NATT: []udp.Conn{told}}, ordered: offload.Segment, without: offload.Segment},
			"tso on, uso on, queues on, coalesce on, udp-segment off, udp-gro on, batch missing"},
		{"all was brought", edges{queues: device.Queues()[:1], conns: Conns{IKE: []udp.Conn{&wireConn{}}}, ordered: offload.USO, without: offload.USO},
			"tso unknown, uso off, queues unasked, coalesce on, udp-segment unknown, udp-gro unknown, batch unknown"},
		{"a portable device", edges{device: device, queues: device.Queues()[:1], conns: Conns{IKE: []udp.Conn{told}}, without: offload.Coalesce},
			"tso on, uso on, queues unasked, coalesce missing, udp-segment missing, udp-gro on, batch missing"},
	} {
		var got []string
		for _, o := range c.e.offloadStatus() {
			got = append(got, o.Name+" "+o.State)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, strings.Join(got, ", "), c.want)
		}
	}
	e := edges{conns: Conns{IKE: []udp.Conn{told, told}}}
	var log bytes.Buffer
	e.announce(slog.New(slog.NewTextHandler(&log, nil)))
	if n := strings.Count(log.String(), "net.core.rmem_max"); n != 1 || strings.Contains(log.String(), "wmem_max") || !strings.Contains(log.String(), "fast paths") {
		t.Errorf("the log tells of the buffers %d times:\n%s", n, &log)
	}
}

// The switches of the configuration and of the options add up, and reach status.
func TestNoOffload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := "culvert {\n no_offload = coalesce\n}\n" + confA
		a := start(t, udptest.NewNetwork(), addrA, conf, WithoutOffload(offload.GRO))
		synctest.Wait()
		var off []string
		for _, o := range a.g.Status().Offloads {
			if o.State == "off" {
				off = append(off, o.Name)
			}
		}
		for _, name := range []string{"coalesce", "udp-gro"} {
			if !slices.Contains(off, name) {
				t.Errorf("%s is not off, only %v", name, off)
			}
		}
		if got := a.g.Status().AESGCM; got != suite.AESGCM() {
			t.Errorf("AES-GCM is computed by %q, says status", got)
		}
		again, err := a.g.Reload(t.Context(), parse(t, conf))
		if err != nil || len(again.Warnings) != 0 {
			t.Errorf("the same configuration: %v, %v", again.Warnings, err)
		}
		other, err := a.g.Reload(t.Context(), parse(t, confA))
		if err != nil || !strings.Contains(fmt.Sprint(other.Warnings), "no_offload") {
			t.Errorf("another configuration: %v, %v", other.Warnings, err)
		}
		finish(t, a)
	})
}
