"""What is measured: our server, VictoriaLogs, and the embedded engines, behind one interface.

An Engine is used in this order, by one thread: unavailable(), start(), load(), settle(), then query() many times, stop().
"""
import calendar
import http.client
import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import measure
import queries
from oracle import FIELDS, NUMBERS

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
from server_process import ServerProcess  # noqa: E402

PEERS = pathlib.Path(os.environ.get("PEERS_DIR", ROOT / ".deps/peers"))
READY_SECONDS = 60
QUERY_SECONDS = 300
LOAD_SECONDS = 3600
END_SECONDS = 60


class Engine:
    """`key` is its name on the command line, `title` heads its column, `note` says how it was set up.

    `rank_tolerance` is the share of ranks by which its percentiles may be off, for one that estimates them.
    """

    key = title = note = ""
    rank_tolerance = 0.0
    loads = True

    def __init__(self, options, scratch):
        self.options = options
        self.directory = pathlib.Path(scratch) / self.key
        self.pid = None
        self.version = "unknown"

    def unavailable(self):
        """Why it cannot be measured here, or None."""
        return None

    def settle(self):
        """Makes everything durable and readable in its final form, as far as the engine has a command for it."""

    def disk_bytes(self):
        return measure.directory_bytes(self.directory)

    def query(self, statement):
        """(rows as lists, GETs or None)"""
        raise NotImplementedError


