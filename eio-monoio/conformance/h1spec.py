#!/usr/bin/env python3
"""The 33 requests of h1spec (https://github.com/uNetworking/h1spec) against the echo example, on each driver.

    h1spec.py [DRIVER ...]

Fifteen are cut off anywhere before the end of the head and must be waited for; eighteen are whole, and must be
answered with a status that h1spec allows, and with the body they brought.
"""

import os
import select
import socket
import subprocess
import sys

import suite

HOST = b"Host: example.com\r\n"
GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n"
CHUNKED = b"c\r\nHellO world1\r\n0\r\n\r\n"

CUT = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r"
CUT_AT = [b"G", b"GET ", b"GET /hello", b"GET /hello ", b"GET /hello HTTP", b"HTTP/1.1", b"HTTP/1.1\r", b"HTTP/1.1\r\n",
          b"Hos", b"Host:", b"Host: ", b"localhost", b"localhost\r", b"localhost\r\n", b"\r\n\r"]

OK = [(200, 299)]
CLIENT_ERROR = [(400, 499)]
ERROR = [(400, 599)]
WHOLE = [
    ("a request without a version", b"GET / \r\n\r\n", ERROR, None),
    ("a request that expects 100", GET + HOST + b"Expect: 100-continue\r\n\r\n", [(100, 100)] + OK, None),
    ("a GET", GET + HOST + b"\r\n", OK, None),
    ("a GET with a tab and an empty field", GET + b"hoSt:\texample.com\r\nempty:\r\n\r\n", OK, None),
    ("a field name that is no token", GET + HOST + b"X-Invalid[]: test\r\n\r\n", CLIENT_ERROR, None),
    ("no Host", GET + b"Content-Length: 5\r\n\r\n", CLIENT_ERROR, None),
    ("two Hosts", GET + HOST + b"Host: example.org\r\n\r\n", CLIENT_ERROR, None),
    ("a very negative length", GET + HOST + b"Content-Length: -123456789123456789123456789\r\n\r\n", CLIENT_ERROR, None),
    ("a negative length", GET + HOST + b"Content-Length: -1234\r\n\r\n", CLIENT_ERROR, None),
    ("a length that is no number", GET + HOST + b"Content-Length: abc\r\n\r\n", CLIENT_ERROR, None),
    ("an empty value", GET + HOST + b"X-Empty-Header: \r\n\r\n", OK, None),
    ("a control character in a value", GET + HOST + b"X-Bad-Control-Char: test\x07\r\n\r\n", CLIENT_ERROR, None),
    ("a version that is none", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", ERROR, None),
    ("something before the request", b"Extra line" + GET + HOST + b"\r\n", ERROR, None),
    ("a CR that ends no line", GET + HOST + b"\rSome-Header: Test\r\n\r\n", CLIENT_ERROR, None),
    ("a POST", POST + HOST + b"Content-Length: 5\r\n\r\nhello", OK + [(404, 404)], b"hello"),
    ("a chunked POST", POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED, OK, b"HellO world1"),
    ("a length beside chunks", POST + HOST + b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n" + CHUNKED,
     CLIENT_ERROR + OK, b"HellO world1"),
]


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def waits(address):
    """How many of the cut requests are waited for."""
    cut = [CUT[:CUT.index(at) + len(at)] for at in CUT_AT]
    sockets = []
    for request in cut:
        stream = connect(address)
        stream.sendall(request)
        sockets.append(stream)
    # There may be no response: a server that answers or closes does so at once.
    answered, _, _ = select.select(sockets, [], [], 1)
    for stream in answered:
        print("not waited for: %r" % cut[sockets.index(stream)])
    for stream in sockets:
        stream.close()
    return len(cut) - len(answered)


def receive(stream, body):
    """A response, up to its last expected byte."""
    received = b""
    while b"\r\n\r\n" not in received or (body and b" 200 " in received[:16] and not received.endswith(body)):
        more = stream.recv(4096)
        if not more:
            break
        received += more
    return received


def is_right(address, what, request, allowed, body):
    stream = connect(address)
    try:
        stream.sendall(request)
        response = receive(stream, body)
        status = int(response.split(b" ", 2)[1])
        right = any(low <= status <= high for low, high in allowed)
        if status == 200 and body is not None:
            right = right and response.split(b"\r\n\r\n", 1)[1] == body
    except (OSError, IndexError, ValueError) as error:
        status, right = error, False
    stream.close()
    if not right:
        print("%s: %s" % (what, status))
    return right


def run(driver):
    path = os.path.join(suite.build_directory(), "release", "examples", "echo")
    command = [path, "--echo-http", "--listen", "127.0.0.1:0", "--driver", driver]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        words = server.stdout.readline().split()
        if len(words) < 3 or words[:2] != ["listening", "on"]:
            sys.exit("echo does not listen: %r" % words)
        address = words[2].split("/")[2]
        passed = waits(address) + sum(is_right(address, *case) for case in WHOLE)
    finally:
        server.kill()
        server.wait()
    count = len(CUT_AT) + len(WHOLE)
    print("h1spec on %s: %d of %d passed" % (driver, passed, count), flush=True)
    return passed == count


def main(drivers):
    passed = [run(driver) for driver in drivers or ["io-uring", "epoll"]]
    sys.exit(0 if all(passed) else 1)


main(sys.argv[1:])
