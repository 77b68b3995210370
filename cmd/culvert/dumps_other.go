//go:build !linux

package main

// forbidDumps keeps the memory of this process, which holds secrets and keys, from being written to disk when it crashes.
func forbidDumps() error { return noCoreFile() }
