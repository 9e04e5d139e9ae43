"""The same server on a real S3 server and on a real Postgres: rows, restarts, parts in the bucket."""
import pytest
import postgres_server
import s3_server
from server_process import ServerProcess


def fill_and_check(start, arguments, environment):
    server = start(*arguments, environment=environment)
    for number in range(10):
        server.ingest("app", [{"n": number, "text": f"row {number}"}], "?commit=force" if number % 3 == 0 else "")
    expected = [[n, f"row {n}"] for n in range(10)]
    assert server.query("SELECT n, text FROM logs.app ORDER BY n")["rows"] == expected
    server.kill()
    server = start(*arguments, environment=environment)
    answer = server.query("SELECT n, text FROM logs.app ORDER BY n")
    assert answer["rows"] == expected and answer["stats"]["parts_total"] > 0
    assert server.terminate() == 0
    return server


def test_s3(start):
    if s3_server.find_program() is None:
        pytest.skip("no S3 server: `weed` is not installed (tests/e2e/requirements.txt)")
    with s3_server.S3Server() as store:
        variables = store.environment
        arguments = ["--set", "store.object.backend=s3",
                     "--set", f"store.object.endpoint={variables['MS_TEST_S3_ENDPOINT']}",
                     "--set", f"store.object.bucket={variables['MS_TEST_S3_BUCKET']}",
                     "--set", "store.object.prefix=lake",
                     "--set", f"store.object.access_key={variables['MS_TEST_S3_ACCESS_KEY']}",
                     "--set", f"store.object.secret_key={variables['MS_TEST_S3_SECRET_KEY']}"]
        server = fill_and_check(start, arguments, {})
        assert not list(server.data_dir.rglob("*.parquet"))


def test_postgres(start):
    if postgres_server.find_programs() is None:
        pytest.skip("no Postgres server is installed (scripts/setup)")
    with postgres_server.PostgresServer() as database:
        arguments = ["--set", "store.meta.backend=postgres", "--set", f"store.meta.dsn={database.url}"]
        fill_and_check(start, arguments, {})
        first = start(*arguments)
        second = ServerProcess(first.data_dir.parent / "second", arguments)
        assert second.wait_ready(60) is False and "another server uses the catalogue" in second.tail()


def test_a_wrong_store_is_a_clear_error_at_start(tmp_path):
    server = ServerProcess(tmp_path / "data", ["--set", "store.object.backend=s3",
                                               "--set", "store.object.endpoint=http://127.0.0.1:1",
                                               "--set", "store.object.bucket=none",
                                               "--set", "store.object.access_key=a",
                                               "--set", "store.object.secret_key=b",
                                               "--set", "store.object.op_timeout_secs=2"])
    assert server.wait_ready(60) is False
    assert "object store" in server.tail() and server.process.returncode != 0
