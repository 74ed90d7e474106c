"""An upstream that takes comments and answers none until it is told to: so that a known number is in flight.

It answers at once who asks whether it is there, so that a sidecar before it is ready.
"""

import asyncio
import threading

from .servers import UPSTREAM_REPLY

REPLY = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(UPSTREAM_REPLY)}\r\n\r\n{UPSTREAM_REPLY}"
).encode()


class Holding:
    """Listens on a free loopback port, from `with` to its end, in a thread of its own."""

    def __init__(self):
        self.held = 0
        self._listens = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self._thread.start()
        self._listens.wait()
        return self

    def __exit__(self, *_):
        self.release()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def __str__(self):
        return f"127.0.0.1:{self.port}"

    def release(self):
        self._loop.call_soon_threadsafe(self._answer.set)

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self._answer, self._over = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        async with server:
            await self._over.wait()

    async def _connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    writer.write(REPLY)
                    await writer.drain()
                    continue
                lengths = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].split(b":")[1]))
                self.held += 1
                await self._answer.wait()
                writer.write(REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The sidecar has left, or we do.
            writer.close()
