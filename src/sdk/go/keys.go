package tokens

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// As long as this keys are believed without asking again.
	freshFor = 10 * time.Minute
	// What was believed goes on being so while the gateway does not answer.
	staleForMax = 24 * time.Hour
	// Who makes up key ids does not make us ask more often than this.
	fetchEvery   = 30 * time.Second
	fetchTimeout = 5 * time.Second
	keyBytesMax  = 64 * 1024
	keysMax      = 32
)

// keySet is a gateway's key set, fetched and kept; a key that it lists no more is believed no more.
type keySet struct {
	url       string
	client    *http.Client
	now       func() time.Time
	mutex     sync.Mutex
	known     map[string]ed25519.PublicKey
	fetchedAt time.Time
	triedAt   time.Time
}

func (k *keySet) find(kid string) (ed25519.PublicKey, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	_, isKnown := k.known[kid]
	isWanted := !isKnown || k.now().Sub(k.fetchedAt) >= freshFor
	if isWanted && k.now().Sub(k.triedAt) >= fetchEvery {
		k.triedAt = k.now()
		known, err := k.fetch()
		if err == nil {
			k.known, k.fetchedAt = known, k.now()
		} else if !isKnown {
			return nil, &Refused{KeysUnavailable, "The gateway's keys cannot be fetched.", err}
		}
	}
	if k.now().Sub(k.fetchedAt) >= staleForMax {
		return nil, refuse(KeysUnavailable, "The gateway's keys cannot be fetched.")
	}
	key, isThere := k.known[kid]
	if !isThere {
		return nil, refuse(Key, "The token is signed with a key that is not the gateway's.")
	}
	return key, nil
}

func (k *keySet) fetch() (map[string]ed25519.PublicKey, error) {
	// The keys serve everyone: a caller who goes away does not take them along.
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers HTTP %d", k.url, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, keyBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(body) > keyBytesMax {
		return nil, errors.New("the key set is too large")
	}
	return readKeySet(body)
}

func readKeySet(body []byte) (map[string]ed25519.PublicKey, error) {
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X string }
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		return nil, errors.New("that is no key set")
	}
	known := map[string]ed25519.PublicKey{}
	for index, entry := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(entry.X)
		// Keys for other purposes stand in the same set.
		if index >= keysMax || err != nil || entry.Kty != "OKP" || entry.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize {
			continue
		}
		known[entry.Kid] = x
	}
	return known, nil
}

func withoutRedirects(client *http.Client) *http.Client {
	own := http.Client{}
	if client != nil {
		own = *client
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}
