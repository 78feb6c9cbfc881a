// Package tokens tells the calls of a Millicent gateway from everybody else's.
package tokens

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	tokenType        = "mcp-call+jwt"
	lifetime         = 15 * time.Minute
	defaultClockSkew = 30 * time.Second
	tokenLengthMax   = 4096
)

// Call is a call that the gateway vouches for.
type Call struct {
	Audience string
	// Subject is the same for the same payer at your server, and nowhere else.
	Subject string
	// Tier says how the call is paid: free, key, credential, or gateway, which looks what you offer.
	Tier      string
	TokenID   string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// CallDigest is SHA-256 over what was bought, hex, as it stands in the receipt; empty for the gateway's own.
	CallDigest string
}

// Options say whose tokens are taken.
type Options struct {
	// Issuer is the gateway's public address, such as https://gateway.example.
	Issuer string
	// Audience holds the ids of your servers in its catalog.
	Audience []string
	// JWKSURL is where its keys are, if not at /.well-known/jwks.json.
	JWKSURL string
	// Replays refuses tokens that were used before in this process; none when nil.
	Replays *ReplayCache
	// ClockSkew is how far the clocks may be apart; 30 seconds when zero.
	ClockSkew time.Duration
	Now       func() time.Time
	Client    *http.Client
}

// Verifier tells a gateway's requests from everybody else's (RFC 7515, RFC 7519, RFC 8037).
type Verifier struct {
	options Options
	keys    *keySet
}

// NewVerifier makes a verifier; it fetches nothing before the first call.
func NewVerifier(options Options) *Verifier {
	options.Issuer = strings.TrimRight(options.Issuer, "/")
	if options.JWKSURL == "" {
		options.JWKSURL = options.Issuer + "/.well-known/jwks.json"
	}
	if options.ClockSkew == 0 {
		options.ClockSkew = defaultClockSkew
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	keys := &keySet{url: options.JWKSURL, client: withoutRedirects(options.Client), now: options.Now}
	return &Verifier{options, keys}
}

type claims struct {
	Iss, Aud, Sub, Tier, Jti, Req, Call string
	Iat, Exp                            *float64
	Nbf                                 *float64
}

// Verify says what the gateway says of a request; its error is a *Refused. The body is taken byte for byte as it came.
func (v *Verifier) Verify(authorization string, body []byte) (*Call, error) {
	token, isBearer := readBearer(authorization)
	if !isBearer {
		return nil, refuse(Missing, "There is no token.")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, refuse(Malformed, "The token is not a compact JWS.")
	}
	if err := v.checkSignature(parts); err != nil {
		return nil, err
	}
	var said claims
	if err := readJSON(parts[1], &said); err != nil {
		return nil, err
	}
	if err := v.checkClaims(said); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(body)
	expected := base64.RawURLEncoding.EncodeToString(digest[:])
	if subtle.ConstantTimeCompare([]byte(expected), []byte(said.Req)) != 1 {
		return nil, refuse(Body, "The token was made for another body.")
	}
	call := toCall(said)
	if v.options.Replays != nil && !v.options.Replays.Take(call.TokenID, call.ExpiresAt, v.options.Now()) {
		return nil, refuse(Replayed, "The token was used before.")
	}
	return call, nil
}

func (v *Verifier) checkSignature(parts []string) error {
	var header struct {
		Alg, Typ, Kid string
		Crit          json.RawMessage
	}
	if err := readJSON(parts[0], &header); err != nil {
		return err
	}
	// The algorithm is ours to say, never the token's.
	if header.Alg != "EdDSA" {
		return refuse(Algorithm, "The token is not signed with EdDSA.")
	}
	if header.Typ != tokenType || header.Crit != nil {
		return refuse(Type, "The token is not a "+tokenType+".")
	}
	key, err := v.keys.find(header.Kid)
	if err != nil {
		return err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return refuse(Malformed, "The token is not base64url.")
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return refuse(Signature, "The token's signature is wrong.")
	}
	return nil
}

func (v *Verifier) checkClaims(said claims) error {
	if said.Iss != v.options.Issuer {
		return refuse(Issuer, "The token is another gateway's.")
	}
	if !contains(v.options.Audience, said.Aud) {
		return refuse(Audience, "The token is for another server.")
	}
	if said.Iat == nil || said.Exp == nil || said.Jti == "" || said.Sub == "" {
		return refuse(Malformed, "The token lacks a claim.")
	}
	if !contains([]string{"free", "key", "credential", "gateway"}, said.Tier) {
		return refuse(Malformed, "The token has no tier that is known here.")
	}
	now, skew := v.options.Now(), v.options.ClockSkew
	issuedAt := toTime(*said.Iat)
	if !now.Before(toTime(*said.Exp).Add(skew)) || now.After(issuedAt.Add(lifetime+skew)) {
		return refuse(Expired, "The token has expired.")
	}
	if issuedAt.After(now.Add(skew)) || (said.Nbf != nil && toTime(*said.Nbf).After(now.Add(skew))) {
		return refuse(NotYet, "The token is not valid yet.")
	}
	return nil
}

func readBearer(value string) (string, bool) {
	const scheme = "bearer "
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	token := strings.TrimLeft(value[len(scheme):], " ")
	return token, token != "" && len(token) <= tokenLengthMax
}

func readJSON(part string, into interface{}) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return refuse(Malformed, "The token is not base64url.")
	}
	if err := json.Unmarshal(text, into); err != nil {
		return refuse(Malformed, "The token is not JSON.")
	}
	return nil
}

func toCall(said claims) *Call {
	return &Call{
		Audience: said.Aud, Subject: said.Sub, Tier: said.Tier, TokenID: said.Jti,
		IssuedAt: toTime(*said.Iat), ExpiresAt: toTime(*said.Exp), CallDigest: said.Call,
	}
}

func toTime(seconds float64) time.Time { return time.Unix(int64(seconds), 0) }

func contains(list []string, wanted string) bool {
	for _, item := range list {
		if item == wanted {
			return true
		}
	}
	return false
}
