package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
	"github.com/culvert-vpn/culvert/offload"
)

// runFlags are the options of the daemon. Its policy is in the configuration alone.
type runFlags struct {
	config, control string
	vici            []string
	state           string
	device          string
	portable        bool
	noOffload       string
	keyLog          string
	capture         bool
	metrics         metricsFlags
	log             logFlags
}

func newRun() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the gateway until SIGTERM or SIGINT. Then every peer is told, and device and routes are removed; a second signal ends
the process at once. SIGHUP has it load its configuration again, as "culvert reload" does. The daemon needs CAP_NET_ADMIN, CAP_NET_BIND_SERVICE for the UDP ports 500 and 4500, and /dev/net/tun.

SIGUSR1 ends it as SIGTERM does, but traffic of its policies stays refused until it is started again.

Under systemd it says when it is ready (Type=notify), serves the watchdog, and takes the control sockets that it is passed.`,
		Example: `  culvert run
  culvert run --config office.conf --log-level debug`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemon(flags, cmd.ErrOrStderr()) },
	}
	set := cmd.Flags()
	set.StringVar(&flags.config, "config", defaultConfig, "configuration `file`; empty for none, when all is loaded over vici")
	set.StringVar(&flags.control, "control", gateway.DefaultControl, "Unix `socket` on which to take orders")
	set.StringSliceVar(&flags.vici, "vici", nil, "more `sockets` for the same, as /run/charon.vici, where tools made for strongSwan look for its daemon")
	set.StringVar(&flags.state, "state", defaultState, "`directory` for what outlives the daemon; empty for none")
	set.StringVar(&flags.device, "tun", "", "`name` of the TUN device (default culvert0, or the next number)")
	set.BoolVar(&flags.portable, "portable-tun", false, "use the plain TUN device that every platform has")
	set.StringVar(&flags.noOffload, "no-offload", "", "do without fast paths: slower, for finding faults. `names` as of no_offload in the configuration, or all")
	set.Lookup("no-offload").NoOptDefVal = "all"
	set.StringVar(&flags.keyLog, "keylog", "", "write all keys into this `directory`, for Wireshark: who reads them reads the traffic")
	set.BoolVar(&flags.capture, "allow-capture", false, "let \"culvert capture\" write packets in clear: whoever may use the control socket reads the traffic")
	flags.metrics.register(set)
	flags.log.register(set)
	return cmd
}

// runDaemon runs the gateway until a signal ends it.
func runDaemon(flags runFlags, stderr io.Writer) error {
	// Whoever reads the log may go away. Then writing to it fails, but that must not end the daemon: it would leave the
	// traffic refused, and a service manager takes the end by this signal for a clean one.
	signal.Ignore(syscall.SIGPIPE)
	// A panic ends the process by a signal then. Its exit code would be that of a configuration which is not accepted, after which
	// no service manager starts the daemon again.
	debug.SetTraceback("crash")
	log, err := flags.log.logger(stderr)
	if err != nil {
		return err
	}
	if err := forbidDumps(); err != nil {
		log.Warn("a crash may write the memory of the daemon, keys and secrets, to disk", "error", err)
	}
	conf, warnings, err := loadFile(flags.config)
	for _, w := range warnings {
		log.Warn(w.Msg, "at", w.Pos.String(), "hint", w.Hint)
	}
	if err != nil {
		return err
	}
	loader := &reloader{path: flags.config, log: log, conf: conf}
	defer loader.wipe()
	hangups := hangups()
	options, closeAll, err := flags.options(log)
	if err != nil {
		return err
	}
	defer closeAll()
	for _, text := range advice(conf) {
		log.Warn(text)
	}

	ctx, stop := untilSignal(log, os.Exit)
	defer stop()
	scrapes, err := flags.metrics.listen(log)
	if err != nil {
		return err
	}
	ready := gateway.WithReady(func() {
		log.Info("ready", "version", version(), "connections", len(conf.Connections), "control", flags.control)
		tellReady(log)
	})
	g, err := gateway.New(*conf, append(options, ready, gateway.WithReload(loader.reload))...)
	if err != nil {
		return err
	}
	loader.gateway = g
	defer flags.metrics.serve(scrapes, g, log)()
	go loader.onHangup(ctx, hangups)
	go func() {
		<-ctx.Done()
		tell(log, daemon.SdNotifyStopping)
	}()
	go watchdog(ctx, log, func() { g.Figures(context.Background()) })
	err = g.Run(ctx)
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// advice is what stands in the way of a configuration on this host.
func advice(conf *config.Config) []string {
	return append(gateway.Advice(gateway.Policies(conf)...), gateway.AdviceAddresses(conf.Connections)...) // the gateway itself tells of AdviceNetworks
}

// options are those of the gateway; closeAll closes what was opened for them.
func (f *runFlags) options(log *slog.Logger) (list []gateway.Option, closeAll func(), err error) {
	closeAll = func() {}
	off, err := offload.Parse(f.noOffload)
	if err != nil {
		return nil, closeAll, fmt.Errorf("--no-offload: %w", err)
	}
	sockets, err := passedSockets()
	if err != nil {
		return nil, closeAll, err
	}
	list = []gateway.Option{gateway.WithLogger(log), gateway.WithDevice(f.device, 1), gateway.WithControl(f.control), gateway.WithVICI(f.vici...), gateway.WithControlListeners(sockets...), gateway.WithState(f.state), gateway.WithoutOffload(off)}
	if f.portable {
		list = append(list, gateway.WithPortableTUN())
	}
	host, err := gateway.NewHost()
	switch {
	case err == nil:
		list = append(list, gateway.WithHost(host))
	case runtime.GOOS == "linux":
		return nil, closeAll, err
	default: // routes are the user's affair; the error says so
		log.Warn(err.Error())
	}
	if f.capture {
		log.Warn("packets may be captured in clear by whoever may use the control socket", "control", f.control)
		list = append(list, gateway.WithCapture())
	}
	if f.keyLog != "" {
		keys, err := openKeyLog(f.keyLog)
		if err != nil {
			return nil, closeAll, err
		}
		log.Warn("all keys are being written to disk: who reads them reads the traffic", "directory", f.keyLog)
		list, closeAll = append(list, gateway.WithKeyLog(keys.ike, keys.esp)), keys.close
	}
	return list, closeAll, nil
}

// keyLog are the files of Wireshark's tables, with the names that Wireshark expects in a profile.
type keyLog struct{ ike, esp *os.File }

func openKeyLog(dir string) (k keyLog, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return k, fmt.Errorf("the directory for keys: %w", err)
	}
	if k.ike, err = openKeys(filepath.Join(dir, "ikev2_decryption_table")); err != nil {
		return k, err
	}
	if k.esp, err = openKeys(filepath.Join(dir, "esp_sa")); err != nil {
		k.ike.Close()
		return k, err
	}
	return k, nil
}

// openKeys opens a file for keys. Whoever else may write in the directory cannot have them written elsewhere, nor read them.
func openKeys(path string) (*os.File, error) {
	const flags = os.O_CREATE | os.O_APPEND | os.O_WRONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // EMLINK on FreeBSD
		return nil, fmt.Errorf("the file for keys %s is a symbolic link, which is not followed: remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("the file for keys: %w", err)
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0) {
		err = fmt.Errorf("%s is no file of its owner alone (%v): remove it, or choose another directory", path, info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the file for keys: %w", err)
	}
	return f, nil
}

func (k keyLog) close() {
	k.ike.Close()
	k.esp.Close()
}
