package tokens

// Reason says why a call was refused.
type Reason string

const (
	Missing   Reason = "missing"
	Malformed Reason = "malformed"
	Algorithm Reason = "algorithm"
	Type      Reason = "type"
	Key       Reason = "key"
	Signature Reason = "signature"
	Issuer    Reason = "issuer"
	Audience  Reason = "audience"
	Expired   Reason = "expired"
	NotYet    Reason = "not-yet"
	Body      Reason = "body"
	Replayed  Reason = "replayed"
	// KeysUnavailable is not the caller's fault: the gateway's keys could not be fetched.
	KeysUnavailable Reason = "keys-unavailable"
)

// Refused is the error of a call that is not one of the gateway's.
type Refused struct {
	Reason  Reason
	Message string
	Cause   error
}

func (r *Refused) Error() string { return r.Message }

func (r *Refused) Unwrap() error { return r.Cause }

func refuse(reason Reason, message string) error {
	return &Refused{Reason: reason, Message: message}
}
