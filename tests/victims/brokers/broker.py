"""Puts messages while it serves, or works on them. A message is JSON: `{"id": ID, "kind": KIND}`.

Usage: broker.py SYSTEM shop PORT (serves `/put/KIND/ID`, a thread for each connection) or broker.py SYSTEM worker. SYSTEM: rabbitmq (pika),
mosquitto (paho), postgresql (psycopg: SKIP LOCKED). BROKER_PORT, LEAF_URL: where. For `work` the worker calls LEAF_URL/leaf/ID/0 and is done; for
`again` (rabbitmq) it gives the message back after that, and calls /leaf/ID/1 when it comes again; for `killed` (rabbitmq) it kills itself instead, for
`refused` (rabbitmq) it refuses it, and calls /leaf/ID/1 when that comes from the queue of dead letters; for `same` it calls nothing, and the message has no id.
"""

import json
import os
import signal
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ["BROKER_PORT"])


def work(body, again=False):
    """Returns whether it is done."""
    message = json.loads(body)
    if message["kind"] == "same":
        return True
    urllib.request.urlopen("%s/leaf/%s/%d" % (os.environ["LEAF_URL"], message["id"], again)).read()
    return again or message["kind"] != "again"


class Rabbitmq:
    def __init__(self):
        import pika

        self.connect = lambda: pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", PORT))

    def declare(self, channel):
        to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("mails", arguments=to_dead)
        channel.queue_declare("dead")

    def put(self, body):
        connection = self.connect()
        channel = connection.channel()
        self.declare(channel)
        channel.confirm_delivery()
        channel.basic_publish("", "mails", body)
        connection.close()

    def worker(self):
        channel = self.connect().channel()
        self.declare(channel)
        channel.basic_qos(prefetch_count=1)

        def on(channel, method, properties, body):
            is_done = work(body, method.redelivered)
            kind = json.loads(body)["kind"]
            if kind == "killed" and not method.redelivered:
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "refused":
                channel.basic_reject(method.delivery_tag, requeue=False)
            elif is_done:
                channel.basic_ack(method.delivery_tag)
            else:
                channel.basic_nack(method.delivery_tag, requeue=True)

        def on_dead(channel, method, properties, body):
            work(body, True)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("mails", on)
        channel.basic_consume("dead", on_dead)
        print("ready", flush=True)
        channel.start_consuming()


class Mosquitto:
    def put(self, body):
        import paho.mqtt.publish

        paho.mqtt.publish.single("mails", body, qos=1, hostname="127.0.0.1", port=PORT)

    def worker(self):
        import paho.mqtt.client as mqtt

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"worker{os.getpid()}")
        client.on_message = lambda client, data, message: work(message.payload)
        client.on_subscribe = lambda *args: print("ready", flush=True)
        client.connect("127.0.0.1", PORT)
        client.subscribe("mails", qos=1)
        client.loop_forever()


class Postgresql:
    def connect(self):
        import psycopg

        return psycopg.connect("host=127.0.0.1 port=%d user=postgres dbname=postgres" % PORT)

    def put(self, body):
        with self.connect() as connection:
            connection.execute("insert into log (line) values (%s)", ("asked",))
            connection.execute("insert into mails (body) values (%s) returning id", (body.decode(),)).fetchone()

    def worker(self):
        import time

        connection = self.connect()
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(1)")  # Two workers at once.
            connection.execute("create table if not exists mails (id bigserial primary key, body text, state text not null default 'new')")
            connection.execute("create table if not exists log (id bigserial primary key, line text)")
        print("ready", flush=True)
        take = "select id, body from mails where state = 'new' order by id limit 1 for update skip locked"
        while True:
            with connection.transaction():
                row = connection.execute(take).fetchone()
                if row:
                    work(row[1])
                    connection.execute("update mails set state = 'done' where id = %s", (row[0],))
            if not row:
                time.sleep(0.05)


system = {"rabbitmq": Rabbitmq, "mosquitto": Mosquitto, "postgresql": Postgresql}[sys.argv[1]]()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, _, kind, ident = self.path.split("/", 3)
        system.put(json.dumps({"kind": kind, "id": "" if kind == "same" else ident}).encode())
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"put")

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if sys.argv[2] == "worker":
    system.worker()
Server(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
