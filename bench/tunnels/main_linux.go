package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-vpn/culvert/internal/lab"
)

// options are what is measured.
type options struct {
	n        int           // tunnels
	parallel int           // that are being set up at a time
	nat      bool          // all of them come from one address and port
	packets  int           // rounds of packets; 0: none
	rekey    time.Duration // rekey_time of the gateway's children; 0: none
	off      string        // the gateway's fast paths that are switched off
	program  string
	log      string
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 10000, "how many tunnels")
	flag.IntVar(&o.parallel, "parallel", 64, "how many are set up at a time")
	flag.BoolVar(&o.nat, "nat", false, "all peers are behind one address and port")
	flag.IntVar(&o.packets, "packets", 40, "rounds of packets through one tunnel and through all, in turns; 0: none")
	flag.DurationVar(&o.rekey, "rekey", 0, "rekey_time of the children, after which the gateway rekeys them; 0: none")
	flag.StringVar(&o.off, "no-offload", "", "fast paths that the gateway is to do without")
	flag.StringVar(&o.program, "culvert", "", "the program under test (default: built from ./cmd/culvert)")
	flag.StringVar(&o.log, "log", os.DevNull, "where the gateway's log goes")
	flag.Parse()
	if err := lab.Usable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	t := &teller{ctx: context.Background()}
	defer t.cleanUp()
	run(t, o)
}

// teller is the lab.T of a program.
type teller struct {
	ctx  context.Context
	todo []func()
}

func (t *teller) Helper()                  {}
func (t *teller) Cleanup(f func())         { t.todo = append(t.todo, f) }
func (t *teller) Context() context.Context { return t.ctx }

func (t *teller) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	t.cleanUp()
	os.Exit(1)
}

func (t *teller) cleanUp() {
	for i := len(t.todo) - 1; i >= 0; i-- {
		t.todo[i]()
	}
	t.todo = nil
}

const hubAddr, fleetAddr, insideAddr = "10.0.0.1", "10.0.0.2", "10.1.0.1"

func run(t *teller, o options) {
	dir, err := os.MkdirTemp("", "tunnels")
	lab.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if o.program == "" {
		o.program = filepath.Join(dir, "culvert")
		build := exec.Command("go", "build", "-o", o.program, "./cmd/culvert")
		build.Stderr = os.Stderr
		lab.Must(t, build.Run())
	}
	net := lab.New(t)
	hub, peers := net.Host("hub"), net.Host("peers")
	net.Link(hub, []string{hubAddr + "/24"}, peers, []string{fleetAddr + "/24"})
	hub.Route("10.64.0.0/10", fleetAddr)
	lo, err := hub.Netlink().LinkByName("lo")
	lab.Must(t, err)
	inside, _ := netlink.ParseAddr(insideAddr + "/32")
	lab.Must(t, hub.Netlink().AddrAdd(lo, inside))
	anywhere(t, peers)

	conf := filepath.Join(dir, "culvert.conf")
	lab.Must(t, os.WriteFile(conf, []byte(hubConfig(o.rekey)), 0o600))
	log, err := os.Create(o.log)
	lab.Must(t, err)
	cmd := exec.Command(o.program, "run", "--config", conf, "--control", filepath.Join(dir, "control"), "--state", filepath.Join(dir, "state"), "--no-offload="+o.off)
	cmd.Stderr, cmd.Stdout = log, log
	daemon, err := hub.Start("culvert", cmd, func() error { return nil })
	lab.Must(t, err)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "control")); err == nil {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("the gateway does not start")
		}
	}
	time.Sleep(200 * time.Millisecond)

	f := newFleet(t, peers, o)
	fmt.Printf("%d tunnels, %d at a time, one address for all: %v; %s, %d CPUs\n", o.n, o.parallel, o.nat, runtime.Version(), runtime.NumCPU())
	setUp(f, daemon.Pid(), o)
	if o.packets > 0 {
		f.packets(hub, daemon.Pid(), o.packets)
	}
	if o.rekey > 0 {
		f.watchRekeys(daemon.Pid(), o.rekey)
	}
}

// anywhere lets a host have all addresses of the peers, without giving it each.
func anywhere(t *teller, h *lab.Host) {
	lo, err := h.Netlink().LinkByName("lo")
	lab.Must(t, err)
	dst, err := netlink.ParseIPNet("10.64.0.0/10")
	lab.Must(t, err)
	lab.Must(t, h.Netlink().RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST,
	}))
}

// setUp brings all tunnels up.
func setUp(f *fleet, pid int, o options) {
	began, hub, own := time.Now(), cpuOf(pid), cpuOf(os.Getpid())
	resident := memory(pid, "VmRSS")
	f.start(o.parallel)
	last, at := 0, began
	for f.count() < o.n {
		time.Sleep(50 * time.Millisecond)
		f.tick()
		if up := f.count(); up-last >= 1000 || up >= o.n {
			fmt.Printf("  %6d up, %5.0f a second\n", up, float64(up-last)/time.Since(at).Seconds())
			last, at = up, time.Now()
		}
		if time.Since(began) > 3*time.Minute {
			f.t.Fatalf("only %d of %d are up", f.count(), o.n)
		}
	}
	took := f.lastUp().Sub(began)
	each := func(d time.Duration) time.Duration { return (d / time.Duration(o.n)).Round(time.Microsecond) }
	fmt.Printf("setup: %.0f IKE SAs a second with a child each; CPU for each: gateway %v, generator %v; %d messages were sent again\n",
		float64(o.n)/took.Seconds(), each(cpuOf(pid)-hub), each(cpuOf(os.Getpid())-own), f.resent)
	fmt.Printf("memory of the gateway: %.1f KiB resident for each (%.0f MiB before, %.0f MiB with all, %.0f MiB at most)\n",
		float64(memory(pid, "VmRSS")-resident)/float64(o.n), float64(resident)/1024, float64(memory(pid, "VmRSS"))/1024, float64(memory(pid, "VmHWM"))/1024)
}
