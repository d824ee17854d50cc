"""client.py asyncio|fionread|upload PORT SECONDS PATIENCE STALL CONNECTIONS: as client.js.

`asyncio` reads by streams. `fionread` asks how many bytes wait (FIONREAD) after each edge-triggered wake-up and reads so many, as nginx does: a kernel
that says that none wait where some do leaves it asleep. `upload` sends large bodies over sockets that block, without a timeout: a read of such a socket
must not end before bytes come.
"""
import array
import asyncio
import fcntl
import http.client
import json
import select
import socket
import sys
import termios
import threading
import time

WAY = sys.argv[1]
PORT = int(sys.argv[2])
SECONDS, PATIENCE, STALL = map(float, sys.argv[3:6])
CONNECTIONS = int(sys.argv[6])
BIG, SMALL = 3 << 20, 17
PER_CONNECTION = 40
END = time.monotonic() + SECONDS

told = {"requests": 0, "failures": 0, "stalls": 0, "longest": 0.0}
lock = threading.Lock()


def tell(begun, is_right):
    took = time.monotonic() - begun
    with lock:
        told["requests"] += 1
        told["failures"] += not is_right
        told["stalls"] += took >= STALL
        told["longest"] = max(told["longest"], took)


def asked(number):
    """The request, and the size of its answer's body."""
    name, size = (b"big.bin", BIG) if number % 4 == 0 else (b"small.txt", SMALL)
    return b"GET /" + name + b" HTTP/1.1\r\nHost: a\r\n\r\n", size


async def over_streams():
    while time.monotonic() < END:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        for number in range(PER_CONNECTION):
            if time.monotonic() >= END:
                break
            begun, (request, size) = time.monotonic(), asked(number)
            try:
                writer.write(request)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                await asyncio.wait_for(reader.readexactly(size), PATIENCE)
                tell(begun, head.startswith(b"HTTP/1.1 200"))
            except Exception as error:  # whatever it is, the request failed
                print(f"asyncio {number}: {error!r}", file=sys.stderr)
                tell(begun, False)
                break
        writer.close()


def waiting(client):
    count = array.array("i", [0])
    fcntl.ioctl(client.fileno(), termios.FIONREAD, count, True)
    return count[0]


def answer(client, ready, size):
    """Reads one answer; False when no wake-up came."""
    head, got, wanted = b"", 0, None
    while wanted is None or got < wanted:
        if not ready.poll(PATIENCE):
            return False
        while count := waiting(client):
            piece = client.recv(count)
            got += len(piece)
            if wanted is None:
                head += piece
                if b"\r\n\r\n" in head:
                    wanted = head.index(b"\r\n\r\n") + 4 + size
    return head.startswith(b"HTTP/1.1 200") and got == wanted


def by_fionread():
    while time.monotonic() < END:
        with socket.create_connection(("127.0.0.1", PORT)) as client, select.epoll() as ready:
            client.setblocking(False)
            ready.register(client.fileno(), select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
            for number in range(PER_CONNECTION):
                if time.monotonic() >= END:
                    break
                begun, (request, size) = time.monotonic(), asked(number)
                try:
                    client.sendall(request)
                    is_right = answer(client, ready, size)
                except OSError as error:
                    print(f"fionread {number}: {error!r}", file=sys.stderr)
                    is_right = False
                tell(begun, is_right)
                if not is_right:
                    break


def by_upload():
    body = b"y" * (2 << 20)
    while time.monotonic() < END:
        client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=None)
        for number in range(PER_CONNECTION):
            if time.monotonic() >= END:
                break
            begun, is_right = time.monotonic(), False
            try:
                client.request("POST", "/echo", body)
                answer = client.getresponse()
                is_right = answer.read().strip() == str(len(body)).encode() and answer.status == 200
            except (OSError, http.client.HTTPException) as error:
                print(f"upload {number}: {error!r}", file=sys.stderr)
            tell(begun, is_right)
            if not is_right:
                break
        client.close()


async def streams():
    await asyncio.gather(*(over_streams() for _ in range(CONNECTIONS)))


if WAY == "asyncio":
    asyncio.run(streams())
else:
    target = by_fionread if WAY == "fionread" else by_upload
    threads = [threading.Thread(target=target) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(json.dumps(told))
