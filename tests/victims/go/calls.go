// What /work/SHAPE/ID calls of the leaf, and how: every call is GET /leaf/ID/N, so that its path says whose it is.
package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

var (
	leafURL   = os.Getenv("LEAF_URL")
	jitter, _ = strconv.Atoi(os.Getenv("LEAF_JITTER_MS"))
	ordinary  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	two       = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2, MaxConnsPerHost: 2}}
)

func get(client *http.Client, url string) {
	answer, err := client.Get(url)
	if err != nil {
		return
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

func leaf(id string, step int, query string) string {
	return fmt.Sprintf("%s/leaf/%s/%d%s", leafURL, id, step, query)
}

// An address of this host that belongs to the one request, and port 2, where nobody listens.
func refused(id string) string {
	low, _ := strconv.ParseUint(id[len(id)-4:], 16, 16)
	return fmt.Sprintf("http://127.1.%d.%d:2/leaf/%s/2", low>>8, low&255, id)
}

// Some milliseconds, not the same for all.
func pause(id string) {
	low, _ := strconv.ParseUint(id[len(id)-2:], 16, 8)
	time.Sleep(time.Duration(1+low%8) * time.Millisecond)
}

func atOnce(client *http.Client, id string, calls int) {
	var all sync.WaitGroup
	for step := 0; step < calls; step++ {
		all.Add(1)
		go func(step int) {
			defer all.Done()
			get(client, leaf(id, step, ""))
		}(step)
	}
	all.Wait()
}

func work(shape, id string) {
	switch shape {
	case "seq":
		for step := 0; step < 3; step++ {
			get(ordinary, leaf(id, step, ""))
		}
	case "fanout":
		atOnce(ordinary, id, 4)
	case "timer":
		get(ordinary, leaf(id, 0, ""))
		pause(id)
		get(ordinary, leaf(id, 1, ""))
	case "pool":
		atOnce(two, id, 3)
	case "fail":
		get(ordinary, leaf(id, 0, "?fail=500"))
		get(ordinary, leaf(id, 1, "?fail=close"))
		get(ordinary, refused(id))
	case "background":
		go func() {
			pause(id)
			get(ordinary, leaf(id, 0, ""))
		}()
	}
}

// The leaf's side: late by a time that the path gives, or a failure when it is asked for one.
func answerLeaf(w http.ResponseWriter, r *http.Request) {
	if jitter > 0 {
		sum := fnv.New32a()
		io.WriteString(sum, r.URL.Path)
		time.Sleep(time.Duration(sum.Sum32()%uint32(jitter*1000)) * time.Microsecond)
	}
	switch r.URL.Query().Get("fail") {
	case "500":
		w.WriteHeader(http.StatusInternalServerError)
	case "close":
		if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
			connection.Close()
		}
		return
	}
	fmt.Fprint(w, "leaf ", r.URL.Path)
}
