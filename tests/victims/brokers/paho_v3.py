"""paho with MQTT 3.1.1, QoS 1, a shared subscription. Worker: paho_v3.py N."""

import os

import paho.mqtt.client as mqtt

from calls import REDIS_PORT, attempt

PROTOCOL = mqtt.MQTTv311
client = None


def connected(name):
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"{name}{os.getpid()}", protocol=PROTOCOL)
    made.connect("127.0.0.1", REDIS_PORT)
    return made


def put(kind, ident):
    global client
    if client is None:
        client = connected("shop")
        client.loop_start()
    client.publish(f"mails/{ident}", f"{kind} {ident}", qos=1).wait_for_publish(20)


def main():
    worker = connected("worker")
    worker.on_message = lambda client, own, message: attempt(message.payload, False)
    worker.on_subscribe = lambda *_: print("ready", flush=True)
    worker.subscribe("$share/mailers/mails/+", qos=1)
    worker.loop_forever()


if __name__ == "__main__":
    main()
