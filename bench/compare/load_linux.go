package compare

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-vpn/culvert/bench/load"
)

const mega = 1 << 20

// streams opens TCP connections each way.
func (e *session) streams(c tcpCase) (list []*load.Streams, err error) {
	for _, way := range []struct {
		from, to *site
		n        int
	}{{e.a, e.b, c.out}, {e.b, e.a, c.in}} {
		if way.n == 0 {
			continue
		}
		s, err := load.StartTCP(way.from.end(), way.to.end(), way.n)
		if err != nil {
			return list, errors.Join(err, e.alive())
		}
		list = append(list, s)
	}
	return list, nil
}

func stopAll(list []*load.Streams) (err error) {
	for _, s := range list {
		err = errors.Join(err, s.Stop())
	}
	return err
}

func bytesOf(list []*load.Streams) (n uint64) {
	for _, s := range list {
		n += s.Bytes()
	}
	return n
}

// window waits for the time that is measured and, if nothing came in it, until something does: a flood can leave a tunnel without a
// processor for long.
func (r *run) window(came func() bool) {
	time.Sleep(r.Window)
	for end := time.Now().Add(patience); !came() && time.Now().Before(end) && r.ctx.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *run) tcp(e *session, c tcpCase) (values map[Metric]float64, err error) {
	err = e.through(func() (uint64, error) {
		streams, err := e.streams(c)
		if err == nil {
			time.Sleep(r.Warmup)
			var arrived uint64
			var s spent
			s, err = e.measure(func() {
				before := bytesOf(streams)
				r.window(func() bool { arrived = bytesOf(streams) - before; return arrived > 0 })
			})
			if err == nil && arrived == 0 {
				err = errors.New("nothing arrived")
			}
			gigabytes := float64(arrived) / 1e9
			values = map[Metric]float64{Throughput: gigabytes * 8 / s.seconds, CPULoad: s.generator / gigabytes}
			e.costs(values, s, CPU, gigabytes)
		}
		err = errors.Join(err, stopAll(streams))
		return bytesOf(streams), err
	})
	return values, err
}

// costs adds what the daemons used, the processor time for each unit. The link has no daemons.
func (e *session) costs(values map[Metric]float64, s spent, cpu Metric, units float64) {
	if e.kind != rawLink {
		values[cpu], values[RSS] = s.daemons/units, s.peak/mega
	}
}

// udp floods first, and then looks for the best rate: with the processors not busy with sending what is lost, more may arrive.
func (r *run) udp(e *session, c udpCase) (values map[Metric]float64, err error) {
	if c.size+28 > e.mtu {
		return nil, nil // it would be measured in fragments
	}
	err = e.through(func() (uint64, error) {
		d, err := load.StartUDP(e.a.end(), e.b.end(), load.Shape{Size: c.size, Segments: c.segments}, 0)
		if err != nil {
			return 0, err
		}
		time.Sleep(r.Warmup)
		var arrived, late uint64
		s, err := e.measure(func() {
			arrivedBefore, lateBefore := d.Arrived(), d.Late()
			r.window(func() bool {
				arrived, late = d.Arrived()-arrivedBefore, d.Late()-lateBefore
				return arrived > 0
			})
		})
		if err == nil && arrived == 0 {
			err = errors.New("nothing arrived")
		}
		if err != nil {
			d.Stop()
			return 0, err
		}
		flood := float64(arrived) / s.seconds
		values = map[Metric]float64{Flood: flood, Best: max(flood, r.bestRate(d, flood)), Late: 100 * float64(late) / float64(arrived)}
		e.costs(values, s, CPUPacket, float64(arrived)/1e6)
		d.Stop()
		return d.Arrived() * uint64(c.size), e.alive()
	})
	return values, err
}

// bestRate looks for the rate at which most arrive: higher while nothing is lost, then between what was and what was not lost.
func (r *run) bestRate(d *load.Datagrams, flood float64) (best float64) {
	const steps, faster, lossless = 8, 1.7, 0.97
	step := r.Window / steps
	rate, kept, lost := flood, 0.0, 0.0 // the highest rate without loss, and the lowest with
	for range steps {
		d.SetRate(uint64(rate))
		time.Sleep(step / 4) // what was sent before
		sent, arrived, begin := d.Sent(), d.Arrived(), time.Now()
		time.Sleep(step * 3 / 4)
		share := float64(d.Arrived()-arrived) / float64(max(d.Sent()-sent, 1))
		best = max(best, float64(d.Arrived()-arrived)/time.Since(begin).Seconds())
		if share >= lossless {
			kept = max(kept, rate)
		} else if lost == 0 || rate < lost {
			lost = rate
		}
		switch {
		case lost == 0:
			rate *= faster
		case kept == 0:
			rate /= faster
		default:
			rate = (kept + lost) / 2
		}
	}
	return best
}

func (r *run) rtt(e *session, c rttCase) (values map[Metric]float64, err error) {
	streams, err := e.streams(tcpCase{out: c.streams})
	defer func() { err = errors.Join(err, stopAll(streams)) }()
	if err != nil {
		return nil, err
	}
	echoer, err := load.NewEchoer(e.a.end(), e.b.end())
	if err != nil {
		return nil, err
	}
	defer echoer.Close()
	const interval = time.Millisecond
	echoer.Measure(interval, r.Warmup/2)
	times := echoer.Measure(interval, r.Window)
	for end := time.Now().Add(patience); len(times.Trips) == 0 && time.Now().Before(end) && e.alive() == nil; {
		more := echoer.Measure(interval, r.Window)
		times.Trips, times.Lost = more.Trips, times.Lost+more.Lost
	}
	if err := e.alive(); err != nil {
		return nil, err
	}
	if len(times.Trips) == 0 {
		return nil, fmt.Errorf("none of %d echoes came back", times.Lost)
	}
	return map[Metric]float64{
		P50: micro(times.Quantile(0.5)), P99: micro(times.Quantile(0.99)),
		Lost: 100 * float64(times.Lost) / float64(times.Lost+len(times.Trips)),
	}, nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// setup has the tunnel made anew until the time is over, and at least once.
func (r *run) setup(e *session) (map[Metric]float64, error) {
	if e.kind == rawLink {
		return nil, nil
	}
	echoer, err := load.NewEchoer(e.a.end(), e.b.end())
	if err != nil {
		return nil, err
	}
	defer echoer.Close()
	var times []time.Duration
	s, err := e.measure(func() {
		const pause = 25 * time.Millisecond // wireguard-go takes no second handshake within 20 ms
		for end := time.Now().Add(r.Window / 2); err == nil && (len(times) == 0 || time.Now().Before(end)); {
			begin := time.Now()
			if err = e.renew(r.ctx); err == nil {
				err = e.answered(r.ctx, echoer)
				times = append(times, time.Since(begin))
			}
			time.Sleep(pause)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(times)
	return map[Metric]float64{
		Setup:    float64(times[len(times)/2]) / float64(time.Millisecond),
		CPUSetup: s.daemons * 1e3 / float64(len(times)),
	}, nil
}
