"""Puts jobs while it serves: `/put/KIND/ID` asks the library named in argv[2] for a job of this kind. A thread for each connection.

Usage: shop.py PORT MODULE. REDIS_PORT is the broker's port. The module has `put(kind, ident)`.
"""

import importlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

jobs = importlib.import_module(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, _, kind, ident = self.path.split("/", 3)
        jobs.put(kind, ident)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"put")

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
