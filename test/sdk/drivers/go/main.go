// Verifies what is written to stdin, a JSON line at a time; the first line says whose tokens are taken.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"millicent/tokens"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16*1024*1024)
	lines.Scan()
	var settings struct{ Issuer, Audience, JwksUrl string }
	must(json.Unmarshal(lines.Bytes(), &settings))
	var now time.Time
	verifier := tokens.NewVerifier(tokens.Options{
		Issuer: settings.Issuer, Audience: []string{settings.Audience}, JWKSURL: settings.JwksUrl,
		Replays: tokens.NewReplayCache(), Now: func() time.Time { return now },
	})
	for lines.Scan() {
		var request struct {
			Now                 int64
			Authorization, Body string
		}
		must(json.Unmarshal(lines.Bytes(), &request))
		now = time.Unix(request.Now, 0)
		answer := map[string]interface{}{"verdict": "ok"}
		call, err := verifier.Verify(request.Authorization, []byte(request.Body))
		var refused *tokens.Refused
		if errors.As(err, &refused) {
			answer["verdict"] = refused.Reason
		} else {
			must(err)
			answer["call"] = []string{call.Audience, call.Subject, call.Tier, call.TokenID, call.CallDigest}
		}
		text, err := json.Marshal(answer)
		must(err)
		fmt.Println(string(text))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
