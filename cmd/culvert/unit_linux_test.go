package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
)

// The unit has what the daemon relies on. Where systemd-analyze is there, it has to find the exposure below 2.0 of 10; make test-deb
// has it look at the unit on a system.
func TestUnit(t *testing.T) {
	const path = "../../packaging/systemd/culvert.service"
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	options, err := unit.DeserializeOptions(f)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, o := range options {
		values[o.Section+"."+o.Name] = o.Value
	}
	for name, want := range map[string]string{
		"Service.Type": "notify", "Service.User": "culvert", "Service.Group": "culvert", "Service.LimitCORE": "0", "Service.NoNewPrivileges": "yes",
		"Service.CapabilityBoundingSet": "CAP_NET_ADMIN CAP_NET_BIND_SERVICE", "Service.AmbientCapabilities": "CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
		"Service.RestartKillSignal": "SIGUSR1", "Service.RestartPreventExitStatus": "2 4", "Service.DeviceAllow": "/dev/net/tun rw",
		"Service.ExecStart": "/usr/bin/culvert run --config " + defaultConfig, "Service.ExecReload": "/usr/bin/culvert reload",
	} {
		if values[name] != want {
			t.Errorf("%s=%s, want %s", name, values[name], want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("the exposure is not looked at: %v", err)
		return
	}
	if said, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=20", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
