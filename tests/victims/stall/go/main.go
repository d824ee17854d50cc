// stall PORT SECONDS PATIENCE STALL CONNECTIONS: as client.js, by net/http.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	big   = 3 << 20
	small = 17
)

type told struct {
	Requests int     `json:"requests"`
	Failures int     `json:"failures"`
	Stalls   int     `json:"stalls"`
	Longest  float64 `json:"longest"`
}

func number(at int) float64 {
	value, err := strconv.ParseFloat(os.Args[at], 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func ask(client *http.Client, url string, size int64) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.Copy(io.Discard, answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != 200 || got != size {
		return fmt.Errorf("status %d, %d bytes", answer.StatusCode, got)
	}
	return nil
}

func main() {
	connections := int(number(5))
	seconds := func(at int) time.Duration { return time.Duration(number(at) * float64(time.Second)) }
	length, patience, stall := seconds(2), seconds(3), seconds(4)
	client := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}
	var sum told
	var lock sync.Mutex
	var group sync.WaitGroup
	end := time.Now().Add(length)
	for at := 0; at < connections; at++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := 0; time.Now().Before(end); number++ {
				path, size := "/small.txt", int64(small)
				if number%4 == 0 {
					path, size = "/big.bin", int64(big)
				}
				begun := time.Now()
				err := ask(client, "http://127.0.0.1:"+os.Args[1]+path, size)
				took := time.Since(begun)
				lock.Lock()
				sum.Requests++
				if err != nil {
					fmt.Fprintln(os.Stderr, "go", number, err)
					sum.Failures++
				}
				if took >= stall {
					sum.Stalls++
				}
				if took.Seconds() > sum.Longest {
					sum.Longest = took.Seconds()
				}
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	line, _ := json.Marshal(sum)
	fmt.Println(string(line))
}
