// The second Go victim: the ways in which work passes from one goroutine to another. Usage: go-units PORT. LEAF_URL names the
// server that is called; a call's path is /leaf/ID/WORD, where ID is the one of the request that it is made for.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

var leaf = os.Getenv("LEAF_URL")

// One client whose connections are few, so that requests wait for each other's.
var few = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 2, MaxIdleConnsPerHost: 1}}

// One that keeps many, as a service would.
var many = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

func call(client *http.Client, id, word string) {
	answer, err := client.Get(leaf + "/leaf/" + id + "/" + word)
	if err != nil {
		log.Print(err)
		return
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

// A pool that is started by the first request that needs it, and then serves all of them.
var pool = struct {
	sync.Once
	jobs chan func()
}{jobs: make(chan func(), 8)}

func submit(job func()) {
	pool.Do(func() {
		for worker := 0; worker < 4; worker++ {
			go func() {
				for job := range pool.jobs {
					job()
				}
			}()
		}
	})
	done := make(chan struct{})
	pool.jobs <- func() { job(); close(done) }
	<-done
}

// A pool whose goroutines wait for the next job in a select, and are made on demand.
var idle = make(chan chan func(), 64)

func onDemand(job func()) {
	done := make(chan struct{})
	work := func() { job(); close(done) }
	select {
	case worker := <-idle:
		worker <- work
	default:
		worker := make(chan func(), 1)
		worker <- work
		go func() {
			for {
				select {
				case job := <-worker:
					job()
					idle <- worker
				case <-time.After(time.Minute):
					return
				}
			}
		}()
	}
	<-done
}

// A queue behind a lock and a condition.
var queue = struct {
	sync.Once
	sync.Mutex
	*sync.Cond
	jobs []func()
}{}

func enqueue(job func()) {
	queue.Do(func() {
		queue.Cond = sync.NewCond(&queue.Mutex)
		for worker := 0; worker < 4; worker++ {
			go func() {
				for {
					queue.Lock()
					for len(queue.jobs) == 0 {
						queue.Wait()
					}
					job := queue.jobs[0]
					queue.jobs = queue.jobs[1:]
					queue.Unlock()
					job()
				}
			}()
		}
	})
	done := make(chan struct{})
	queue.Lock()
	queue.jobs = append(queue.jobs, func() { job(); close(done) })
	queue.Unlock()
	queue.Signal()
	<-done
}

// A loop that the first request starts and that has nothing to do with it.
var refresher sync.Once

func refresh() {
	n := 0
	for range time.Tick(100 * time.Millisecond) {
		call(many, "none", "refresh")
		if n++; n == 20 {
			return // else it would never get quiet
		}
	}
}

// A request written to the socket by hand.
func raw(id, word string) {
	to, _ := url.Parse(leaf)
	conn, err := net.Dial("tcp", to.Host)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /leaf/%s/%s HTTP/1.1\r\nHost: leaf\r\nConnection: close\r\n\r\n", id, word)
	io.Copy(io.Discard, bufio.NewReader(conn))
}

func main() {
	to, _ := url.Parse(leaf)
	proxy := httputil.NewSingleHostReverseProxy(to)
	mux := http.NewServeMux()
	handle := func(name string, work func(w http.ResponseWriter, r *http.Request, id string)) {
		mux.HandleFunc("/"+name+"/", func(w http.ResponseWriter, r *http.Request) {
			work(w, r, strings.Split(r.URL.Path, "/")[2])
			fmt.Fprint(w, name)
		})
	}
	// Four goroutines at once, two of which ask for more.
	handle("fan", func(w http.ResponseWriter, r *http.Request, id string) {
		var group sync.WaitGroup
		for n := 0; n < 4; n++ {
			group.Add(1)
			go func(n int) {
				defer group.Done()
				call(many, id, fmt.Sprint(n))
				if n%2 == 0 {
					inner := make(chan struct{})
					go func() { call(many, id, fmt.Sprint(n, "inner")); close(inner) }()
					<-inner
				}
			}(n)
		}
		group.Wait()
	})
	// At most two at once, by a semaphore; each waits before it begins.
	handle("limit", func(w http.ResponseWriter, r *http.Request, id string) {
		var group sync.WaitGroup
		tokens := make(chan struct{}, 2)
		tokens <- struct{}{}
		tokens <- struct{}{}
		for n := 0; n < 4; n++ {
			group.Add(1)
			go func(n int) {
				defer group.Done()
				select {
				case <-tokens:
				case <-r.Context().Done():
					return
				}
				time.Sleep(time.Duration(n) * time.Millisecond)
				<-time.After(time.Millisecond)
				call(few, id, fmt.Sprint(n))
				tokens <- struct{}{}
			}(n)
		}
		group.Wait()
	})
	// The answer is given at once, the work is done later.
	handle("after", func(w http.ResponseWriter, r *http.Request, id string) {
		go func() {
			time.Sleep(30 * time.Millisecond)
			call(many, id, "0")
			call(many, id, "1")
		}()
	})
	// A part of the answer is sent before the call is made.
	handle("stream", func(w http.ResponseWriter, r *http.Request, id string) {
		fmt.Fprint(w, "begun ")
		w.(http.Flusher).Flush()
		call(many, id, "0")
	})
	handle("raw", func(w http.ResponseWriter, r *http.Request, id string) { raw(id, "0") })
	handle("rawspawn", func(w http.ResponseWriter, r *http.Request, id string) {
		done := make(chan struct{})
		go func() { raw(id, "0"); close(done) }()
		<-done
	})
	handle("pool", func(w http.ResponseWriter, r *http.Request, id string) {
		submit(func() { call(many, id, "0") })
	})
	handle("demand", func(w http.ResponseWriter, r *http.Request, id string) {
		onDemand(func() { call(many, id, "0") })
	})
	handle("queue", func(w http.ResponseWriter, r *http.Request, id string) {
		enqueue(func() { call(many, id, "0") })
	})
	handle("lazy", func(w http.ResponseWriter, r *http.Request, id string) {
		refresher.Do(func() { go refresh() })
		call(many, id, "0")
	})
	// A connection that is refused, at an address that says which request it was for.
	handle("refused", func(w http.ResponseWriter, r *http.Request, id string) {
		for n := 0; n < 2; n++ {
			answer, err := few.Get("http://" + r.URL.Query().Get("at") + "/leaf/" + id + "/0")
			if err == nil {
				answer.Body.Close()
			}
		}
	})
	// The same request twice, and a copy of it with a deadline of its own.
	handle("clone", func(w http.ResponseWriter, r *http.Request, id string) {
		ask, _ := http.NewRequest("GET", leaf+"/leaf/"+id+"/0", nil)
		for n := 0; n < 2; n++ {
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			answer, err := many.Do(ask.Clone(ctx))
			if err == nil {
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			cancel()
		}
	})
	handle("body", func(w http.ResponseWriter, r *http.Request, id string) {
		text := strings.NewReader(strings.Repeat("x", 100_000))
		answer, err := many.Post(leaf+"/echo?leaf="+id, "text/plain", text)
		if err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	})
	mux.Handle("/leaf/", proxy)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
