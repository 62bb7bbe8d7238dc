"""python-engineio's AsyncServer on aiohttp, echoing on a free port of the loopback interface.

    target/tmp/foreign/python-*/venv/bin/python .../interop/servers/python/server.py \\
        [ping interval s] [ping timeout s] [max payload]

It runs in the environment of the clients in ../../python. A message `close` ends the session,
`kill` the process; a request with `X-Refuse` is refused.

Handlers run in the order of their messages (`async_handlers=False`). aiohttp hands this server only
the first chunk of a request body that arrived (python-engineio 4.15.1), so a large POST may be cut.
"""

import asyncio
import os
import signal
import sys

import engineio
from aiohttp import web

DEFAULTS = [25, 20, 1e6]
given = [float(value) for value in sys.argv[1:]]
interval, timeout, max_payload = given + DEFAULTS[len(given):]

server = engineio.AsyncServer(
    async_mode="aiohttp",
    async_handlers=False,
    ping_interval=interval,
    ping_timeout=timeout,
    max_http_buffer_size=int(max_payload),
    cors_allowed_origins=[],
)


@server.on("connect")
async def connect(sid, environ):
    return "refused" if environ.get("HTTP_X_REFUSE") else None


@server.on("message")
async def message(sid, data):
    if data == "close":
        await server.disconnect(sid)
    elif data == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        # Text that is JSON arrives parsed; integers are what the tests send of that.
        await server.send(sid, str(data) if isinstance(data, int) else data)


app = web.Application()
server.attach(app)


async def main():
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}/engine.io/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
