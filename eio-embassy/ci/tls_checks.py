"""Checks of TLS: the example `tls` on Linux and the firmware `tls` on an emulated Cortex-M, with certificates of every kind."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from helpers import (CI, ROOT, TARGET, WORK, Failure, Process, free_port, modules, need, passed, poll,
                     python_packages, serve, wait_until_listening)

# The firmware of the emulated Cortex-M: static memory with two connections, and the deepest stack. A record buffer of 2,304
# bytes, see examples/qemu/src/bin/tls.rs.
TLS_FLASH_MAX = 240_000
TLS_RAM_MAX = 44_000
TLS_STACK_MAX = 12_500


# Certificates

P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
P384 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-nodes")
RSA = ("-newkey", "rsa:2048", "-nodes")
AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"


class Certificates:
    """Keys and certificates in a directory. `NAME.pem` is the chain that a server sends, `NAME.der` the certificate alone."""

    def __init__(self, directory):
        need("openssl")
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.chains = {}
        self.root("authority")
        self.root("stranger")
        self.root("root384", P384)
        self.leaf("server", "authority")
        self.leaf("rogue", "server")
        self.leaf("wildcard", "authority", "subjectAltName=DNS:*.example.org\n")
        self.leaf("address", "authority", "subjectAltName=IP:127.0.0.1\n")
        self.leaf("many", "authority", "subjectAltName=" + ",".join(f"DNS:{n}.example.org" for n in range(9))
                  + ",DNS:localhost\n")
        self.leaf("client", "authority", "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth\n")
        self.leaf("rsa", "authority", key=RSA)
        self.sign("intermediate", "authority", AUTHORITY.replace("TRUE", "TRUE,pathlen:0"))
        self.leaf("chained", "intermediate")
        # An authority below one that allows none.
        self.sign("deeper", "intermediate", AUTHORITY)
        self.leaf("too-deep", "deeper")
        # As public authorities do: everything above the server on P-384, and the root again, signed by another authority.
        self.sign("intermediate384", "root384", AUTHORITY, P384)
        self.leaf("public", "intermediate384")
        self.sign("cross384", "authority", AUTHORITY, subject="root384")
        self.pem("public").write_text(self.pem("public").read_text() + self.pem("cross384").read_text())
        # More than a record of 4,096 bytes.
        self.leaf("huge", "authority", "subjectAltName=DNS:localhost," + ",".join(
            f"DNS:a-rather-long-name-of-a-host-number-{n}.example.org" for n in range(80)) + "\n")

    def pem(self, name):
        return self.directory / f"{name}.pem"

    def der(self, name):
        return self.directory / f"{name}.der"

    def key(self, name):
        return self.directory / f"{name}.key"

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], cwd=self.directory, capture_output=True, check=True)

    def root(self, name, key=P256):
        self.openssl("req", "-x509", *key, "-days", "30", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        self.finish(name, [])

    def leaf(self, name, issuer, extensions="subjectAltName=DNS:localhost\n", key=P256):
        self.sign(name, issuer, extensions, key)

    def sign(self, name, issuer, extensions, key=P256, subject=None):
        """Makes a certificate with a key of its own, or with that of `subject` under its name."""
        key = ("-new", "-key", f"{subject}.key") if subject else (*key, "-keyout", f"{name}.key")
        self.openssl("req", *key, "-subj", f"/CN={subject or name}", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(extensions)
        digest = "-sha384" if "384" in issuer else "-sha256"
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial",
                     digest, "-days", "20", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        self.finish(name, [issuer])

    def finish(self, name, issuers):
        """Appends the chain without the root, and writes the certificate in DER."""
        self.openssl("x509", "-in", f"{name}.pem", "-outform", "der", "-out", f"{name}.der")
        chain = self.pem(name).read_text()
        self.chains[name] = chain
        for issuer in issuers:
            if issuer not in ("authority", "stranger", "root384"):
                self.chains[name] = chain + self.chains[issuer]
        self.pem(name).write_text(self.chains[name])


# Servers


def serve_tls(kind, chain, key):
    """Starts an echo server with TLS: ours, npm (node), or nginx in front of npm. Returns the port and the processes."""
    port = free_port()
    if kind == "npm":
        return port, [serve("npm", port, 25_000, 20_000, 100_000, key, chain)]
    if kind == "ours":
        command = ["cargo", "build", "-q", "--locked", "-p", "eio-monoio", "--features", "tls,json", "--example", "echo"]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
        # rustls does not send smaller records at the request of the client.
        command = [TARGET / "debug/examples/echo", "--listen", f"127.0.0.1:{port}", "--workers", 1, "--max-payload", 100_000,
                   "--tls-certificate", chain, "--tls-key", key, "--tls-record-size", 2_048]
        server = Process(command, "server")
        wait_until_listening(port)
        return port, [server]
    need("nginx", "nginx-light")
    plain = free_port()
    upstream = serve("npm", plain, 25_000, 20_000, 100_000)
    directory = WORK / "nginx"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "nginx.conf").write_text(f"""
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
    location /engine.io/ {{
      proxy_pass http://127.0.0.1:{plain}; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade_or_close;
    }}
  }}
  map $http_upgrade $upgrade_or_close {{ default upgrade; '' ''; }}
}}
""")
    proxy = Process([shutil.which("nginx") or "/usr/sbin/nginx", "-c", directory / "nginx.conf", "-p", directory], "nginx-log")
    wait_until_listening(port)
    return port, [proxy, upstream]


def stop(processes):
    for process in processes:
        process.child.terminate()
        process.wait()


def silent_server():
    """A server that accepts and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def accept():
        while True:
            try:
                accepted.append(listener.accept())
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    return listener, listener.getsockname()[1]


