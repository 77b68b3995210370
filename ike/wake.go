package ike

// woke finds out which peers are still there, and ends all waits.
func (e *Endpoint) woke() {
	for sa := range e.order.all() {
		sa.woke()
		e.touch(sa)
	}
	for _, k := range e.keepers {
		k.attempts, k.notYet = 0, zeroTime
		for _, c := range k.children {
			c.attempts, c.notYet = 0, zeroTime
		}
		k.changed()
	}
}

// woke asks for a sign of life. What is unanswered has had no chance to be: it is sent again, and waited for as if for the first time.
func (sa *ikeSA) woke() {
	for _, r := range sa.win.out {
		r.sends = 0
		sa.retransmit(r)
	}
	sa.awaitAnswers()
	if sa.isCurrent() && !sa.isAsking() {
		sa.enqueueFirst(&alive{})
	}
}
