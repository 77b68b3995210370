package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/gateway"
)

// captureFlags say what is captured, and where it goes.
type captureFlags struct {
	socket string
	what   gateway.CaptureOptions
	file   string
	count  uint64
}

func newCapture() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture NAME",
		Short: "Capture the decrypted packets of a connection, for Wireshark",
		Long: `Capture writes the packets that a connection carries, as they are inside the tunnel, in the format pcapng. Each has the direction,
and in a comment the child and the SPI by which it came or went. It goes on until it is interrupted.

Whoever can do this reads the traffic, so the daemon has to be started with --allow-capture, and it logs each capture. Packets that
cannot be written as fast as they come are left out and counted; forwarding is never held up. To decrypt what was recorded outside of the
tunnel instead, start the daemon with --keylog.`,
		Example: `  culvert capture office -w office.pcapng
  culvert capture office | wireshark -k -i -
  ssh gateway culvert capture office --count 100 | tshark -r -`,
		Args: arguments(1, 1, "the NAME of a connection"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.what.Connection = args[0]
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return f.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.ValidArgsFunction = completeConnection(&f.socket)
	set := cmd.Flags()
	set.StringVarP(&f.file, "write", "w", "-", "the `file` to write; - is the standard output")
	set.StringVar(&f.what.Child, "child", "", "only this child of the connection")
	set.IntVar(&f.what.Snap, "snap", 0, "how many bytes of each packet to keep at most; 0: all")
	set.Uint64Var(&f.count, "count", 0, "end after so many packets; 0: go on")
	controlFlag(cmd, &f.socket)
	return cmd
}

// errEnough ends a capture that has what it wanted.
var errEnough = errors.New("enough")

func (f *captureFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	if f.what.Snap < 0 {
		return usage("--snap is %d; it must not be negative", f.what.Snap)
	}
	if f.file != "-" {
		file, err := os.OpenFile(f.file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		stdout = file
	} else if isTerminal(stdout) {
		return usage("a capture is nothing for a terminal: use -w FILE, or a pipe to wireshark -k -i -")
	}
	w, err := newPcapng(stdout, f.what)
	if err != nil {
		return err
	}
	var n, lost uint64
	err = gateway.Client{Socket: f.socket}.Capture(ctx, f.what, func(list []gateway.CapturedPacket) error {
		for i := range list {
			lost = max(lost, list[i].Lost)
			if err := w.packet(&list[i]); err != nil {
				return err
			}
			if n++; n == f.count {
				return errors.Join(w.Flush(), errEnough)
			}
		}
		return w.Flush()
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil {
		fmt.Fprintf(stderr, "%s captured, %d lost\n", count(int(n), "packet"), lost)
	}
	return reached(err)
}

// pcapng writes packets without a link layer below them.
type pcapng struct{ *pcapgo.NgWriter }

// newPcapng writes the beginning of a file.
func newPcapng(w io.Writer, what gateway.CaptureOptions) (pcapng, error) {
	link := pcapgo.NgInterface{
		Name: what.Connection, Description: "inside of the tunnel, decrypted", OS: runtime.GOOS,
		LinkType: layers.LinkTypeRaw, SnapLength: uint32(what.Snap), TimestampResolution: 9,
	}
	section := pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "culvert " + version()}
	ng, err := pcapgo.NewNgWriterInterface(w, link, pcapgo.NgWriterOptions{SectionInfo: section})
	if err != nil {
		return pcapng{}, err
	}
	return pcapng{ng}, ng.Flush() // so that who reads from a pipe sees at once what it is
}

// packet writes a packet, with whose it is.
func (w pcapng) packet(p *gateway.CapturedPacket) error {
	direction, word := pcapgo.NgEpbFlagDirectionInbound, "in"
	if p.Out {
		direction, word = pcapgo.NgEpbFlagDirectionOutbound, "out"
	}
	flags := pcapgo.NgEpbFlags{Direction: direction}
	return w.WritePacketWithOptions(
		gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.Length}, p.Data,
		pcapgo.NgPacketOptions{Comments: []string{fmt.Sprintf("%s/%s %s, SPI %s", p.Connection, p.Child, word, p.SPI)}, Flags: &flags},
	)
}
