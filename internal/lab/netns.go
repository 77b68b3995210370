//go:build linux

package lab

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newNamespace makes a network namespace without a name. It exists until the handle is closed and the last process
// and socket in it are gone.
func newNamespace() (ns netns.NsHandle, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return netns.None(), fmt.Errorf("network namespace: %w", err)
	}
	defer home.Close()
	ns, err = netns.New()
	if err != nil {
		return netns.None(), fmt.Errorf("network namespace: %w", err)
	}
	if err := netns.Set(home); err != nil {
		// The thread is in a namespace it cannot leave; nothing sensible can run on it any more.
		panic(fmt.Sprintf("cannot return to the host's network namespace: %v", err))
	}
	return ns, nil
}

// inNS runs f on this goroutine inside the network namespace. Sockets that f opens stay there; goroutines that f
// starts do not run there.
func inNS(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(fmt.Sprintf("cannot return to the host's network namespace: %v", err))
		}
	}()
	return f()
}

// onOwnThread runs f in a goroutine whose thread belongs to it alone and ends with it, so that f may change what
// cannot be changed back.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and what it is changed to shows as /proc/self. Holding it here makes the
			// next goroutine run on another one.
			defer runtime.UnlockOSThread()
			done := make(chan struct{})
			onOwnThread(func() { defer close(done); f() })
			<-done
			return
		}
		f()
	}()
}