def end(process, ask):
    """Asks our own process to end, and ends it if it does not."""
    try:
        ask()
        process.wait(END_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


def batches_of(path, batch_bytes):
    """Pieces of about `batch_bytes` that end with a line."""
    with open(path, "rb") as file:
        while chunk := file.read(batch_bytes):
            yield chunk + file.readline()


def post_all(address, url, path, options):
    """Sends the file over `options.writers` connections. Waits and repeats what is refused for load."""
    source, lock, failures = batches_of(path, options.batch_bytes), threading.Lock(), []

    def run():
        connection = http.client.HTTPConnection(*address, timeout=120)
        try:
            while not failures:
                with lock:
                    body = next(source, None)
                if body is None:
                    return
                status, content = post_one(connection, url, body)
                if status not in (200, 204):
                    failures.append(f"{status}: {content[:300]!r}")
        except OSError as error:
            failures.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(options.writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"load failed: {failures[0]}")


def post_one(connection, url, body):
    for _ in range(600):
        connection.request("POST", url, body, {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status not in (429, 503):
            break
        time.sleep(0.1)
    return answer.status, content


class Ours(Engine):
    key, title = "ours", "MoleSignal"
    note = "HTTP, synced log before each acknowledgement, Parquet and index"
    arguments = ()

    def __init__(self, options, scratch):
        super().__init__(options, scratch)
        if options.set:
            self.note += f"; with {', '.join(options.set)}"

    def unavailable(self):
        return None if pathlib.Path(self.options.binary).is_file() else f"no server at {self.options.binary}; build it or name it with --binary"

    def start(self):
        settings = [text for setting in self.options.set for text in ("--set", setting)]
        self._server = ServerProcess(self.directory, [*self.arguments, *settings], binary=self.options.binary)
        self.pid = self._server.process.pid
        if not self._server.wait_ready(READY_SECONDS):
            raise RuntimeError(f"the server ended at its start:\n{self._server.tail()}")
        done = subprocess.run([self.options.binary, "--version"], capture_output=True, text=True, check=False)
        self.version = (done.stdout.splitlines() or ["unknown"])[0].strip()

    def load(self, data):
        host, port = self._server.addresses["http"].rsplit(":", 1)
        post_all((host, int(port)), "/api/v1/ingest/logs/bench", data, self.options)

    def settle(self):
        self._server.flush("bench", seconds=300)

    def disk_bytes(self):
        """Parts, index objects and the catalogue; the emptied log keeps its segments for reuse and is not counted."""
        return measure.directory_bytes(self.directory / "objects") + measure.directory_bytes(self.directory, "meta.db*")

    def statements(self, oracle):
        return queries.ours(oracle)

    def query(self, statement):
        status, _, body = self._server.request("POST", "/api/v1/query", {"language": "sql", "statement": statement},
                                               timeout=QUERY_SECONDS)
        answer = json.loads(body)
        if status != 200:
            raise RuntimeError(f"{status}: {answer.get('message')}")
        return answer["rows"], answer["stats"]["object_gets"]

    def stop(self):
        end(self._server.process, self._server.process.terminate)
        self._server.log.close()


class OursWithoutIndex(Ours):
    key, title = "ours-noindex", "MoleSignal, no index"
    note = "the same with `ingester.index=false`"
    arguments = ("--set", "ingester.index=false")


class VictoriaLogs(Engine):
    key, title = "victorialogs", "VictoriaLogs"
    note = "HTTP, no sync before the acknowledgement; streams by service and host"
    rank_tolerance = 0.003

    def _program(self):
        local = PEERS / "bin/victoria-logs"
        return str(local) if local.is_file() else shutil.which("victoria-logs")

    def unavailable(self):
        return None if self._program() else "not installed; see bench/install_peers"

    def start(self):
        self.directory.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = free.getsockname()
        self._log = open(self.directory / "server.log", "wb")
        self._process = subprocess.Popen(
            [self._program(), f"-storageDataPath={self.directory / 'data'}", "-retentionPeriod=100y",
             f"-httpListenAddr={self._address[0]}:{self._address[1]}"], stdout=self._log, stderr=self._log)
        self.pid = self._process.pid
        deadline = time.monotonic() + READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self._request("GET", "/health")
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise RuntimeError(f"VictoriaLogs is not ready: {(self.directory / 'server.log').read_text(errors='replace')[-500:]}")
        self.version = self._version()

    def _version(self):
        """From the build's own list of modules: programs that `go install` made have no version text."""
        for line in self._request("GET", "/metrics").decode().splitlines():
            if line.startswith("vm_app_version") and 'short_version="v' in line:
                return "VictoriaLogs " + line.split('short_version="', 1)[1].split('"', 1)[0]
        if not shutil.which("go"):
            return "VictoriaLogs, version unknown"
        done = subprocess.run(["go", "version", "-m", self._program()], capture_output=True, text=True, check=False)
        module = next((line.split() for line in done.stdout.splitlines() if line.startswith("\tmod\t")), ["", "", "unknown"])
        return f"VictoriaLogs {module[2]}"

    def _metrics(self):
        lines = self._request("GET", "/metrics").decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("vl_"))}

    def _request(self, method, url, body=None, headers=None):
        connection = http.client.HTTPConnection(*self._address, timeout=QUERY_SECONDS)
        try:
            connection.request(method, url, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(f"{answer.status}: {content[:300]!r}")
            return content
        finally:
            connection.close()

    def load(self, data):
        post_all(self._address, "/insert/jsonline?_stream_fields=service,host&_time_field=_timestamp&_msg_field=message",
                 data, self.options)

    def settle(self):
        """Waits until every accepted row is in a part on disk."""
        self._request("GET", "/internal/force_flush")
        deadline = time.monotonic() + measure.IDLE_SECONDS_MAX
        while time.monotonic() < deadline:
            metrics = self._metrics()
            stored = {name: value for name, value in metrics.items() if name.startswith("vl_storage_rows{")}
            unsaved = [value for name, value in metrics.items() if name.startswith("vl_pending_rows{")]
            unsaved += [value for name, value in stored.items() if "inmemory" in name]
            accepted = sum(value for name, value in metrics.items() if name.startswith("vl_rows_ingested_total{"))
            if sum(stored.values()) >= accepted and not any(unsaved):
                return
            time.sleep(0.5)
        raise RuntimeError("VictoriaLogs keeps rows in memory")

    def disk_bytes(self):
        return measure.directory_bytes(self.directory / "data")

    def statements(self, oracle):
        return queries.logsql(oracle)

    def query(self, statement):
        body = self._request("POST", "/select/logsql/query", urllib.parse.urlencode({"query": statement}),
                             {"Content-Type": "application/x-www-form-urlencoded"})
        return [row_of(json.loads(line)) for line in body.splitlines() if line], None

    def stop(self):
        end(self._process, self._process.terminate)
        self._log.close()


def row_of(found):
    """A LogsQL answer's object as the row that the SQL engines answer."""
    if "_msg" in found:
        whole = {**found, "_timestamp": microseconds(found["_time"]), "message": found["_msg"]}
        return [whole.get(name, "") for name in FIELDS]
    if "_time" in found:
        return [microseconds(found["_time"]) // 1_000_000, found["n"]]
    return [value for key, value in found.items() if key != "n"] + [found["n"]]


def microseconds(text):
    """Of RFC 3339 in UTC with up to nine digits."""
    whole, _, digits = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 1_000_000 + int((digits + "000000")[:6])


class Embedded(Engine):
    """An engine without a server, in a Python process of its own (worker.py)."""

    module = worker = ""

    def _python(self):
        """A Python that has the module: the peers' environment, else this one."""
        for python in (PEERS / "venv/bin/python", pathlib.Path(sys.executable)):
            if python.is_file() and subprocess.run([python, "-c", f"import {self.module}"], capture_output=True, check=False).returncode == 0:
                return str(python)
        return None

    def unavailable(self):
        return None if self._python() else f"no Python module {self.module}; see bench/install_peers"

    def database(self):
        return str(self.directory / "db")

    def start(self):
        self.directory.mkdir(parents=True)
        self._process = subprocess.Popen([self._python(), "-B", str(pathlib.Path(__file__).with_name("worker.py")), self.worker, self.database()],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.version = self._ask("version")

    def _ask(self, do, statement=None):
        self._process.stdin.write(json.dumps({"do": do, "statement": statement}) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], LOAD_SECONDS if do == "run" else QUERY_SECONDS)[0]:
            raise RuntimeError("no answer in time")
        answer = json.loads(self._process.stdout.readline() or '{"error": "the process ended"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def query(self, statement):
        return self._ask("query", statement), None

    def stop(self):
        end(self._process, self._process.stdin.close)
        self._process.stdout.close()


class ClickHouse(Embedded):
    key, title, module, worker = "clickhouse", "ClickHouse embedded", "chdb", "clickhouse"
    note = "reads the file in its own process: no HTTP, no log, no sync; text index on the message, Bloom filter on the trace id; condition cache off"

    def load(self, data):
        self._ask("run", "SET use_query_condition_cache = 0")
        self._ask("run", """
            CREATE TABLE logs (
                _timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)), level LowCardinality(String), service LowCardinality(String),
                host LowCardinality(String), method LowCardinality(String), path LowCardinality(String), status UInt16,
                duration_us UInt64 CODEC(ZSTD(1)), trace_id String CODEC(ZSTD(1)), span_id String CODEC(ZSTD(1)),
                user_id String CODEC(ZSTD(1)), message String CODEC(ZSTD(1)),
                INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
                INDEX by_word message TYPE text(tokenizer = splitByNonAlpha)
            ) ENGINE = MergeTree PARTITION BY toDate(_timestamp) ORDER BY (service, _timestamp)""")
        names = ", ".join(f"fromUnixTimestamp64Micro({name}, 'UTC')" if name == "_timestamp" else name for name in FIELDS)
        types = ", ".join(f"{name} {'Int64' if name in NUMBERS else 'String'}" for name in FIELDS)
        self._ask("run", f"INSERT INTO logs SELECT {names} FROM file('{data}', JSONEachRow, '{types}')")

    def settle(self):
        deadline = time.monotonic() + measure.IDLE_SECONDS_MAX
        while int(self._ask("query", "SELECT count() FROM system.merges")[0][0]) and time.monotonic() < deadline:
            time.sleep(0.5)

    def disk_bytes(self):
        """Of the parts that are in use: merged ones stay in the directory for some minutes."""
        return int(self._ask("query", "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'logs'")[0][0])

    def statements(self, oracle):
        return queries.clickhouse(oracle)


class DuckDb(Embedded):
    key, title, module, worker = "duckdb", "DuckDB", "duckdb", "duckdb"
    note = "reads the file in its own process into its own format: no HTTP, no index"

    def load(self, data):
        types = {"_timestamp": "BIGINT", "status": "USMALLINT", "duration_us": "BIGINT"}
        columns = ", ".join(f"{name}: '{types.get(name, 'VARCHAR')}'" for name in FIELDS)
        names = ", ".join("make_timestamp(_timestamp) AS _timestamp" if name == "_timestamp" else name for name in FIELDS)
        self._ask("run", f"CREATE TABLE logs AS SELECT {names} FROM read_json('{data}', format = 'newline_delimited', columns = {{{columns}}})")

    def settle(self):
        self._ask("run", "CHECKPOINT")

    def statements(self, oracle):
        return queries.duckdb(oracle, "logs")


class DuckDbOverParquet(Embedded):
    key, title, module, worker = "duckdb-parquet", "DuckDB over our Parquet", "duckdb", "duckdb"
    note = "the files that MoleSignal wrote in this run, without their index"
    loads = False

    def _files(self):
        return self.directory.parent / Ours.key / "objects"

    def unavailable(self):
        if not list(self._files().rglob("*.parquet")):
            return f"needs the files of '{Ours.key}' in the same run"
        return super().unavailable()

    def database(self):
        return ":memory:"

    def load(self, data):
        self._ask("run", f"CREATE VIEW logs AS SELECT * FROM read_parquet('{self._files()}/**/*.parquet', union_by_name = true)")

    def disk_bytes(self):
        return measure.directory_bytes(self._files(), ".parquet")

    def statements(self, oracle):
        return queries.duckdb(oracle, "logs")


ENGINES = [Ours, OursWithoutIndex, VictoriaLogs, ClickHouse, DuckDbOverParquet, DuckDb]
