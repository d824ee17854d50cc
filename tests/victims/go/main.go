// The Go victim: net/http as server and client. Usage: go-victim PORT. LEAF_URL names the server that /work calls;
// LEAF_JITTER_MS is by how much its own /leaf is late at most.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/work/", func(w http.ResponseWriter, r *http.Request) {
		if shape, id, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/work/"), "/"); ok {
			work(shape, id)
			fmt.Fprint(w, "worked")
			return
		}
		answer, err := http.Get(leafURL + "/leaf/" + strings.TrimPrefix(r.URL.Path, "/work/") + "/0")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		fmt.Fprintf(w, "worked %s", body)
	})
	mux.HandleFunc("/slow/", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
		if err != nil {
			ms = 300
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprint(w, "slow")
	})
	mux.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(strings.Split(r.URL.Path, "/")[2])
		w.WriteHeader(code)
		if code != 204 && code != 304 {
			fmt.Fprint(w, "status")
		}
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		size, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, size)
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) {
		for part := 0; part < 5; part++ {
			fmt.Fprintf(w, "part %d\n", part)
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/leaf/", answerLeaf)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "leaf ", r.URL.Path) })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
