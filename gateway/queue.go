package gateway

import "sync"

// queue holds what waits for whoever takes it. It has no limit of its own and never blocks who puts.
type queue[T any] struct {
	// some can be received from when there may be something to take.
	some chan struct{}

	mu   sync.Mutex
	list []T
}

func newQueue[T any]() *queue[T] { return &queue[T]{some: make(chan struct{}, 1)} }

func (q *queue[T]) put(x T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, x)
	q.signal()
}

// take takes the first; ok is false if somebody else was faster.
func (q *queue[T]) take() (x T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return x, false
	}
	x, q.list = q.list[0], q.list[1:]
	if len(q.list) > 0 {
		q.signal()
	}
	return x, true
}

func (q *queue[T]) signal() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}
