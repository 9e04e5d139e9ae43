"""Writers whose acknowledgements are kept, and the comparison with what a server has.

Rows carry their writer, sequence number and a checksum. After any fault: acknowledged is a part of found, found is a
part of sent, each row once, each unaltered. A request that failed may have stored its rows: it is not sent again, the
writer goes on with new rows.
"""
import collections
import http.client
import json
import random
import threading
import zlib

# What a client may see while a server is in trouble: come back later.
RETRYABLE = (429, 503, 504)


class Unanswered(Exception):
    """A check got an answer other than 200: it says nothing about the rows."""

    def __init__(self, status, body):
        super().__init__(f"answer {status}: {body[:300]}")
        self.status, self.body = status, body


class Ledger:
    """What was sent and what was acknowledged, by (stream, writer, sequence)."""

    def __init__(self, salt):
        self.salt = salt
        self.lock = threading.Lock()
        self.sent = set()
        self.acknowledged = set()
        self.answers = collections.Counter()
        self.found_faults = collections.Counter()  # Rows that checks found lost, invented, doubled, altered.
        self.next_sequence = collections.Counter()

    def take(self, stream, writer, count):
        with self.lock:
            first = self.next_sequence[(stream, writer)]
            self.next_sequence[(stream, writer)] = first + count
            keys = [(stream, writer, first + i) for i in range(count)]
            self.sent.update(keys)
            return keys

    def acknowledge(self, keys):
        with self.lock:
            self.acknowledged.update(keys)

    def text_of(self, writer, sequence):
        return f"{self.salt}:{writer}:{sequence}:" + "payload " * (sequence % 7)

    def row_of(self, key):
        _, writer, sequence = key
        text = self.text_of(writer, sequence)
        crc = zlib.crc32(text.encode())
        return {"writer": writer, "seq": sequence, "text": text, "crc": crc, "request_id": f"{sequence:x}-{crc:08x}",
                f"field_{sequence % 11}": sequence % 3}

    def check(self, server, timeout=120, unanswered_ok=False):
        """The faults found, as texts; empty: all is well. Writers may go on meanwhile.

        An answer other than 200 is a fault, or raises Unanswered if `unanswered_ok`.
        """
        faults = []
        with self.lock:  # What is acknowledged before a query starts is in its answer.
            streams = sorted({key[0] for key in self.sent})
            acknowledged = {stream: {key for key in self.acknowledged if key[0] == stream} for stream in streams}
        status, _, body = server.request("GET", "/api/v1/streams?limit=1000", timeout=timeout)
        if status != 200:
            if unanswered_ok:
                raise Unanswered(status, body)
            return [f"the list of streams answered {status}: {body[:300]}"]
        known = {entry["name"] for entry in json.loads(body)["streams"]}
        for stream in streams:
            if stream in known:
                faults += self._check_stream(server, stream, acknowledged[stream], timeout, unanswered_ok)
            elif acknowledged[stream]:
                faults.append(f"{stream}: the stream with {len(acknowledged[stream])} acknowledged rows is missing")
        return faults

    def _check_stream(self, server, stream, acknowledged, timeout, unanswered_ok):
        status, _, body = server.request(
            "POST", "/api/v1/query",
            {"language": "sql", "statement": f"SELECT writer, seq, crc, text FROM logs.{stream}"},
            {"Accept": "application/x-ndjson"}, timeout=timeout)
        with self.lock:  # What is sent by now may be in the answer.
            sent = {key for key in self.sent if key[0] == stream}
        if status == 400 and not acknowledged and b"no column" in body:
            return []  # Made a moment before the fault: it has no columns yet.
        if status != 200:
            if unanswered_ok:
                raise Unanswered(status, body)
            return [f"{stream}: the query answered {status}: {body[:300]}"]
        faults, found = [], collections.Counter()
        for line in body.splitlines():
            row = json.loads(line)
            found[(stream, row["writer"], row["seq"])] += 1
            if row["text"] != self.text_of(row["writer"], row["seq"]) or \
                    zlib.crc32(row["text"].encode()) != row["crc"]:
                faults.append(f"{stream}: altered: {row}")
                self.found_faults["altered"] += 1
        for kind, what, keys in (("lost", "acknowledged rows lost", acknowledged - found.keys()),
                                 ("invented", "rows that were never sent", found.keys() - sent),
                                 ("doubled", "rows doubled", {key for key, count in found.items() if count > 1})):
            if keys:
                self.found_faults[kind] += len(keys)
                faults.append(f"{stream}: {len(keys)} {what}, such as {sorted(keys)[:5]}")
        return faults


