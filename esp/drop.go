package esp

// Drop is the reason why Open refused a packet. It is an error; compare it with ==, or errors.Is.
type Drop uint8

// The reasons. Up to ErrIntegrity anyone on the network can cause them; the later ones need the peer's key,
// so they tell of a peer that errs, save for ErrDummy, which is not an error at all (RFC 4303 2.6).
const (
	// ErrShort is a packet too short to hold what its cipher needs.
	ErrShort Drop = iota + 1
	// ErrSPI is a packet of another SA; whoever looked up the SA erred.
	ErrSPI
	// ErrExpired is a packet that came after a hard limit of the SA was reached.
	ErrExpired
	// ErrReplay is a sequence number that was received before.
	ErrReplay
	// ErrOld is a sequence number left of the replay window; many of them without an attack mean that
	// the network reorders more than the window allows.
	ErrOld
	// ErrIntegrity is a packet whose ICV does not fit: damaged, forged, sealed with other keys, or not made
	// of whole cipher blocks.
	ErrIntegrity
	// ErrPadding is padding longer than the packet or not the bytes 1, 2, 3 ... (RFC 4303 2.4).
	ErrPadding
	// ErrNextHeader is a payload that is neither IPv4 nor IPv6: no tunnel mode packet.
	ErrNextHeader
	// ErrInner is an inner packet of another IP version than the next header says, with an impossible
	// header length, or shorter than it claims.
	ErrInner
	// ErrDummy is a packet that carries nothing, sent to hide how much is sent. Drop it in silence.
	ErrDummy

	dropEnd // one more than the last reason
)

// String is the reason in one word, fit to label a counter.
func (d Drop) String() string {
	switch d {
	case ErrShort:
		return "short"
	case ErrSPI:
		return "spi"
	case ErrExpired:
		return "expired"
	case ErrReplay:
		return "replay"
	case ErrOld:
		return "old"
	case ErrIntegrity:
		return "integrity"
	case ErrPadding:
		return "padding"
	case ErrNextHeader:
		return "next-header"
	case ErrInner:
		return "inner"
	case ErrDummy:
		return "dummy"
	}
	return "unknown"
}

// Error is the reason as a sentence.
func (d Drop) Error() string {
	switch d {
	case ErrShort:
		return "esp: packet is too short for its cipher"
	case ErrSPI:
		return "esp: packet belongs to another SA"
	case ErrExpired:
		return "esp: SA has reached its hard limit"
	case ErrReplay:
		return "esp: sequence number was received before"
	case ErrOld:
		return "esp: sequence number is left of the replay window"
	case ErrIntegrity:
		return "esp: integrity check failed"
	case ErrPadding:
		return "esp: padding is malformed"
	case ErrNextHeader:
		return "esp: payload is not an IP packet"
	case ErrInner:
		return "esp: inner packet is malformed or truncated"
	case ErrDummy:
		return "esp: dummy packet"
	}
	return "esp: unknown reason"
}
