"""The command line: help, exit codes, what goes to which stream. Needs no server of ours: client
commands talk to a scripted one."""
import gzip
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest
import zstandard
from server_process import default_binary

GOLDEN = pathlib.Path(__file__).parent / "golden"
ROWS = "".join(json.dumps({"n": n, "message": "x" * 400}) + "\n" for n in range(12_000))


def run(*arguments, stdin=None, environment=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MS_")}
    return subprocess.run([default_binary(), *arguments], input=stdin, capture_output=True,
                          env={**clean, **(environment or {})}, timeout=60, check=False)


class ScriptedServer:
    """Answers each request with the next of `answers`, then with the last one; keeps the requests.

    An answer is (status, headers, body), or a function of (path, body) that returns one."""

    def __init__(self):
        self.requests, self.answers = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                status, headers, content = answer(self.path, body) if callable(answer) else answer
                content = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def scripted():
    server = ScriptedServer()
    yield server
    server.close()


def accept_all(_path, body):
    return 200, {}, json.dumps({"accepted": body.count(b"\n"), "rejected": 0, "errors": []})


def command_paths(prefix=()):
    """Every command and subcommand, as --help lists them."""
    yield prefix
    text = run(*prefix, "--help").stdout.decode()
    listed = text.partition("\nSubcommands:\n")[2].partition("\n\n")[0]
    for name in re.findall(r"^  (\S+)", listed, re.MULTILINE):
        yield from command_paths((*prefix, name))


def test_help_is_as_written_down():
    text = "".join(f"$ molesignal {' '.join((*path, '--help'))}\n{run(*path, '--help').stdout.decode()}"
                   for path in command_paths())
    golden = GOLDEN / "help.txt"
    if "MS_TEST_REWRITE" in os.environ:
        golden.write_text(text)
    assert text == golden.read_text(), "renew it: MS_TEST_REWRITE=1 pytest tests/e2e/test_cli.py"


def test_every_command_has_examples_first():
    for path in command_paths():
        help_of = run(*path, "--help")
        assert help_of.returncode == 0
        assert help_of.stderr == b""
        text = help_of.stdout.decode()
        if len(path) == 1:
            assert text.index("Examples:") < text.index("Usage:"), path


@pytest.mark.parametrize("arguments, code, message", [
    ([], 2, "'molesignal' needs a command"),
    (["qurey", "x"], 2, "unknown command 'qurey'; did you mean 'query'?"),
    (["query", "--form", "x", "y"], 2, "unknown option '--form'; did you mean '--from'?"),
    (["config", "chekc"], 2, "unknown command 'chekc'; did you mean 'check'?"),
    (["config"], 2, "'molesignal config' needs a command"),
    (["query"], 2, "STATEMENT is required"),
    (["query", "a", "b"], 2, "unknown argument 'b'"),
    (["query", "-o", "xml", "a"], 2, "--output"),
    (["query", "--from", "tomorrow", "a"], 2, "'tomorrow' is not a time"),
    (["query", "--from", "now", "--to", "-1h", "a"], 2, "--from must not be later than --to"),
    (["query", "--url", "ftp://x", "a"], 2, "ftp://x"),
    (["query", "--url", "http://127.0.0.1:1", "a"], 75, "cannot connect"),
    (["config", "check", "--config", "/does/not/exist"], 4, "/does/not/exist"),
    (["config", "check", "--set", "http.io_threads=0"], 3, "must be 1 to 256 threads"),
    (["config", "check", "--set", "http.listen=0.0.0.0:1"], 3, 'auth.mode = "token"'),
    (["config", "show", "--set", "x"], 2, "must be section.key=value"),
])
def test_usage_errors(arguments, code, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()
    assert "\x1b" not in done.stderr.decode()


def test_version():
    assert re.fullmatch(r"molesignal \d+\.\d+\.\d+ \(.*\)\n", run("version").stdout.decode())
    assert run("--version").stdout == run("version").stdout
    assert json.loads(run("version", "--json").stdout)["name"] == "molesignal"


def test_config_sources(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text('[http]\nio_threads = 3\n\n[query]\ntimeout_secs = 5\nbytes_max = "1MiB"\n')
    done = run("config", "show", "--config", str(file), "--set", "query.timeout_secs=7",
               "--data-dir", "/d", environment={"MS_HTTP_IO_THREADS": "4"})
    text = done.stdout.decode()
    assert done.returncode == 0
    assert "io_threads = 4  # MS_HTTP_IO_THREADS\n" in text
    assert "timeout_secs = 7  # flag\n" in text
    assert f"bytes_max = 1048576  # {file}:6\n" in text
    assert 'data_dir = "/d"  # flag\n' in text
    assert run("config", "check", environment={"MS_CONFIG": str(file)}).returncode == 0
    file.write_text("[http]\nlisen = 1\n")
    wrong = run("config", "check", environment={"MS_CONFIG": str(file)})
    assert wrong.returncode == 3
    assert f"{file}:2: unknown setting 'http.lisen'; did you mean 'http.listen'?" in wrong.stderr.decode()


def test_config_reference_is_the_page(repository):
    assert run("config", "reference").stdout.decode() == (repository / "docs/config.md").read_text()


ANSWER = {"columns": ["name", "n"], "column_types": ["VARCHAR", "BIGINT"],
          "rows": [["a\x1b[31m", 9223372036854775807], [None, 2]],
          "stats": {"took_ms": 1}, "partial": False, "warnings": ["careful"]}


def test_query_table(scripted):
    scripted.answers = [(200, {}, json.dumps(ANSWER))]
    done = run("query", "-o", "table", "--from", "-1h", "--limit", "5", "SELECT 'ü'",
               environment={"MS_URL": scripted.url, "MS_TOKEN": "ms_a_b"})
    assert done.returncode == 0
    assert done.stdout.decode() == ("name       n\n"
                                    "---------  -------------------\n"
                                    "a\\x1b[31m  9223372036854775807\n"
                                    "                             2\n")
    assert done.stderr.decode() == "warning: careful\n"
    method, path, headers, body = scripted.requests[0]
    assert (method, path, headers["Authorization"]) == ("POST", "/api/v1/query", "Bearer ms_a_b")
    sent = json.loads(body)
    assert (sent["language"], sent["statement"], sent["limit"]) == ("sql", "SELECT 'ü'", 5)
    assert sent["time_range"]["end"] - sent["time_range"]["start"] == 3600 * 1_000_000


def test_query_streams_and_is_ndjson_in_a_pipe(scripted):
    scripted.answers = [(200, {}, '{"a":1}\n{"a":2}\n')]
    done = run("query", "--url", scripted.url, "SELECT 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"a":1}\n{"a":2}\n', b"")
    assert scripted.requests[0][2]["Accept"] == "application/x-ndjson"
    run("query", "--url", scripted.url, "-o", "csv", "SELECT 1")
    assert scripted.requests[1][2]["Accept"] == "text/csv"


def test_query_partial(scripted):
    scripted.answers = [(200, {}, json.dumps({**ANSWER, "partial": True}))]
    done = run("query", "--url", scripted.url, "-o", "json", "SELECT 1")
    assert done.returncode == 6
    assert json.loads(done.stdout)["partial"] is True


@pytest.mark.parametrize("status, code", [(400, 2), (401, 5), (403, 5), (404, 4), (429, 75), (503, 75),
                                          (504, 7), (500, 1)])
def test_query_errors(scripted, status, code):
    scripted.answers = [(status, {"X-Request-Id": "r1"}, '{"error":"some_code","message":"no \\u001bway"}')]
    done = run("query", "--url", scripted.url, "SELECT 1")
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode() == f"error: no \\x1bway ({status} some_code, request r1)\n"


def sent_rows(scripted):
    return [json.loads(line)["n"] for _, _, _, body in scripted.requests for line in body.splitlines()]


def test_ingest_in_chunks(scripted, tmp_path):
    file = tmp_path / "rows.ndjson"
    file.write_text(ROWS)
    scripted.answers = [accept_all]
    done = run("ingest", "my stream", str(file), "--url", scripted.url, "--commit", "force")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"accepted 12000\nrejected 0\n", b"")
    assert sent_rows(scripted) == list(range(12_000))
    for _, path, headers, body in scripted.requests:
        assert path == "/api/v1/ingest/logs/my%20stream?commit=force"
        assert headers["Content-Type"] == "application/x-ndjson"
        assert len(body) <= 1 << 20 and body.count(b"\n") <= 5000


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_ingest_compressed_and_standard_input(scripted, pack):
    scripted.answers = [accept_all]
    done = run("ingest", "s", "-", "--url", scripted.url, "--json", stdin=pack(ROWS.encode()))
    assert (done.returncode, json.loads(done.stdout)) == (0, {"accepted": 12000, "rejected": 0})
    assert sent_rows(scripted) == list(range(12_000))


def test_ingest_an_array(scripted):
    scripted.answers = [accept_all]
    text = json.dumps([{"n": 1, "s": "]\n"}, {"n": 2}], indent=2)
    assert run("ingest", "s", "-", "--url", scripted.url, stdin=text.encode()).returncode == 0
    assert sent_rows(scripted) == [1, 2]


def test_ingest_retries_only_what_was_refused(scripted):
    scripted.answers = [(503, {"Retry-After": "1"}, "{}"), (429, {}, "{}"), accept_all]
    begin = time.monotonic()
    done = run("ingest", "s", "-", "--url", scripted.url, stdin=b'{"n":1}\n')
    assert (done.returncode, done.stdout) == (0, b"accepted 1\nrejected 0\n")
    assert len(scripted.requests) == 3
    assert time.monotonic() - begin >= 1
    scripted.answers = [(500, {}, '{"error":"e","message":"broken"}')]
    assert run("ingest", "s", "-", "--url", scripted.url, stdin=b'{"n":1}\n').returncode == 1
    assert len(scripted.requests) == 4
    scripted.answers = [(503, {}, '{"error":"e","message":"full"}')]
    done = run("ingest", "s", "-", "--url", scripted.url, "--retries", "1", stdin=b'{"n":1}\n')
    assert (done.returncode, len(scripted.requests)) == (75, 6)


def test_ingest_says_what_was_accepted_before_a_failure(scripted, tmp_path):
    (tmp_path / "a").write_text('{"n":1}\n')
    scripted.answers = [accept_all]
    done = run("ingest", "s", str(tmp_path / "a"), str(tmp_path / "no"), "--url", scripted.url)
    assert (done.returncode, done.stdout) == (4, b"accepted 1\nrejected 0\n")
    assert str(tmp_path / "no") in done.stderr.decode()


def test_ingest_partial(scripted):
    scripted.answers = [(200, {}, json.dumps({"accepted": 1, "rejected": 1,
                                              "errors": [{"index": 1, "reason": "too \u001bold"}]}))]
    done = run("ingest", "s", "-", "--url", scripted.url, stdin=b'{"n":1}\n\n{"n":2}\n')
    assert (done.returncode, done.stdout) == (6, b"accepted 1\nrejected 1\n")
    assert done.stderr.decode() == "-:3: rejected: too \\x1bold\n"


def test_interrupt(scripted):
    arrived = threading.Event()

    def hang(_path, _body):
        arrived.set()
        time.sleep(20)
        return 200, {}, ""

    scripted.answers = [hang]
    process = subprocess.Popen([default_binary(), "query", "--url", scripted.url, "SELECT 1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert arrived.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")


def test_token_commands(scripted):
    token = {"id": "01a", "name": "n", "token": "ms_pre_secret", "permissions": ["ingest", "query"]}
    scripted.answers = [(201, {}, json.dumps(token))]
    done = run("token", "create", "n", "--permission", "ingest", "--permission", "query",
               "--expires-days", "1", "--url", scripted.url)
    assert (done.returncode, done.stdout) == (0, b"ms_pre_secret\n")
    sent = json.loads(scripted.requests[0][3])
    assert (sent["name"], sent["permissions"]) == ("n", ["ingest", "query"])
    scripted.answers = [(200, {}, json.dumps({"tokens": [{**token, "token": None}]}))]
    done = run("token", "list", "--url", scripted.url)
    assert done.returncode == 0
    assert "ingest,query" in done.stdout.decode() and "secret" not in done.stdout.decode()
    scripted.answers = [(204, {}, "")]
    assert run("token", "revoke", "a/b", "--url", scripted.url).returncode == 0
    assert scripted.requests[-1][:2] == ("DELETE", "/api/v1/tokens/a%2Fb")
    scripted.answers = [(404, {}, '{"error":"not_found","message":"no such token"}')]
    assert run("token", "revoke", "x", "--url", scripted.url).returncode == 4
