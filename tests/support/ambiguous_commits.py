"""A proxy in front of a Postgres server that makes the outcome of COMMITs unknown to the client.

    with PostgresServer() as database, AmbiguousCommits(database, seed=1) as proxy:
        proxy.rate = 0.5
        ... use proxy.url in the place of database.url ...

It understands as much of the protocol as it needs. Of the COMMITs whose transaction ran a statement that contains
`marks`, a share of `rate` is hit: half of those are done and their answer is lost, the other half never reach the server;
the client sees the same, a connection that breaks. `counts` says what happened. Standard library only; threads of its own.
"""
import collections
import pathlib
import random
import shutil
import socket
import struct
import tempfile
import threading
import urllib.parse

SOCKET_NAME = ".s.PGSQL.5432"


def read_exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the peer has closed")
        data += piece
    return bytes(data)


def read_message(connection):
    """(type, whole message) of either side, after the start of the session."""
    head = read_exactly(connection, 5)
    return head[:1], head + read_exactly(connection, struct.unpack("!I", head[1:])[0] - 4)


class AmbiguousCommits:
    """Listens on a Unix socket of its own from __enter__ to __exit__."""

    def __init__(self, database, seed, marks=(b"INSERT INTO parquet_file_meta",)):
        self.upstream = str(database.folder / SOCKET_NAME)
        self.marks, self.random, self.rate = marks, random.Random(seed), 0.0
        self.counts = collections.Counter()
        self.losing = set()  # Clients whose COMMIT is on its way, and will not hear of it.
        self.lock = threading.Lock()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ms-pgx-", dir="/tmp"))
        self.url = "postgresql:///postgres?" + urllib.parse.urlencode({"host": str(self.folder), "user": "postgres"})

    def _draw(self):
        """What happens to this COMMIT; counted."""
        with self.lock:
            outcome = "untouched"
            if self.rate and self.random.random() < self.rate:
                outcome = self.random.choice(["done, answer lost", "never arrived"])
            self.counts[outcome] += 1
            return outcome

    def ambiguous(self):
        with self.lock:
            return self.counts["done, answer lost"] + self.counts["never arrived"]

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(self.upstream)
                threading.Thread(target=self._relay_start, args=(client, server), daemon=True).start()
                self._relay_answers(client, server)
            except OSError:
                pass
            finally:
                with self.lock:
                    self.losing.discard(client)
                for connection in (client, server):
                    try:
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def _relay_answers(self, client, server):
        """Everything from the server, until the answer of a COMMIT that is to be lost."""
        while True:
            kind, message = read_message(server)
            with self.lock:
                lost = client in self.losing and kind == b"C" and message[5:].startswith(b"COMMIT")
            if lost:
                return
            client.sendall(message)

    def _relay_start(self, client, server):
        try:
            size = read_exactly(client, 4)
            server.sendall(size + read_exactly(client, struct.unpack("!I", size)[0] - 4))
            self._relay_requests(client, server)
        except OSError:
            try:
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _relay_requests(self, client, server):
        is_marked = False
        while True:
            kind, message = read_message(client)
            if kind == b"Q" and message[5:].startswith(b"BEGIN"):
                is_marked = False
            is_marked = is_marked or kind == b"P" and any(mark in message for mark in self.marks)
            if is_marked and kind == b"Q" and message[5:] == b"COMMIT\0":
                outcome = self._draw()
                if outcome == "never arrived":
                    raise ConnectionError(outcome)
                if outcome == "done, answer lost":
                    with self.lock:
                        self.losing.add(client)
            server.sendall(message)

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / SOCKET_NAME))
        self.listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
