// Where the powers of H end in a key.
#define POWERS_END (key_powers + 16*const_powers)
