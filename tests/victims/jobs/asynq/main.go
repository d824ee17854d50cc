// asynq: `shop PORT` puts a task of KIND for each `/put/KIND/ID`; `worker N` works on N of them at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

func call(ident string, step int) {
	answer, err := http.Get(fmt.Sprintf("%s/leaf/%s/%d", os.Getenv("LEAF_URL"), ident, step))
	if err != nil {
		return
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

func work(_ context.Context, task *asynq.Task) error {
	call(string(task.Payload()), 0)
	time.Sleep(20 * time.Millisecond)
	call(string(task.Payload()), 1)
	return nil
}

func retry(ctx context.Context, task *asynq.Task) error {
	count, _ := asynq.GetRetryCount(ctx)
	call(string(task.Payload()), count)
	if count == 0 {
		return errors.New("tried again")
	}
	return nil
}

func main() {
	redis := asynq.RedisClientOpt{Addr: "127.0.0.1:" + os.Getenv("REDIS_PORT")}
	if os.Args[1] == "shop" {
		client := asynq.NewClient(redis)
		http.HandleFunc("/put/", func(response http.ResponseWriter, request *http.Request) {
			parts := strings.Split(request.URL.Path, "/")
			if _, err := client.Enqueue(asynq.NewTask(parts[2], []byte(parts[3]))); err != nil {
				http.Error(response, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(response, "put")
		})
		fmt.Println(http.ListenAndServe("127.0.0.1:"+os.Args[2], nil))
		return
	}
	count, _ := strconv.Atoi(os.Args[2])
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency:              count,
		DelayedTaskCheckInterval: 200 * time.Millisecond,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return 100 * time.Millisecond },
	})
	mux := asynq.NewServeMux()
	mux.HandleFunc("work", work)
	mux.HandleFunc("retry", retry)
	if err := server.Start(mux); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	select {}
}
