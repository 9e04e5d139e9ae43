"""An HTTP proxy that misbehaves on purpose, for use in front of a real S3 server.

    with S3Server() as store, FaultyProxy(store.endpoint, seed=1) as proxy:
        proxy.faults.error_rate = 0.3
        ... use proxy.endpoint in the place of store.endpoint ...

Requests go to the server unchanged (the Host header too, so that signatures hold) unless a fault is drawn.
`counts` says what happened. Standard library only; threads of its own.
"""
import collections
import dataclasses
import random
import socket
import socketserver
import threading
import time

SLOW_DOWN = (b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
             b"<Message>Please reduce your request rate.</Message></Error>")
EMPTY_LIST = (b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
              b"<Name>b</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
              b"</ListBucketResult>")


@dataclasses.dataclass
class Faults:
    """Rates are chances of each request; the rest are switches. Change them while the proxy runs."""
    error_rate: float = 0.0       # 500, 503 or SlowDown instead of asking the server
    reset_rate: float = 0.0       # the connection breaks in the middle of the answer's body
    truncate_rate: float = 0.0    # a GET's body is shorter than it says
    corrupt_rate: float = 0.0     # a byte of a GET's body is flipped
    lost_answer_rate: float = 0.0  # a PUT, POST or DELETE is done, its answer is lost
    latency_seconds: float = 0.0
    is_down: bool = False         # connections are closed at once
    hangs: bool = False           # requests are read and never answered
    lists_are_empty: bool = False
    methods: tuple = ()           # only these are hit; empty: all


def read_head(file):
    """(first line, headers as (name, value) pairs, raw bytes), or None at the end of the connection."""
    raw = bytearray()
    while True:
        line = file.readline(65536)
        if not line:
            return None
        raw += line
        if line in (b"\r\n", b"\n"):
            break
    lines = bytes(raw).split(b"\r\n")
    headers = [tuple(part.strip() for part in line.split(b":", 1)) for line in lines[1:] if b":" in line]
    return lines[0], headers, bytes(raw)


def header(headers, name):
    return next((value for key, value in headers if key.lower() == name), None)


def read_body(file, headers, until_close):
    """The body as it stands on the wire."""
    if b"chunked" in (header(headers, b"transfer-encoding") or b"").lower():
        out = bytearray()
        while True:
            line = file.readline()
            out += line
            size = int(line.split(b";")[0].strip() or b"0", 16)
            out += file.read(size + 2)
            if size == 0 or not line:
                return bytes(out)
    length = header(headers, b"content-length")
    if length is not None:
        return file.read(int(length))
    return file.read() if until_close else b""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        proxy = self.server.proxy
        self.connection.settimeout(60)
        try:
            while not proxy.faults.is_down and self.exchange(proxy):
                pass
        except (OSError, ValueError):
            pass

    def exchange(self, proxy):
        head = read_head(self.rfile)
        if head is None:
            return False
        first, headers, raw = head
        method, target = first.split(b" ")[:2]
        if (header(headers, b"expect") or b"").lower() == b"100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw = b"\r\n".join(line for line in raw.split(b"\r\n") if not line.lower().startswith(b"expect:"))
        body = read_body(self.rfile, headers, False)
        fault = proxy.draw(method.decode(), target.decode(errors="replace"))
        if proxy.faults.latency_seconds:
            time.sleep(proxy.faults.latency_seconds)
        if fault == "down":
            return False
        if fault == "hang":
            proxy.stopping.wait(300)
            return False
        if fault == "error":
            status = proxy.random.choice([b"500 Internal Server Error", b"503 Service Unavailable", b"503 Slow Down"])
            return self.answer(status, SLOW_DOWN)
        if fault == "empty_list":
            return self.answer(b"200 OK", EMPTY_LIST)
        return self.forward(proxy, fault, method, raw + body)

    def answer(self, status, content):
        self.wfile.write(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/xml\r\nContent-Length: "
                         + str(len(content)).encode() + b"\r\n\r\n" + content)
        return True

    def forward(self, proxy, fault, method, request):
        with socket.create_connection(proxy.upstream, timeout=60) as upstream:
            upstream.sendall(request)
            file = upstream.makefile("rb")
            head = read_head(file)
            if head is None:
                return False
            first, headers, raw = head
            bare = method == b"HEAD" or first.split(b" ")[1] in (b"204", b"304")
            body = b"" if bare else read_body(file, headers, True)
        if fault == "lost_answer":
            return False
        if fault == "reset" or fault == "truncate":
            self.wfile.write(raw + body[:len(body) // 2])
            if fault == "reset":
                # A reset rather than an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        if fault == "corrupt" and body:
            at = proxy.random.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1:]
        self.wfile.write(raw + body)
        return (header(headers, b"connection") or b"").lower() != b"close"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


class FaultyProxy:
    """Listens on a free loopback port from __enter__ to __exit__."""

    def __init__(self, upstream_endpoint, seed):
        host, port = upstream_endpoint.split("://")[1].rsplit(":", 1)
        self.upstream = (host, int(port))
        self.faults = Faults()
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.stopping = threading.Event()

    def draw(self, method, target):
        """Which fault this request gets, or None; counted."""
        faults = self.faults
        with self.lock:
            self.counts["requests"] += 1
            self.counts[method] += 1
            fault = self._draw(faults, method, target)
            if fault:
                self.counts[fault] += 1
            return fault

    def _draw(self, faults, method, target):
        if faults.is_down:
            return "down"
        if faults.methods and method not in faults.methods:
            return None
        if faults.hangs:
            return "hang"
        if faults.lists_are_empty and method == "GET" and ("list-type" in target or "prefix=" in target):
            return "empty_list"
        writes, reads = method in ("PUT", "POST", "DELETE"), method == "GET"
        for name, rate, applies in (("error", faults.error_rate, True), ("reset", faults.reset_rate, True),
                                    ("truncate", faults.truncate_rate, reads), ("corrupt", faults.corrupt_rate, reads),
                                    ("lost_answer", faults.lost_answer_rate, writes)):
            if applies and rate and self.random.random() < rate:
                return name
        return None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.proxy = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
