"""Recording proxy: listens on one port, forwards to another; SIGTERM/EOF writes one file of all connections' pieces in the order they moved.
Each piece: connection (u8), way (u8: 0 to broker, 1 to client), length (u32 BE), bytes."""
import asyncio, struct, sys, signal
listen, to, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
out = open(path, 'wb'); n = 0
async def pump(conn, way, r, w):
    try:
        while True:
            b = await r.read(65536)
            if not b: break
            out.write(struct.pack('>BBI', conn, way, len(b)) + b)
            w.write(b); await w.drain()
    except Exception: pass
    try: w.close()
    except Exception: pass
async def client(r, w):
    global n
    conn = n; n += 1
    br, bw = await asyncio.open_connection('127.0.0.1', to)
    await asyncio.gather(pump(conn, 0, r, bw), pump(conn, 1, br, w))
async def main():
    s = await asyncio.start_server(client, '127.0.0.1', listen)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait(); out.close(); import os; os._exit(0)
asyncio.run(main())
