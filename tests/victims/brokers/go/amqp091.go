// amqp091-go: a channel for each put, confirmed; N goroutines work on messages, acked or given back when they are done.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"
)

var rabbit *amqp.Connection

func openAmqp(broker string) (err error) {
	rabbit, err = amqp.Dial("amqp://guest:guest@" + broker)
	if err != nil {
		return err
	}
	channel, err := rabbit.Channel()
	if err != nil {
		return err
	}
	defer channel.Close()
	_, err = channel.QueueDeclare("mails", true, false, false, false, nil)
	return err
}

func putAmqp(body string) error {
	channel, err := rabbit.Channel()
	if err != nil {
		return err
	}
	defer channel.Close()
	if err := channel.Confirm(false); err != nil {
		return err
	}
	sent, err := channel.PublishWithDeferredConfirm("", "mails", false, false, amqp.Publishing{CorrelationId: ident(body), Body: []byte(body)})
	if err != nil {
		return err
	}
	_, err = sent.WaitContext(context.Background())
	return err
}

func workAmqp(count int) error {
	for range count {
		channel, err := rabbit.Channel()
		if err != nil {
			return err
		}
		channel.Qos(1, 0, false)
		deliveries, err := channel.Consume("mails", "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		go func() {
			for delivery := range deliveries {
				if attempt(string(delivery.Body), delivery.Redelivered) {
					delivery.Ack(false)
				} else {
					delivery.Nack(false, true)
				}
			}
		}()
	}
	return nil
}
