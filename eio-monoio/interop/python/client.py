"""Runs python-engineio's two clients against an echo server.

    target/tmp/foreign/python-*/venv/bin/python .../interop/python/client.py \\
        http://127.0.0.1:3000/engine.io/ [scenario ...]

The tests make that environment below the build directory; any other will do after
`pip install --require-hashes -r requirements.txt`, which is made from requirements.in by
`uv pip compile --universal --python-version 3.10 --generate-hashes`.

Without names: every scenario that a server with default settings passes. The exit status is 0 if
all passed; each has a line of its own on stdout.

What these clients cannot do, and where the scenarios give way to it:

- A polling response of more than 16 packets makes them disconnect (`Payload.max_decode_packets`):
  a server has to send no more than 16 at a time. `in_order` needs that.
- They do not look at maxPayload when they send, and put all that is queued into one body: the
  large messages are sent one at a time, and a binary one leaves room for its base64.
- A POST refused with 413 ends their write loop, but is noticed only when the pending GET returns,
  which may be a whole ping interval later: `over-limit` is tried on WebSocket only.
- `disconnect()` while a POST is under way never sends the close packet: `close` waits for the queue.
- Received text that is JSON arrives parsed. Integers are excepted.
- The synchronous client runs each message handler in a thread of its own and so loses their
  order: `OrderedClient` runs them in the reading thread.
- The upgrade is over when `connect()` returns. Nothing can be sent during it.
- Over TLS the synchronous client reads and writes one connection in two threads, and Python's ssl
  module has no lock for that (python-engineio issue 461): about 1 of 50 WebSocket sessions breaks,
  with engine.io on Node as the server too. `TLS_ATTEMPTS` gives such a scenario further attempts,
  each of which is printed.
"""

import asyncio
import json
import os
import queue
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

os.environ["NO_PROXY"] = "*"

import engineio  # noqa: E402

LARGE = 900_000
PATIENCE = 10  # seconds to wait for one message
TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}

# Every message returns unchanged.
SAMPLES = {
    "plain": "hello",
    "empty": "",
    "NUL character": "a\0b",
    "two-byte letters": "Příliš žluťoučký kůň",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eمرحبا\u202c",
    "combining marks": "e\u0301 n\u0303 \u1100\u1161\u11a8 Z\u0351\u036b\u0343",
    "astral": "\U0001f600\U0001d11e\U0010ffff\U00020000",
    "line and paragraph separators": "a\u2028b\u2029c",
    "byte order mark": "\ufeffmarked",
    "last of each UTF-8 length": "\x7f\u07ff\uffff\U0010ffff",
    "form characters": "d=4a&b=%20+\\n\\\\\"'\r\n\t",
    "digits": "12345",
    "a probe": "2probe",
    "a letter b": "b",
    "object": {"name": "Příliš", "nested": {"list": [1, 2.5, None, True]}, "": "\U0001f600"},
    "array": [1, "two", {"three": 3}, [], {}],
    "empty object": {},
    "every byte value": bytes(range(256)),
    "empty binary": b"",
    "a NUL byte": b"\0",
    "a byte array": bytearray(b"\x1e\xff4a"),
    "looks like a close packet": b"1",
    "invalid UTF-8": b"\xc0\x80\xed\xa0\x80\xf8",
    "125 bytes": b"\x01" * 125,
    "126 bytes": b"\x02" * 126,
    "65536 bytes": b"\x03" * 65536,
}


class OrderedClient(engineio.Client):
    def _trigger_event(self, event, *args, **kwargs):
        kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)


