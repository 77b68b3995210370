package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/config"
	"github.com/culvert-vpn/culvert/gateway"
)

func newReload() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Load the configuration again without dropping what has not changed",
		Long: `Reload has the daemon read its configuration again, and tells what has become of each connection and child. Tunnels that
are the same stay as they are. What has changed is changed in place, rekeyed or set up anew, and wherever the protocol allows it
the old one carries the traffic until the new one does. When the file has errors, they are printed as "culvert check" prints
them, and everything stays as it was.

SIGHUP does the same, and so does "systemctl reload culvert". What is set by flags of "culvert run" needs a restart.`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return reload(control, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	controlFlag(cmd, &control)
	return cmd
}

// reload has the daemon load its configuration, and prints what comes of it.
func reload(control string, w, warn io.Writer) error {
	err := gateway.Client{Socket: control}.Do(context.Background(), gateway.Request{Cmd: "reload"}, func(r gateway.Reply) {
		if r.Reload == nil {
			return
		}
		for _, text := range r.Reload.Warnings {
			fmt.Fprintln(warn, text)
		}
		for _, c := range r.Reload.Changes {
			fmt.Fprintln(w, changeText(c))
		}
	})
	var refused *gateway.RequestError
	if !errors.As(err, &refused) {
		return reached(err)
	}
	if len(refused.Config) > 0 {
		fmt.Fprintln(warn, strings.Join(refused.Config, "\n"))
		return &failure{exitConfig, fmt.Errorf("%s in the configuration; the former one stays in effect", count(len(refused.Config), "error"))}
	}
	return fmt.Errorf("reload: %s", refused.Text)
}

// changeText is a line about a change.
func changeText(c gateway.ChangeInfo) string {
	subject := c.Conn
	if c.Child != "" {
		subject += ", child " + c.Child
	}
	text := subject + ": " + c.Kind
	if len(c.Keys) > 0 {
		text += fmt.Sprintf(" (%s), %s", strings.Join(c.Keys, ", "), c.How)
	}
	return text
}

// loadFile reads the configuration; without a file there is none.
func loadFile(path string) (*config.Config, []config.Warning, error) {
	if path != "" {
		return config.Load(path)
	}
	conf, warnings, err := config.Parse("", nil, config.Options{})
	if err == nil {
		conf.Files = nil
	}
	return conf, warnings, err
}

// reloader loads the configuration of a running daemon again.
type reloader struct {
	path    string
	log     *slog.Logger
	gateway *gateway.Gateway

	mu   sync.Mutex
	conf *config.Config // in effect
}

// reload loads the file. Whatever is wrong with it leaves everything as it was.
func (r *reloader) reload(ctx context.Context) (gateway.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tellReloading(r.log)
	defer tellReady(r.log)
	result, err := r.load(ctx)
	var bad config.Errors
	switch {
	case errors.As(err, &bad):
		for _, e := range bad {
			r.log.Error(e.Msg, "at", e.Pos.String(), "hint", e.Hint)
		}
		r.log.Error("the configuration is not accepted; the former one stays in effect", "errors", len(bad))
	case err != nil:
		r.log.Error("the configuration could not be loaded", "error", err)
	default:
		for _, c := range result.Changes {
			if c.Kind != "unchanged" {
				r.log.Info(changeText(c))
			}
		}
		for _, text := range result.Warnings {
			r.log.Warn(text)
		}
		r.log.Info("the configuration is loaded", "connections", len(r.conf.Connections))
	}
	return result, err
}

func (r *reloader) load(ctx context.Context) (gateway.Reloaded, error) {
	conf, warnings, err := loadFile(r.path)
	if err != nil {
		return gateway.Reloaded{}, err
	}
	advice := advice(conf) // before the gateway takes the connections
	result, err := r.gateway.Reload(ctx, *conf)
	if err != nil {
		conf.Secrets.Wipe()
		return gateway.Reloaded{}, err
	}
	r.conf.Secrets.Wipe()
	r.conf = conf
	for _, w := range warnings {
		result.Warnings = append(result.Warnings, w.String())
	}
	result.Warnings = append(result.Warnings, advice...)
	return result, nil
}

// wipe zeroes the secrets in the end.
func (r *reloader) wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conf.Secrets.Wipe()
}

// onHangup loads the configuration at each SIGHUP until ctx ends.
func (r *reloader) onHangup(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			_, _ = r.reload(ctx) // it is in the log
		}
	}
}
