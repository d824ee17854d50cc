"""A server that fails before it does well.

Usage: flaky.py PORT. /fail/HOW/TIMES/…: of each customer (header X-Customer), the first TIMES requests with that method and path
fail: HOW is a status, `close` (no answer) or `hang` (an answer after a second).
"""

import collections
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen = collections.Counter()
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def serve(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, kind, how, times, *_ = self.path.split("/")
        with lock:
            key = (self.headers.get("X-Customer"), self.command, self.path)
            seen[key] += 1
            fails = kind == "fail" and seen[key] <= int(times)
        if not fails:
            self.answer(200)
        elif how == "close":
            self.close_connection = True
        elif how == "hang":
            time.sleep(1)
            self.close_connection = True
        else:
            self.answer(int(how))

    do_GET = do_POST = serve

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
