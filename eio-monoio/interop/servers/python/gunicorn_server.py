"""python-engineio's threaded Server under gunicorn, echoing on a free port of the loopback interface.

    target/tmp/foreign/python-*/venv/bin/python .../interop/servers/python/gunicorn_server.py THREADS

gunicorn ends a kept connection after 2 s, its default, and announces no time. Each held GET and each WebSocket
occupies one of its threads.
"""

import sys

import engineio
from gunicorn.app.base import BaseApplication

server = engineio.Server(async_mode="threading", async_handlers=False, cors_allowed_origins=[])


@server.on("message")
def message(sid, data):
    # Text that is JSON arrives parsed; integers are what the tests send of that.
    server.send(sid, str(data) if isinstance(data, int) else data)


class Application(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", int(sys.argv[1]))
        self.cfg.set("when_ready", ready)

    def load(self):
        return engineio.WSGIApp(server)


def ready(arbiter):
    address = "%s:%d" % arbiter.LISTENERS[0].sock.getsockname()
    print(f"listening on http://{address}/engine.io/", flush=True)


if __name__ == "__main__":
    Application().run()
