package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/pool"
)

// leases lends the addresses of the pools, and remembers on disk who had which. The control goroutine owns it, but for snapshots.
type leases struct {
	*pool.Book
	path    string // "": nothing is remembered
	log     *slog.Logger
	changed bool
	// snapshots are on their way to the disk, written by a goroutine: the next one is made when that has come back.
	snapshots chan pool.Snapshot
	writing   bool
	retry     time.Time // not before that, after a failure
	failure   string
}

// leasesFile is the name of the file in the directory for what outlives the daemon.
const leasesFile = "leases.json"

// openLeases reads what was remembered. A file that cannot be understood is put aside, and everybody gets a new address: that is a
// nuisance, and no reason to let nobody in.
func openLeases(pools []*ike.Pool, dir string, log *slog.Logger) *leases {
	path := ""
	if dir != "" {
		path = filepath.Join(dir, leasesFile)
	}
	l := &leases{Book: pool.New(ranges(pools)), path: path, log: log, snapshots: make(chan pool.Snapshot, 1)}
	if path == "" {
		return l
	}
	text, err := readLeases(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	if err == nil {
		err = l.Restore(text)
	}
	if err != nil {
		aside := path + ".unreadable"
		log.Warn("the addresses that peers had are not known: the file is put aside, and a new one begun", "file", path, "error", err, "aside", aside)
		if err := os.Rename(path, aside); err != nil {
			log.Warn("it cannot be put aside, and will be overwritten", "error", err)
		}
	}
	return l
}

func ranges(pools []*ike.Pool) []pool.Range {
	var list []pool.Range
	for _, p := range pools {
		list = append(list, pool.Range{Name: p.Name, First: p.First, Last: p.Last})
	}
	return list
}

func readLeases(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, pool.MaxText+1))
}

// Lend and Return note that there is something to write. The endpoint's clock means nothing to another run; people's does.
func (l *leases) Lend(_ time.Time, pools []string, owner ident.ID, wish netip.Addr) (from string, addr netip.Addr, ok bool) {
	l.changed = true
	return l.Book.Lend(time.Now(), pools, owner, wish)
}

// Return is Lend's opposite.
func (l *leases) Return(_ time.Time, from string, addr netip.Addr) {
	l.changed = true
	l.Book.Return(time.Now(), from, addr)
}

// saveRetry is how long a disk that fails is left alone.
const saveRetry = 10 * time.Second

// save has the leases written if they have changed, unless that is being done.
func (l *leases) save(now time.Time) {
	if l.path == "" || !l.changed || l.writing || now.Before(l.retry) {
		return
	}
	l.changed, l.writing = false, true
	l.snapshots <- l.Snapshot(now)
}

// run is the goroutine that writes: a disk may take its time. What comes of it is told to the control goroutine.
func (l *leases) run(ctx context.Context, answer func(func(*control))) {
	for {
		select {
		case <-ctx.Done():
			select {
			case s := <-l.snapshots:
				if err := writeLeases(l.path, s); err != nil {
					l.log.Error("the addresses that peers had are not remembered", "error", err)
				}
			default:
			}
			return
		case s := <-l.snapshots:
			err := writeLeases(l.path, s)
			answer(func(c *control) {
				c.leases.writing = false
				c.leases.report(err)
				c.leases.save(time.Now())
			})
		}
	}
}

// report tells of a failure once, and when it is over.
func (l *leases) report(err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
		l.changed, l.retry = true, time.Now().Add(saveRetry)
	}
	switch {
	case failure == l.failure:
	case err != nil:
		l.log.Error("the addresses that peers have cannot be remembered; they may get others after a restart", "error", err)
	default:
		l.log.Info("the addresses that peers have are remembered again")
	}
	l.failure = failure
}

// finish has the last leases written, in place of what was not written yet: the control loop ends.
func (l *leases) finish(now time.Time) {
	if l.path == "" || !l.changed && !l.writing {
		return
	}
	select {
	case <-l.snapshots:
	default:
	}
	l.snapshots <- l.Snapshot(now)
}

// writeLeases replaces the file at once or not at all, whatever happens meanwhile.
func writeLeases(path string, s pool.Snapshot) (err error) {
	text, err := s.Text()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// PoolStatus is a pool and what is lent of it.
type PoolStatus struct {
	Name   string `json:"name"`
	Source string `json:"source"` // as of a connection
	First  string `json:"first"`
	Last   string `json:"last"`
	// Size is the number of addresses; of more than 2^64-1 that.
	Size    uint64 `json:"size"`
	Online  int    `json:"online"`
	Offline int    `json:"offline"`
	// Leases are those in use, and those that are kept for who had them.
	Leases []LeaseStatus `json:"leases,omitempty"`
}

// LeaseStatus is an address of a pool.
type LeaseStatus struct {
	Address  string `json:"address"`
	Identity string `json:"identity"`
	Online   bool   `json:"online"`
	// Since is when it was lent, or given back.
	Since time.Time `json:"since"`
}

// status lists the pools.
func (l *leases) status() []PoolStatus {
	var list []PoolStatus
	index := make(map[string]int)
	for _, r := range l.Ranges() {
		index[r.Name] = len(list)
		list = append(list, PoolStatus{Name: r.Name, First: r.First.String(), Last: r.Last.String(), Size: r.Size()})
	}
	for _, lease := range l.Leases() {
		p := &list[index[lease.Pool]]
		if lease.Online > 0 {
			p.Online++
		} else {
			p.Offline++
		}
		p.Leases = append(p.Leases, LeaseStatus{Address: lease.Addr.String(), Identity: lease.Owner.String(), Online: lease.Online > 0, Since: lease.Since})
	}
	return list
}
