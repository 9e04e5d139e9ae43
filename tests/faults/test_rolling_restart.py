"""SIGTERM and a start on the same data, again and again, under load. Clients repeat what can be repeated, and lose nothing:
no row is missing or doubled, no answer is other than 200 or "come back later". MS_TEST_FULL=1: 100 restarts."""
import collections
import http.client
import os
import random
import select
import threading
import time

import promises
from workload import RETRYABLE, Ledger, json_request, otlp_request

RESTARTS = 100 if os.environ.get("MS_TEST_FULL") else 12
SEED = int(os.environ.get("MS_TEST_SEED", "20261126"))
SETTINGS = ["--set", "ingester.flush_interval_secs=1", "--set", "ingester.buffer_max_mb=1"]


def is_usable(connection):
    """As every client with a pool of connections looks: not closed by the server while it was idle."""
    return connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]


class Client:
    """Repeats a request that was refused, or for which there was no connection. If the connection breaks after it was sent
    nobody knows: HTTP leaves that to the client, and this one goes on with other rows."""

    def __init__(self, number, ledger, addresses):
        self.number, self.ledger, self.addresses = number, ledger, addresses
        self.random = random.Random(f"{SEED}/{number}")
        self.counts, self.faults, self.unknown = collections.Counter(), [], set()
        self.connections, self.stopping = {}, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                keys = self.ledger.take(self.random.choice(["orders", "billing"]), self.number, self.random.choice([1, 10, 100]))
                protocol = self.random.choice([json_request, otlp_request])
                mode = self.random.choice(["", "", "", "?commit=force"])
                while not self.is_done(keys, protocol, mode):
                    time.sleep(0.02)
        except Exception as error:  # A thread's error must not be lost.
            self.faults.append(repr(error))

    def is_done(self, keys, protocol, mode):
        """False: the same request again."""
        listener = "otlp_http" if protocol is otlp_request else "http"
        connection = self.connections.pop(listener, None)
        if connection is None or not is_usable(connection):
            host, port = self.addresses[listener].rsplit(":", 1)
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            try:
                connection.connect()
            except OSError:
                self.counts["no connection"] += 1
                return False
        path, body, headers = protocol(self.ledger, keys, mode)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.counts[f"broken: {type(error).__name__}"] += 1
            self.unknown.update(keys)
            return True
        self.counts[answer.status] += 1
        self.connections[listener] = connection  # Without a socket if the answer said `Connection: close`.
        if answer.status == 200:
            self.ledger.acknowledge(keys)
            return True
        if answer.status in RETRYABLE and answer.getheader("Retry-After"):
            return False
        self.faults.append(f"answer {answer.status}: {content[:300]}")
        return True


def test_a_rolling_restart_loses_nothing_and_asks_for_retries_only(start):
    print(f"MS_TEST_SEED={SEED}")
    ledger, generator = Ledger("rolling"), random.Random(SEED)
    server = start(*SETTINGS)
    addresses = dict(server.addresses)
    clients = [Client(number, ledger, addresses) for number in range(4)]
    for _ in range(RESTARTS):
        time.sleep(generator.uniform(0.2, 1.2))
        assert server.terminate(30) == 0
        server = start(*SETTINGS)
        addresses.update(server.addresses)
    time.sleep(0.5)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.thread.join()
    counts = sum((client.counts for client in clients), collections.Counter())
    print(dict(counts))
    assert not (faults := [fault for client in clients for fault in client.faults]), faults[:5]
    unknown = set().union(*(client.unknown for client in clients))
    assert ledger.sent - unknown == ledger.acknowledged, "what was repeated came through"
    assert counts["no connection"] > 0, "no client met a restart"
    assert ledger.check(server) == []
    promises.record("restart", "faults/rolling_restart", f"0 lost, 0 doubled, 0 errors but retryable ones in "
                    f"{len(ledger.acknowledged):,} acknowledged rows over {RESTARTS} restarts under load", SEED)
