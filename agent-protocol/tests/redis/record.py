#!/usr/bin/env python3
"""Records what clients and a Redis server say to each other, for the files beside it.

record.py LISTEN_PORT SERVER_PORT FILE    stands between them; a line for each piece: `connection way bytes`, way `>` to the server
record.py small FILE                      prints FILE without what repeats or means nothing, whole values in each line

The files were made on Debian 12 with redis-server 7.0 from: Celery 5.7.0 (prefork, two children), RQ 3.0.0, dramatiq 2.2.1, huey 3.5.4,
redis-py 8.1.0, Sidekiq 6.4.1, BullMQ 6.7.0 with ioredis 6.0.0, asynq 0.26.0. What was run is in `victims.md`.
"""
import ast
import asyncio
import sys

# Answered one to one, and without meaning outside of a transaction.
IDLE = set("CLIENT INFO PING HELLO EXISTS LLEN HEXISTS SMEMBERS WATCH UNWATCH SCRIPT EXPIRE SSCAN SCARD MGET HGETALL SADD GET HMGET".split())


def stand_between(listen, server, path):
    count = 0
    out = open(path, "w", buffering=1)

    async def accept(reader, writer):
        nonlocal count
        count += 1
        me = count
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", server)

        async def pump(source, sink, way):
            try:
                while piece := await source.read(65536):
                    out.write(f"{me} {way} {piece!r}\n")
                    sink.write(piece)
                    await sink.drain()
            except ConnectionError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, to_writer, ">"), pump(to_reader, writer, "<"))

    async def serve():
        async with await asyncio.start_server(accept, "127.0.0.1", listen) as it:
            await it.serve_forever()

    asyncio.run(serve())


def parse(text, at):
    """The value at `at` and where it ends; nothing if it is not complete."""
    end = text.find(b"\r\n", at)
    if end < 0:
        return None
    kind, word, at = text[at : at + 1], text[at + 1 : end], end + 2
    if kind in b"$*" and word == b"-1":
        return (kind, None), at
    if kind in b"$=":
        end = at + int(word)
        return ((kind, text[at:end]), end + 2) if len(text) >= end + 2 else None
    if kind in b"*~%>":
        parts = []
        for _ in range(int(word) * (2 if kind == b"%" else 1)):
            found = parse(text, at)
            if not found:
                return None
            part, at = found
            parts.append(part)
        return (kind, parts), at
    return (kind, word), at


def wire(value):
    kind, word = value
    if isinstance(word, list):
        count = len(word) // (2 if kind == b"%" else 1)
        return kind + b"%d\r\n" % count + b"".join(map(wire, word))
    if word is None:
        return kind + b"-1\r\n"
    if kind in b"$=":
        return kind + b"%d\r\n" % len(word) + word + b"\r\n"
    return kind + word + b"\r\n"


def shortened(value):
    """Scripts, tracebacks and the server's description of itself say nothing that is read."""
    kind, word = value
    if isinstance(word, list):
        name = word[0][1].upper() if word and isinstance(word[0][1], bytes) else b""
        if kind == b"*" and name == b"EVAL":
            word = [word[0], (b"$", word[1][1][:40])] + word[2:]
        if name == b"HSET" and word[1][1] == b"unacked":
            word = word[:3] + [(b"$", word[3][1][:12])]
        return kind, list(map(shortened, word))
    if word and kind in b"$=" and (at := word.find(b"Traceback (most")) > 0 and (end := word.rfind(b'\\n", ')) > at:
        word = word[: at + 9] + word[end:]
    return kind, word


def values(path):
    """Connection, way and whole values in the order in which their last bytes came."""
    rest = {}
    for line in open(path):
        connection, way, piece = line.split(" ", 2)
        text, at = rest.pop((connection, way), b"") + ast.literal_eval(piece), 0
        while at < len(text) and (found := parse(text, at)):
            value, at = found
            yield connection, way, value
        if text[at:]:
            rest[connection, way] = text[at:]


def says_nothing(value):
    """No message: nil, a number, an empty list, a list of numbers."""
    kind, word = value
    if isinstance(word, list):
        return all(part[0] in b":_" for part in word)
    return word is None or kind in b":_" or word.startswith(b"NOSCRIPT")


def small(path):
    kept, waiting, transactions, seen = [], {}, set(), {}
    for connection, way, value in values(path):
        entry = [connection, way, value, True]
        kept.append(entry)
        if way == "<":
            if value[0] == b">":
                entry[3] = b"celeryev" not in wire(value)
            elif commands := waiting.get(connection):
                command, may_go, is_poll = commands.pop(0)
                if may_go or is_poll and says_nothing(value):
                    command[3] = entry[3] = False
            continue
        name = value[1][0][1].upper().decode()
        if "SUBSCRIBE" in name:
            continue
        if name == "MULTI":
            transactions.add(connection)
        key = wire(value)[:90]
        seen[key] = seen.get(key, 0) + 1
        is_inside = connection in transactions
        means = (b"enqueue", b"ack\r", b"completed", b"failed", b":id\r", b":t:")
        is_script = name == "EVALSHA" and (not any(word in wire(value) for word in means) or b":lease" in key)
        is_again = seen[key] > 1 and (is_script or name in ("BRPOP", "BZPOPMIN", "ZADD", "SET"))
        is_event = name == "PUBLISH" and b"celeryev" in key and seen[key] > 1
        may_go = not is_inside and (name in IDLE or is_event)
        waiting.setdefault(connection, []).append((entry, may_go, is_again and not is_inside))
        if name == "EXEC":
            transactions.discard(connection)
    # One line for what one end wrote before the other did.
    lines = []
    for connection, way, value, is_kept in kept:
        if is_kept and lines and lines[-1][:2] == [connection, way]:
            lines[-1][2] += wire(shortened(value))
        elif is_kept:
            lines.append([connection, way, wire(shortened(value))])
    for connection, way, text in lines:
        print(connection, way, repr(text))


if sys.argv[1] == "small":
    small(sys.argv[2])
else:
    stand_between(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
