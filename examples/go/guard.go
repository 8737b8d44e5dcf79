package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The clocks of issuer and service may differ by so much.
const leeway = 30 * time.Second

// After a fetch of the keys, whether it failed or not, the next one has to wait: tokens with made-up key ids must not turn
// into requests.
const coolDown = 10 * time.Second

// Keys are fetched again after this time, so that a key that the issuer has retired is not accepted for longer. While the issuer
// does not answer, the old ones stay.
const maxAge = 5 * time.Minute

var (
	errInvalid     = errors.New("invalid token")
	errUnavailable = errors.New("the issuer's keys are not available")
)

// Claims of an access token (RFC 9068).
type Claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	ID        string   `json:"jti"`
	ClientID  string   `json:"client_id"`
	Scope     string   `json:"scope"`
	Username  string   `json:"username"`
}

// One text or a list of them (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// Guard verifies the ES256 tokens of one issuer. It fetches the issuer's keys when it needs them, and caches them.
type Guard struct {
	issuer, audience string
	client           http.Client

	mutex  sync.RWMutex
	keys   map[string]*ecdsa.PublicKey
	stored time.Time

	fetching sync.Mutex
	fetched  time.Time
	failed   error
}

// NewGuard returns a guard that accepts tokens of this issuer for this audience.
func NewGuard(issuer, audience string) *Guard {
	client := http.Client{
		Timeout: 5 * time.Second,
		// A redirect could lead to keys of somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Guard{issuer: issuer, audience: audience, client: client}
}

type claimsKey struct{}

// ClaimsOf returns the claims of the token that [Guard.Require] accepted for this request.
func ClaimsOf(r *http.Request) Claims {
	claims, _ := r.Context().Value(claimsKey{}).(Claims)
	return claims
}

// Require calls next if the request has a valid token with all these scopes.
func (g *Guard) Require(next http.HandlerFunc, needed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			refuse(w, http.StatusUnauthorized, `realm="shop"`)
			return
		}
		claims, err := g.verify(token, time.Now())
		switch {
		case errors.Is(err, errUnavailable):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case err != nil:
			refuse(w, http.StatusUnauthorized, `error="invalid_token"`)
		case !hasAll(strings.Fields(claims.Scope), needed):
			refuse(w, http.StatusForbidden, fmt.Sprintf(`error="insufficient_scope", scope="%s"`, strings.Join(needed, " ")))
		default:
			next(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims)))
		}
	})
}

func refuse(w http.ResponseWriter, status int, challenge string) {
	w.Header().Set("WWW-Authenticate", "Bearer "+challenge)
	http.Error(w, challenge, status)
}

func hasAll(has, needed []string) bool {
	for _, scope := range needed {
		if !contains(has, scope) {
			return false
		}
	}
	return true
}

func contains(list []string, text string) bool {
	for _, entry := range list {
		if entry == text {
			return true
		}
	}
	return false
}

func (g *Guard) verify(token string, now time.Time) (Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, errInvalid
	}
	var header struct {
		Algorithm string          `json:"alg"`
		Type      string          `json:"typ"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"`
	}
	var claims Claims
	if decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return Claims{}, errInvalid
	}
	// The type keeps other JWTs of the issuer out (RFC 9068 §4).
	if header.Algorithm != "ES256" || !strings.EqualFold(header.Type, "at+jwt") || header.Critical != nil {
		return Claims{}, errInvalid
	}
	key, err := g.key(header.KeyID, now)
	if err != nil {
		return Claims{}, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return Claims{}, errInvalid
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return Claims{}, errInvalid
	}
	expired := !now.Before(time.Unix(claims.Expires, 0).Add(leeway))
	latest := now.Add(leeway).Unix()
	early := claims.IssuedAt == 0 || claims.IssuedAt > latest || claims.NotBefore > latest
	if expired || early || claims.Issuer != g.issuer || !contains(claims.Audience, g.audience) {
		return Claims{}, errInvalid
	}
	if claims.Subject == "" || claims.ID == "" || claims.ClientID == "" {
		return Claims{}, errInvalid
	}
	return claims, nil
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// key returns the key with this id, and fetches the keys if it is not among them.
func (g *Guard) key(id string, now time.Time) (*ecdsa.PublicKey, error) {
	if key := g.known(id); key != nil && g.isFresh(now) {
		return key, nil
	}
	// One fetch at a time. Tokens with a known key do not wait for it.
	g.fetching.Lock()
	defer g.fetching.Unlock()
	age := now.Sub(g.fetched)
	if age >= coolDown && (g.known(id) == nil || age >= maxAge) {
		g.fetched = now
		var keys map[string]*ecdsa.PublicKey
		// If the fetch fails, the keys of the last one stay.
		if keys, g.failed = g.fetch(); g.failed == nil {
			g.mutex.Lock()
			g.keys, g.stored = keys, now
			g.mutex.Unlock()
		}
	}
	if key := g.known(id); key != nil {
		return key, nil
	}
	if g.failed != nil {
		return nil, fmt.Errorf("%w: %v", errUnavailable, g.failed)
	}
	return nil, errInvalid
}

// isFresh tells whether the keys were fetched lately.
func (g *Guard) isFresh(now time.Time) bool {
	g.mutex.RLock()
	defer g.mutex.RUnlock()
	return now.Sub(g.stored) < maxAge
}

func (g *Guard) known(id string) *ecdsa.PublicKey {
	g.mutex.RLock()
	defer g.mutex.RUnlock()
	return g.keys[id]
}

func (g *Guard) fetch() (map[string]*ecdsa.PublicKey, error) {
	// Without the request's context: a caller who leaves must not make the fetch fail for all.
	response, err := g.client.Get(g.issuer + "/.well-known/jwks.json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %s", response.Status)
	}
	var set struct {
		Keys []struct {
			KeyID string `json:"kid"`
			Curve string `json:"crv"`
			X     string `json:"x"`
			Y     string `json:"y"`
		} `json:"keys"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<20)).Decode(&set); err != nil {
		return nil, err
	}
	keys := make(map[string]*ecdsa.PublicKey)
	for _, key := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(key.X)
		y, errY := base64.RawURLEncoding.DecodeString(key.Y)
		if key.Curve != "P-256" || errX != nil || errY != nil {
			continue
		}
		public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		if public.Curve.IsOnCurve(public.X, public.Y) {
			keys[key.KeyID] = public
		}
	}
	return keys, nil
}
