// What the Go programs share: `NAME shop PORT` serves `/put/KIND/ID`; `NAME worker N`; a message is `KIND ID`, and work on it calls `/leaf/ID/N`.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// A library: how it puts a message, and how it works on `count` of them at once; `work` returns when it has begun.
type library struct {
	open func(broker string) error
	put  func(body string) error
	work func(count int) error
}

var libraries = map[string]library{
	"amqp091": {openAmqp, putAmqp, workAmqp},
	"franz":   {openFranz, putFranz, workFranz},
	"nats":    {openNats, putNats, workNats},
	"stream":  {openStream, putStream, workStream},
	"sqs":     {openSqs, putSqs, workSqs},
}

func ident(body string) string {
	_, ident, _ := strings.Cut(body, " ")
	return ident
}

// Returns whether it is done: `again` fails once.
func attempt(body string, again bool) bool {
	kind, ident, _ := strings.Cut(body, " ")
	step := 0
	if again {
		step = 1
	}
	answer, err := http.Get(fmt.Sprintf("%s/leaf/%s/%d", os.Getenv("LEAF_URL"), ident, step))
	if err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	return again || kind != "again"
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	of := libraries[os.Args[1]]
	check(of.open("127.0.0.1:" + os.Getenv("BROKER_PORT")))
	if os.Args[2] == "shop" {
		http.HandleFunc("/put/", func(response http.ResponseWriter, request *http.Request) {
			parts := strings.Split(request.URL.Path, "/")
			if err := of.put(parts[2] + " " + parts[3]); err != nil {
				http.Error(response, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(response, "put")
		})
		check(http.ListenAndServe("127.0.0.1:"+os.Args[3], nil))
	}
	count, _ := strconv.Atoi(os.Args[3])
	check(of.work(count))
	fmt.Println("ready")
	select {}
}
