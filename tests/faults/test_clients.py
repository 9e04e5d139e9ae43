"""Clients that hold on to what they have: idle connections, heads and bodies that trickle, peers that half-closed.
Those who work get on as before. MS_TEST_FULL=1: for a minute each time."""
import json
import os
import pathlib
import resource
import socket
import subprocess
import threading
import time

import promises
import pytest

FULL = bool(os.environ.get("MS_TEST_FULL"))
BUILD = pathlib.Path(os.environ.get("MS_BINARY", "build/release/molesignal")).resolve().parent
IDLE = 10_000
SLOW = 300  # Of each kind.
SETTINGS = ["--set", f"http.connections_max={IDLE + 4 * SLOW}"]


def offer(server, body):
    done = subprocess.run([str(BUILD / "http_load"), "--http", server.addresses["http"], "--path", "/api/v1/ingest/logs/load",
                           "--body", str(body), "--writers", "4", "--seconds", "60" if FULL else "6"],
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def gauge(server, name):
    for line in server.request("GET", "/metrics")[2].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


class SlowClients:
    """Sends a byte of each connection's request every second; whoever is cut opens another connection."""

    def __init__(self, address, count):
        self.address, self.stopping, self.cut = address, threading.Event(), 0
        head = b"POST /api/v1/ingest/logs/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
        self.requests = [head + b"X-Slow: " + b"a" * 10_000, head + b"\r\n" + b'{"message":"' + b"a" * 10_000]
        self.given = [len(head), len(head) + 2]
        self.clients = [[None, 0, kind] for kind in (0, 1) for _ in range(count)]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set():
            for client in self.clients:
                request = self.requests[client[2]]
                try:
                    if client[0] is None:
                        client[0] = socket.create_connection(self.address, timeout=30)
                        client[0].sendall(request[:self.given[client[2]]])
                        client[1] = self.given[client[2]]
                    client[0].sendall(request[client[1]:client[1] + 1])
                    client[1] += 1
                except OSError:
                    self.cut += 1
                    client[0].close()
                    client[0] = None
            self.stopping.wait(1)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for client in self.clients:
            if client[0] is not None:
                client[0].close()


def test_clients_that_hold_on_do_not_slow_down_others(start, tmp_path):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < IDLE + 4 * SLOW + 200:
        pytest.skip(f"needs {IDLE + 4 * SLOW + 200} open files, the hard limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    body = tmp_path / "rows.ndjson"
    body.write_text("".join(json.dumps({"n": n, "message": f"request {n} was served"}) + "\n" for n in range(100)))
    server = start(*SETTINGS)
    host, port = server.addresses["http"].rsplit(":", 1)
    address = (host, int(port))
    offer(server, body)  # Warm.
    before = offer(server, body)
    memory = gauge(server, "process_resident_memory_bytes")
    idle = [socket.create_connection(address, timeout=30) for _ in range(IDLE)]
    half_closed = []
    for _ in range(SLOW):
        client = socket.create_connection(address, timeout=30)
        client.sendall(b"GET /livez HTTP/1.1\r\nHo")
        client.shutdown(socket.SHUT_WR)
        half_closed.append(client)
    slow = SlowClients(address, SLOW)
    try:
        time.sleep(1.5)
        during = offer(server, body)
        grown = gauge(server, "process_resident_memory_bytes") - memory
        connections = gauge(server, "http_connections_open")
    finally:
        slow.stop()
    # The idle ones are served when they ask at last.
    for client in idle[::100]:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    for client in [*idle, *half_closed]:
        client.close()
    after = offer(server, body)
    rate = [sum(entry["answers"].values()) / entry["seconds"] for entry in (before, during, after)]
    ratio = rate[1] / ((rate[0] + rate[2]) / 2)
    print(f"{connections:.0f} connections; requests a second before {rate[0]:.0f}, during {rate[1]:.0f}, after {rate[2]:.0f}: "
          f"{ratio:.2f}; memory grew by {grown / 1e6:.0f} MB, {slow.cut} slow clients cut")
    promises.record("overload", "faults/clients", f"{connections:.0f} held connections: {ratio:.2f} of the requests a second")
    assert connections > IDLE
    for entry in (before, during, after):
        assert set(entry["answers"]) == {"200"} and entry["broken"] == 0, entry
    assert ratio > 0.5, "they slow down others"  # 0.95 on a machine of its own.