# Linux


class Program:
    """The example `tls`, which prints `hello over TLS` after a session, and the reason if there is none."""

    def __init__(self, program, certificates):
        self.program = program
        self.certificates = certificates

    def run(self, port, name="localhost", authorities=("authority",), options=()):
        files = [self.certificates.der(authority) for authority in authorities]
        process = Process([self.program, *options, f"127.0.0.1:{port}", name, *files], "tls", 60)
        return process.wait(), process.text().strip()

    def opens(self, what, *arguments, count=1, **options):
        status, text = self.run(*arguments, **options)
        if status or text.count("hello over TLS") != count:
            raise Failure(f"tls: {what}: exit status {status}, it printed: {text}")
        passed(f"tls: {what}")

    def refuses(self, what, reason, *arguments, **options):
        status, text = self.run(*arguments, **options)
        if status != 1 or "open" in text or reason not in text:
            raise Failure(f"tls: {what}: exit status {status}, it printed: {text}")
        passed(f"tls: refused, {what}: {text}")


def linux(binary):
    """The example `tls` against three servers, and with every kind of certificate."""
    certificates = Certificates(WORK / "certificates")
    program = Program(binary, certificates)
    for kind in ("npm", "nginx", "ours"):
        port, processes = serve_tls(kind, certificates.pem("chained"), certificates.key("chained"))
        for transport in ("websocket", "polling", "upgrade", "any"):
            flags = [] if transport == "websocket" else [f"--{transport}"]
            program.opens(f"{kind}, {transport}, two connections", port, options=[*flags, "--times", "2"], count=2)
        stop(processes)

    reconnect(program, certificates)

    def with_certificate(name):
        port, processes = serve_tls("npm", certificates.pem(name), certificates.key(name))
        return port, lambda: stop(processes)

    day = 86_400
    stranger, expired, early = "no known authority", "has expired", "not valid yet"
    for certificate, what, reason, options in (
        ("server", "signed by the authority itself", None, {}),
        ("server", "one of two authorities", None, {"authorities": ("stranger", "authority")}),
        ("server", "another authority", stranger, {"authorities": ("stranger",)}),
        ("server", "another name", "for another name", {"name": "other.example"}),
        ("server", "a part of the name", "for another name", {"name": "local"}),
        ("server", "an expired certificate", expired, {"options": ("--time", int(time.time()) + 21 * day)}),
        ("server", "a certificate of the future", early, {"options": ("--time", int(time.time()) - day)}),
        ("chained", "an expired chain", expired, {"options": ("--time", int(time.time()) + 21 * day)}),
        ("rogue", "signed by the certificate of a server", "may not sign", {}),
        ("too-deep", "an authority below one that allows none", "may not sign", {}),
        ("wildcard", "a wildcard", None, {"name": "a.example.org"}),
        ("wildcard", "two labels for a wildcard", "for another name", {"name": "a.b.example.org"}),
        ("address", "an address", None, {"name": "127.0.0.1"}),
        ("address", "another address", "for another name", {"name": "127.0.0.2"}),
        ("many", "the last of ten names", None, {}),
        ("client", "a certificate for clients", "is invalid", {}),
        ("public", "a chain on P-384 with a cross-signed root", None, {"authorities": ("root384",)}),
        ("public", "the same by the other authority", None, {}),
        ("huge", "a chain larger than the record", "more than the record buffer", {}),
        ("rsa", "an RSA key", "refused with alert 40", {}),
    ):
        port, end = with_certificate(certificate)
        if reason is None:
            program.opens(what, port, **options)
        else:
            program.refuses(what, reason, port, **options)
        end()
    peers_without_tls(program, certificates)


