// nats.go: a queue group without JetStream; with it, N goroutines of each worker fetch one message at a time.
package main

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var core *nats.Conn
var stream jetstream.JetStream

func openNats(broker string) (err error) {
	core, err = nats.Connect("nats://" + broker)
	return err
}

func putNats(body string) error {
	if err := core.Publish("mails."+ident(body), []byte(body)); err != nil {
		return err
	}
	return core.Flush()
}

func workNats(int) error {
	_, err := core.QueueSubscribe("mails.*", "mailers", func(message *nats.Msg) {
		attempt(string(message.Data), false)
	})
	if err != nil {
		return err
	}
	return core.Flush()
}

func openStream(broker string) (err error) {
	if err = openNats(broker); err != nil {
		return err
	}
	stream, err = jetstream.New(core)
	return err
}

func putStream(body string) error {
	_, err := stream.Publish(context.Background(), "mails."+ident(body), []byte(body))
	return err
}

func workStream(count int) error {
	all := context.Background()
	_, err := stream.CreateOrUpdateStream(all, jetstream.StreamConfig{Name: "MAILS", Subjects: []string{"mails.>"}})
	if err != nil {
		return err
	}
	consumer, err := stream.CreateOrUpdateConsumer(all, "MAILS", jetstream.ConsumerConfig{Durable: "mailers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return err
	}
	for range count {
		go func() {
			for {
				batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(2*time.Second))
				if err != nil {
					continue
				}
				for message := range batch.Messages() {
					told, err := message.Metadata()
					if attempt(string(message.Data()), err == nil && told.NumDelivered > 1) {
						message.Ack()
					} else {
						message.Nak()
					}
				}
			}
		}()
	}
	return nil
}
