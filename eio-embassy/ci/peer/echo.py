"""An echo server on python-engineio, with the arguments of echo.mjs, but `asgi` (uvicorn) or `aiohttp` in place of TLS."""

import collections
import sys

import engineio

port, ping_interval_ms, ping_timeout_ms, max_payload = map(int, sys.argv[1:5])
sink, mode = sys.argv[5] == "sink", sys.argv[6]

server = engineio.AsyncServer(
    async_mode=mode,
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


if mode == "asgi":
    import uvicorn

    uvicorn.run(engineio.ASGIApp(server), host="127.0.0.1", port=port, log_level="warning", ws="wsproto")
else:
    from aiohttp import web

    application = web.Application()
    server.attach(application)
    web.run_app(application, host="127.0.0.1", port=port, print=None)
