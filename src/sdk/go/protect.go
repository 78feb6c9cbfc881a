package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

const bodyBytesMax = 4 * 1024 * 1024

type contextKey struct{}

// CallFrom is the call that Protect verified; nil elsewhere.
func CallFrom(ctx context.Context) *Call {
	call, _ := ctx.Value(contextKey{}).(*Call)
	return call
}

// Protect puts a verifier before a handler, which reads the body as if nobody had.
func (v *Verifier) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, bodyBytesMax))
		if err != nil {
			http.Error(writer, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		call, err := v.Verify(request.Header.Get("Authorization"), body)
		if err != nil {
			writeRefusal(writer, err)
			return
		}
		request = request.WithContext(context.WithValue(request.Context(), contextKey{}, call))
		request.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(writer, request)
	})
}

func writeRefusal(writer http.ResponseWriter, err error) {
	status := http.StatusUnauthorized
	reason := Malformed
	var refused *Refused
	if errors.As(err, &refused) {
		reason = refused.Reason
	}
	header := writer.Header()
	if reason == KeysUnavailable {
		status = http.StatusServiceUnavailable
		header.Set("Retry-After", "30")
	} else {
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	header.Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(writer).Encode(map[string]string{"error": string(reason), "message": err.Error()})
}
