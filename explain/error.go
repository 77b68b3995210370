package explain

// Error is a failure whose cause is known, as an error.
type Error struct {
	// Diagnosis is never nil.
	Diagnosis *Diagnosis
	Err       error // what led to it; may be nil
}

// Error is the sentence of the diagnosis and its remedy.
func (e *Error) Error() string {
	if remedy := e.Diagnosis.Remedy(); remedy != "" {
		return e.Diagnosis.Text + "; " + remedy
	}
	return e.Diagnosis.Text
}

// Unwrap is what led to it.
func (e *Error) Unwrap() error { return e.Err }
