"""A TLS server that leaves out messages of its handshake. Arguments: port, chain and key (PEM), names of the messages.

It is that of tlslite-ng, which computes the hash of the handshake from the messages that it sends: so everything else in the
handshake is right.
"""

import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain
from tlslite.utils.keyfactory import parsePEMKey


class Omitting(TLSConnection):
    """A connection that does not send some messages."""

    def _queue_message(self, message):
        return () if type(message).__name__ in OMITTED else super()._queue_message(message)


port, chain_file, key_file, *OMITTED = sys.argv[1:]
chain = X509CertChain()
with open(chain_file, encoding="ascii") as file:
    chain.parsePemList(file.read())
with open(key_file, encoding="ascii") as file:
    key = parsePEMKey(file.read(), private=True)
settings = HandshakeSettings()
settings.minVersion = (3, 4)
listener = socket.create_server(("127.0.0.1", int(port)))
print("listening", flush=True)
connection = Omitting(listener.accept()[0])
connection.handshakeServer(certChain=chain, privateKey=key, settings=settings)
print("handshake complete", flush=True)
print("received", bytes(connection.recv(3)), flush=True)
