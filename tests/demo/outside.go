// The demo's world outside: a mail provider, and a card processor that charges but is late with its first answer, and calls
// back a second later. Usage: outside ADDRESS:PORT WEBHOOK-URL.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

func main() {
	var lock sync.Mutex
	charged := map[string]int{}
	http.HandleFunc("/mails", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	})
	http.HandleFunc("/charges", func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		lock.Lock()
		charged[key]++
		times := charged[key]
		lock.Unlock()
		if times == 1 {
			time.Sleep(300 * time.Millisecond)
		} else {
			time.AfterFunc(time.Second, func() { tell(key, times) })
		}
		fmt.Fprintf(w, "{\"charged\": %d}\n", times)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}

// tell calls the shop's webhook.
func tell(key string, times int) {
	request, err := http.NewRequest(http.MethodPost, os.Args[2], nil)
	if err != nil {
		log.Print(err)
		return
	}
	request.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Print(err)
		return
	}
	answer.Body.Close()
	log.Printf("%s was charged %d times", key, times)
}