class SyncPeer:
    """`engineio.Client` behind the interface of `AsyncPeer`."""

    def __init__(self):
        self.client = OrderedClient(handle_sigint=False)
        self.inbox = queue.Queue()
        self.reasons = queue.Queue()
        self.client.on("message", self.inbox.put)
        self.client.on("disconnect", self.reasons.put)

    async def connect(self, *args):
        await asyncio.to_thread(self.client.connect, *args)

    async def send(self, message):
        self.client.send(message)

    async def take(self):
        return await asyncio.to_thread(self.inbox.get, True, PATIENCE)

    async def reason(self):
        return await asyncio.to_thread(self.reasons.get, True, PATIENCE)

    async def sent(self):
        await asyncio.to_thread(self.client.queue.join)

    async def disconnect(self):
        await asyncio.to_thread(self.client.disconnect)


class AsyncPeer:
    def __init__(self):
        self.client = engineio.AsyncClient(handle_sigint=False)
        self.inbox = asyncio.Queue()
        self.reasons = asyncio.Queue()
        self.client.on("message", self.inbox.put_nowait)
        self.client.on("disconnect", self.reasons.put_nowait)

    async def connect(self, *args):
        await self.client.connect(*args)

    async def send(self, message):
        await self.client.send(message)

    async def take(self):
        return await asyncio.wait_for(self.inbox.get(), PATIENCE)

    async def reason(self):
        return await asyncio.wait_for(self.reasons.get(), PATIENCE)

    async def sent(self):
        await self.client.queue.join()

    async def disconnect(self):
        await self.client.disconnect()


async def open_peer(kind, url, transport):
    peer = kind()
    parts = urllib.parse.urlsplit(url)
    await peer.connect(f"{parts.scheme}://{parts.netloc}", {}, TRANSPORTS[transport], parts.path)
    expect(peer.client.transport(), TRANSPORTS[transport][-1], "transport")
    return peer


async def close(peer, url):
    """Disconnects from this side; the reason is ours and the server forgets the session."""
    expect(peer.inbox.qsize(), 0, "messages nobody asked for")
    sid = peer.client.sid
    await peer.sent()
    await asyncio.sleep(0.05)
    await peer.disconnect()
    expect(await peer.reason(), "client disconnect", "reason")

    # A session that is still alive would hold this GET.
    def get():
        try:
            urllib.request.urlopen(f"{url}?EIO=4&transport=polling&sid={sid}", timeout=2)
        except urllib.error.HTTPError as error:
            body = error.read()
            return error.code, json.loads(body).get("code") if body else None
        except OSError as error:
            return str(error)

    expect(await asyncio.to_thread(get), (400, 1), "a closed session")


async def echo(peer, message, label):
    await peer.send(message)
    expect(await answer(peer, label), message, label)


async def answer(peer, label):
    try:
        return await peer.take()
    except (queue.Empty, asyncio.TimeoutError):
        raise AssertionError(f"{label}: no answer (client is {peer.client.state})") from None


