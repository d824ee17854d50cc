// franz-go: a group's consumer, one message after the other; one that failed is worked on once more at once.
package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var franz *kgo.Client
var kafka string

func openFranz(broker string) (err error) {
	kafka = broker
	franz, err = kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic("mails"), kgo.AllowAutoTopicCreation())
	return err
}

func putFranz(body string) error {
	return franz.ProduceSync(context.Background(), kgo.KeyStringRecord(ident(body), body)).FirstErr()
}

func workFranz(int) error {
	all := context.Background()
	// That it is there already is no error worth a word.
	kadm.NewClient(franz).CreateTopic(all, 4, 1, nil, "mails")
	joined := make(chan bool, 16)
	group, err := kgo.NewClient(
		kgo.SeedBrokers(kafka), kgo.ConsumeTopics("mails"), kgo.ConsumerGroup("mailers"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { joined <- true }),
	)
	if err != nil {
		return err
	}
	go func() {
		for {
			group.PollFetches(all).EachRecord(func(record *kgo.Record) {
				attempt(string(record.Value), false)
				group.CommitRecords(all, record)
			})
		}
	}()
	<-joined
	return nil
}
