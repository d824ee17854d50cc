// SQS' interface by net/http alone: N goroutines of each worker take one message at a time; one that failed comes again after its visibility time-out.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

var sqsURL, queueURL string

type sqsMessage struct {
	Body, ReceiptHandle string
	Attributes          map[string]string
}

type sqsAnswer struct {
	QueueUrl string
	Messages []sqsMessage
}

func sqsCall(action string, fields map[string]any) (answer sqsAnswer, err error) {
	if queueURL != "" {
		fields["QueueUrl"] = queueURL
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequest("POST", sqsURL, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	request.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || len(text) == 0 {
		return answer, err
	}
	return answer, json.Unmarshal(text, &answer)
}

func openSqs(broker string) error {
	sqsURL = "http://" + broker + "/"
	answer, err := sqsCall("GetQueueUrl", map[string]any{"QueueName": "mails"})
	queueURL = answer.QueueUrl
	return err
}

func putSqs(body string) error {
	_, err := sqsCall("SendMessage", map[string]any{"MessageBody": body})
	return err
}

func workSqs(count int) error {
	for range count {
		go func() {
			for {
				answer, err := sqsCall("ReceiveMessage", map[string]any{"WaitTimeSeconds": 2, "AttributeNames": []string{"ApproximateReceiveCount"}})
				if err != nil {
					continue
				}
				for _, message := range answer.Messages {
					if attempt(message.Body, message.Attributes["ApproximateReceiveCount"] != "1") {
						sqsCall("DeleteMessage", map[string]any{"ReceiptHandle": message.ReceiptHandle})
					}
				}
			}
		}()
	}
	return nil
}
