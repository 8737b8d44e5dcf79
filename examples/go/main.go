// A Go service that accepts grantd's tokens, with the standard library alone: it verifies them offline, and guards routes by
// scope. `go run .`
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
)

type item struct {
	Name  string  `json:"name"`
	Price float64 `json:"price"`
}

func main() {
	issuer := env("ISSUER", "http://127.0.0.1:8080")
	guard := NewGuard(issuer, env("AUDIENCE", issuer))

	http.Handle("/protected", guard.Require(func(w http.ResponseWriter, r *http.Request) {
		claims := ClaimsOf(r)
		name := claims.Username
		if name == "" {
			name = claims.Subject
		}
		write(w, map[string]string{"message": "Hello, " + name + "! You are authenticated."})
	}))

	list := guard.Require(func(w http.ResponseWriter, r *http.Request) {
		write(w, []item{{"lamp", 9.5}})
	}, "items:read")
	add := guard.Require(func(w http.ResponseWriter, r *http.Request) {
		var added item
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&added); err != nil {
			http.Error(w, "malformed JSON", http.StatusBadRequest)
			return
		}
		write(w, added)
	}, "items:write")
	http.HandleFunc("/items", func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			list.ServeHTTP(w, r)
		case http.MethodPost:
			add.ServeHTTP(w, r)
		default:
			w.Header().Set("Allow", "GET, POST")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})

	log.Fatal(http.ListenAndServe("127.0.0.1:"+env("PORT", "3000"), nil))
}

func write(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}