def everything(kind, transport):
    async def scenario(url):
        peer = await open_peer(kind, url, transport)
        for label, sample in SAMPLES.items():
            await echo(peer, sample, label)
        await in_order(peer)
        unit = "aé€\U0001f600"  # 1 + 2 + 3 + 4 bytes
        await echo(peer, unit * (LARGE // 10), "large text")
        size = 749_000 if transport == "polling" else LARGE
        await echo(peer, bytes((i * 7 + i // 251) & 0xFF for i in range(size)), "large binary")
        await close(peer, url)

    return scenario


async def in_order(peer):
    messages = [b"binary %d" % i if i % 5 == 4 else f"text {i}" for i in range(200)]
    for message in messages:
        await peer.send(message)
    for i, message in enumerate(messages):
        expect(await answer(peer, f"message {i}"), message, "order")


async def crowd(url):
    async def client(number):
        peer = await open_peer(AsyncPeer, url, list(TRANSPORTS)[number % 3])
        for i in range(20):
            await echo(peer, f"client {number} message {i}", "crowd")
        await close(peer, url)

    await asyncio.gather(*(client(number) for number in range(30)))


async def heartbeat(url):
    """For a server with --ping-interval-ms 300 --ping-timeout-ms 200."""

    async def client(kind, transport):
        peer = await open_peer(kind, url, transport)
        await asyncio.sleep(2)
        expect(peer.client.state, "connected", f"{kind.__name__} on {transport}")
        await echo(peer, "still here", "after pings")
        await close(peer, url)

    await each(client)


async def options(url):
    """For the server of tests/foreign/options.rs."""

    async def client(kind, transport):
        peer = await open_peer(kind, url, transport)
        expect(peer.client.sid.startswith("made-"), True, f"the application's sid {peer.client.sid}")
        expect(round(peer.client.ping_interval * 1000), 10_400, "the interval with its grace")
        await asyncio.sleep(1.5)
        await echo(peer, "still here", "after pings")
        await close(peer, url)

    await each(client)


async def over_limit(url):
    """For a server with --max-payload 10000."""

    async def client(kind, transport):
        if transport == "polling":
            return
        peer = await open_peer(kind, url, transport)
        await echo(peer, "a" * 9_999, "the longest text")
        await echo(peer, b"a" * 10_000, "the longest binary message")
        await peer.send("a" * 10_000)
        expect(await peer.reason(), "transport error", "reason")

    await each(client)


async def shutdown(url):
    """Somebody ends the server when this says so."""
    peers = {}

    async def client(kind, transport):
        peers[kind, transport] = peer = await open_peer(kind, url, transport)
        await echo(peer, "hello", "before the end")

    await each(client)
    print("waiting for the server to stop", flush=True)
    for (kind, transport), peer in peers.items():
        reason = await peer.reason()
        print(f"{kind.__name__} on {transport} closed: {reason}", flush=True)
        # On WebSocket it depends on whether a close packet precedes the close frame.
        allowed = {"server disconnect"} | ({"transport error"} if transport != "polling" else set())
        if reason not in allowed:
            raise AssertionError(f"{transport}: {reason}")


async def each(client):
    """Runs both clients on every transport at the same time."""
    await asyncio.gather(
        *(client(kind, transport) for kind in (SyncPeer, AsyncPeer) for transport in TRANSPORTS)
    )


def expect(got, wanted, label):
    if type(got) is bytes and type(wanted) is bytearray:
        wanted = bytes(wanted)
    if type(got) is not type(wanted) or got != wanted:
        raise AssertionError(f"{label}: got {shorten(got)}, wanted {shorten(wanted)}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}... ({type(value).__name__} of {len(value)})"


EVERYDAY = {
    **{f"sync-{transport}": everything(SyncPeer, transport) for transport in TRANSPORTS},
    **{f"async-{transport}": everything(AsyncPeer, transport) for transport in TRANSPORTS},
    "crowd": crowd,
}
SPECIAL = {
    "heartbeat": heartbeat,
    "options": options,
    "over-limit": over_limit,
    "shutdown": shutdown,
}
LIMIT = 30  # seconds for a scenario
TLS_ATTEMPTS = 3


def attempts(name, url):
    return TLS_ATTEMPTS if name.startswith("sync-") and url.startswith("https:") else 1


async def passes(name, scenario, url):
    since = time.monotonic()
    try:
        await asyncio.wait_for(scenario(url), LIMIT)
        print(f"ok {name} {(time.monotonic() - since) * 1000:.0f} ms", flush=True)
        return True
    except Exception as error:
        print(f"FAILED {name}: {error or type(error).__name__}", flush=True)
        traceback.print_exc()
        return False


async def main(url=None, *names):
    known = {**EVERYDAY, **SPECIAL}
    if url is None or not set(names) <= set(known):
        print(f"usage: client.py <url> [{'|'.join(known)}] ...", file=sys.stderr)
        return 2
    failures = 0
    for name in names or EVERYDAY:
        for _ in range(attempts(name, url)):
            if await passes(name, known[name], url):
                break
        else:
            failures += 1
    # Threads of a failed scenario may never end.
    sys.stderr.flush()
    os._exit(1 if failures else 0)


sys.exit(asyncio.run(main(*sys.argv[1:])))