def json_request(ledger, keys, mode):
    body = "\n".join(json.dumps(ledger.row_of(key)) for key in keys)
    return f"/api/v1/ingest/logs/{keys[0][0]}{mode}", body, {"Content-Type": "application/x-ndjson"}


def otlp_request(ledger, keys, _mode):
    """An OTLP export over HTTP; needs the package opentelemetry-proto."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
    message = logs_service_pb2.ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for key in keys:
        record = scope.log_records.add()
        for name, value in ledger.row_of(key).items():
            attribute = record.attributes.add()
            attribute.key = name
            if isinstance(value, str):
                attribute.value.string_value = value
            else:
                attribute.value.int_value = value
    return "/v1/logs", message.SerializeToString(), {"Content-Type": "application/x-protobuf", "stream-name": keys[0][0]}


class Writers:
    """Threads that write to the server at `address` until they are stopped or it is gone.

    `modes` are query strings of the JSON route, drawn at random. `sizes` are rows of a request. With `gone_ok` a broken
    connection ends a writer; otherwise it opens another one.
    """

    def __init__(self, ledger, addresses, *, count=4, seed=0, streams=("orders", "billing"), sizes=(1, 1, 10, 100, 400),
                 modes=("",), protocols=(json_request,), gone_ok=True, pause=0.0):
        self.ledger, self.addresses, self.streams = ledger, addresses, streams
        self.sizes, self.modes, self.protocols = sizes, modes, protocols
        self.gone_ok, self.pause = gone_ok, pause
        self.stopping = threading.Event()
        self.faults = []
        self.threads = [threading.Thread(target=self._run, args=(writer, random.Random(seed * 31 + writer)), daemon=True)
                        for writer in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, writer, generator):
        connections = {}
        try:
            while not self.stopping.is_set():
                if not self._write_once(writer, generator, connections) and self.gone_ok:
                    return
                if self.pause:
                    self.stopping.wait(self.pause)
        except Exception as error:  # A thread's error must not be lost.
            self.faults.append(f"writer {writer}: {error!r}")

    def _write_once(self, writer, generator, connections):
        """False if the connection broke."""
        keys = self.ledger.take(generator.choice(self.streams), writer, generator.choice(self.sizes))
        protocol = generator.choice(self.protocols)
        path, body, headers = protocol(self.ledger, keys, generator.choice(self.modes))
        listener = "otlp_http" if protocol is otlp_request else "http"
        try:
            if listener not in connections:
                host, port = self.addresses[listener].rsplit(":", 1)
                connections[listener] = http.client.HTTPConnection(host, int(port), timeout=60)
            connections[listener].request("POST", path, body, headers)
            answer = connections[listener].getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connections.pop(listener, None)
            if not self.gone_ok:
                self.stopping.wait(0.05)
            return False
        self.ledger.answers[answer.status] += 1
        if answer.status == 200:
            if listener == "http" and json.loads(content)["accepted"] != len(keys):
                self.faults.append(f"{len(keys)} rows sent, answer {content[:300]}")
            elif listener == "otlp_http" and content:
                self.faults.append(f"an OTLP export was taken in part: {content[:300]}")
            self.ledger.acknowledge(keys)
        elif answer.status in RETRYABLE:
            self.stopping.wait(0.02)
        else:
            self.faults.append(f"answer {answer.status}: {content[:300]}")
        return True

    def stop(self):
        """Ends the writers; returns what they complain about."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return self.faults
