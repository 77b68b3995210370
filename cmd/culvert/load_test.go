package main

import "testing"

// TestNoFile: without a file there is an empty configuration, and it names no file.
func TestNoFile(t *testing.T) {
	conf, warnings, err := loadFile("")
	if err != nil || len(warnings) > 0 || len(conf.Connections) > 0 || len(conf.Files) > 0 {
		t.Errorf("%+v %v %v", conf, warnings, err)
	}
	if _, _, err := loadFile("/nonexistent/culvert.conf"); err == nil {
		t.Error("a file that is not there is read")
	}
}
