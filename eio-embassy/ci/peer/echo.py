"""An echo server on python-engineio (ASGI, uvicorn), with the arguments of echo.mjs, but without TLS."""

import collections
import sys

import engineio
import uvicorn

port, ping_interval_ms, ping_timeout_ms, max_payload = map(int, sys.argv[1:5])
sink = sys.argv[5] == "sink"

server = engineio.AsyncServer(
    async_mode="asgi",
    # In the order of the messages.
    async_handlers=False,
    ping_interval=ping_interval_ms / 1000,
    ping_timeout=ping_timeout_ms / 1000,
    max_http_buffer_size=max_payload,
)
counts = collections.Counter()


@server.on("message")
async def message(sid, data):
    if not sink:
        # Text that is a number arrives as one.
        await server.send(sid, str(data) if isinstance(data, int) else data)
    elif data == "count":
        await server.send(sid, str(counts[sid]))
    else:
        counts[sid] += 1


uvicorn.run(engineio.ASGIApp(server), host="127.0.0.1", port=port, log_level="warning", ws="wsproto")
