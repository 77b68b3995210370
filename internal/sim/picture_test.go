package sim

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
)

// TestPicture: a run in which something does not hold fails, and leaves a ladder diagram that says what and when, and a capture of
// its messages. It is this test itself in a process of its own, where b loses half of a Child SA behind the endpoint's back.
func TestPicture(t *testing.T) {
	const damage = "CULVERT_SIM_DAMAGE"
	if os.Getenv(damage) != "" {
		s := newScene(t, 1, nil)
		s.up()
		clear(s.b.table.in)
		s.CheckQuiet()
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestPicture$", "-test.artifacts", "-test.outputdir="+dir)
	cmd.Env = append(os.Environ(), damage+"=1")
	said, err := cmd.CombinedOutput()
	const wrong = "at quiet the child net of b is not installed in both directions"
	if err == nil || !strings.Contains(string(said), wrong) || !strings.Contains(string(said), "ladder.txt") {
		t.Fatalf("%v\n%s", err, said)
	}
	ladder, capture := find(t, dir, "ladder.txt"), find(t, dir, "ike.pcap")
	for _, text := range []string{"a " + addrA, "b " + addrB, "#1 to 192.0.2.10:500: IKE_SA_INIT request 0", "SK{IDi", "!! ", wrong} {
		if !strings.Contains(ladder, text) {
			t.Errorf("the ladder has no %q:\n%s", text, ladder)
		}
	}
	const fileHeader, recordHeader, ip, udp = 24, 16, 20, 8
	le, n := binary.LittleEndian, 0
	for rest := []byte(capture)[fileHeader:]; len(rest) > 0; n++ {
		length := le.Uint32(rest[8:])
		packet := rest[recordHeader : recordHeader+length]
		rest = rest[recordHeader+length:]
		if n > 0 {
			continue
		}
		if m, err := wire.Parse(packet[ip+udp:]); err != nil || m.Header.Exchange != wire.IKE_SA_INIT {
			t.Errorf("the capture begins with %v (%v)", m, err)
		}
	}
	if n != strings.Count(ladder, "sends #") || n < 4 {
		t.Errorf("%d messages are in the capture, %d in the ladder", n, strings.Count(ladder, "sends #"))
	}
}

// find reads the file of a name below a folder.
func find(t *testing.T, dir, name string) string {
	t.Helper()
	var text []byte
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			text, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || text == nil {
		t.Fatalf("no %s (%v)", name, err)
	}
	return string(text)
}
