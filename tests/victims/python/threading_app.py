"""The http.server victim: a ThreadingHTTPServer application, one thread per connection, urllib as its client.

Usage: threading_app.py PORT. LEAF_URL names the server that /work calls.
"""

import os
import socket
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import shapes

LEAF = os.environ.get("LEAF_URL", "")
pooled = shapes.TwoConnections()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.startswith("http://"):
            path = "/" + path.split("/", 3)[3]
        parts = path.strip("/").split("/")
        if parts[0] == "work" and len(parts) == 3:
            shapes.work(parts[1], parts[2], shapes.by_urllib, pooled)
            self.answer(200, b"worked")
        elif parts[0] == "work":
            with urllib.request.urlopen(f"{LEAF}/leaf/{parts[1]}/0", timeout=60) as leaf:
                self.answer(200, b"worked " + leaf.read())
        elif parts[0] == "slow":
            time.sleep(float(query[3:] or 300) / 1000 if query.startswith("ms=") else 0.3)
            self.answer(200, b"slow")
        elif parts[0] == "status":
            self.answer(int(parts[1]), b"status")
        elif parts[0] == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            for part in range(5):
                line = f"part {part}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\nX-Sum: 35\r\n\r\n")
        elif parts[0] == "big":
            size = int(parts[1])
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            block = b"x" * 65536
            while size > 0:
                self.wfile.write(block[:size])
                size -= len(block)
        elif parts[0] == "ws":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            self.end_headers()
            self.wfile.write(b"\x81\x05hello")
            self.wfile.flush()
            self.close_connection = True
        elif parts[0] == "dropped":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.answer(200, b"leaf " + path.encode())

    do_HEAD = do_GET

    def do_POST(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            size = 0
            while True:
                chunk = int(self.rfile.readline().split(b";")[0], 16)
                while chunk == 0:
                    if self.rfile.readline() in (b"\r\n", b""):
                        return self.answer(200, str(size).encode())
                size += len(self.rfile.read(chunk))
                self.rfile.readline()
        size = len(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.answer(200, str(size).encode())

    def do_CONNECT(self):
        host, _, port = self.path.rpartition(":")
        upstream = socket.create_connection((host.strip("[]"), int(port)))
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        request = self.connection.recv(65536)
        upstream.sendall(request)
        while block := upstream.recv(65536):
            self.connection.sendall(block)
        self.close_connection = True

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Server6(Server):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
(Server6 if ":" in host else Server)((host, int(sys.argv[1])), Handler).serve_forever()