def reconnect(program, certificates):
    """The server ends in the middle of a session: first with a shutdown, then without a word."""
    pem, key = certificates.pem("chained"), certificates.key("chained")
    port = free_port()
    options = ("--reconnect", "3", f"127.0.0.1:{port}", "localhost", certificates.der("authority"))
    process = Process([program.program, *options], "tls-reconnect", 60)
    for session, number in enumerate((signal.SIGTERM, signal.SIGKILL, None), 1):
        server = serve("npm", port, 25_000, 20_000, 100_000, key, pem)
        if not poll(lambda: process.text().count("hello over TLS") == session, 20):
            raise Failure(f"tls: there is no session {session}: {process.text()}")
        if number:
            server.child.send_signal(number)
            server.wait()
    if process.wait():
        raise Failure(f"tls: {process.text()}")
    passed("tls: connects again after the end of the server, twice")


def peers_without_tls(program, certificates):
    """Servers that are silent, speak something else, or do not prove who they are."""
    listener, port = silent_server()
    began = time.monotonic()
    program.refuses("a silent server", "did not complete the TLS handshake in time", port, options=("--timeout", "1500"))
    if not 1.4 < time.monotonic() - began < 5:
        raise Failure(f"tls: a silent server was left after {time.monotonic() - began} s")
    listener.close()
    port = free_port()
    plain = serve("npm", port, 25_000, 20_000, 100_000)
    program.refuses("a port of plain HTTP", "does not speak TLS", port)
    plain.stop()
    port = free_port()
    pem, key = certificates.pem("server"), certificates.key("server")
    old = Process(["openssl", "s_server", "-accept", port, "-cert", pem, "-key", key, "-tls1_2", "-quiet"], "old", 60)
    wait_until_listening(port)
    program.refuses("TLS 1.2 alone", "refused with alert 70", port)
    old.stop()
    interpreter = python_packages("tls")
    for omitted in ([], ["Certificate", "CertificateVerify"], ["Certificate"], ["CertificateVerify"]):
        port = free_port()
        server = Process([interpreter, CI / "tls/unproved.py", port, pem, key, *omitted], "unproved", 60)
        server.wait_for("listening")
        if omitted:
            program.refuses(f"a server without {' and '.join(omitted)}", "did not prove", port)
        else:
            # It answers no request, but it gets one: without the omission the handshake is accepted.
            program.run(port, options=("--timeout", "3000"))
            server.wait_for("received b'GET'")
            passed("tls: the server of the next cases, without an omission")
        server.stop()


# Firmware


def check_size(flash, ram):
    for what, size, limit in (("flash", flash, TLS_FLASH_MAX), ("RAM", ram, TLS_RAM_MAX)):
        if size > limit:
            raise Failure(f"tls: {size} bytes of {what}, more than {limit}")
        passed(f"tls: {size} bytes of {what} for firmware with two connections, at most {limit}")


def qemu(boot):
    """The firmware `tls`: `boot(port, scenario, number, authority)` starts it."""
    certificates = Certificates(WORK / "certificates")
    for kind in ("npm", "ours"):
        port, processes = serve_tls(kind, certificates.pem("chained"), certificates.key("chained"))
        for scenario in ("websocket", "polling", "upgrade"):
            guest = boot(port, scenario, 100, certificates.der("authority"))
            guest.check(f"{kind} tls {scenario}: messages there and back")
            check_stack(guest.text())
        if kind == "npm":
            guest = boot(port, "websocket", 1, certificates.der("stranger"))
            if guest.wait() != 2 or "no known authority" not in guest.text():
                raise Failure(f"tls: another authority: {guest.text()}")
            passed("npm tls: another authority is refused")
        stop(processes)
    listener, port = silent_server()
    boot(port, "silent", 1_500, certificates.der("authority")).check("tls silent: ends in time")
    listener.close()


def check_stack(text):
    stack = int(text.split("stack ")[1].split()[0])
    if stack > TLS_STACK_MAX:
        raise Failure(f"tls: {stack} bytes of stack, more than {TLS_STACK_MAX}")
