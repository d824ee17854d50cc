// The demo's prices: Go's net/http. Usage: price ADDRESS:PORT.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	http.HandleFunc("/price/", func(w http.ResponseWriter, r *http.Request) {
		product, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/price/"))
		if err != nil {
			http.Error(w, "not a number", http.StatusBadRequest)
			return
		}
		time.Sleep(2 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"cents\": %d}\n", 199+product*7%500)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
