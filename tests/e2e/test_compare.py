"""bench/compare: the harness runs, its answers are checked, and a wrong one is found."""
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from server_process import default_binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPARE = ROOT / "bench/compare"
LOGGEN = pathlib.Path(default_binary()).with_name("loggen")
ROWS = 20_000


def run(*arguments):
    command = [sys.executable, "-B", str(COMPARE), "--rows", str(ROWS), "--runs", "1", "--binary", default_binary(),
               "--loggen", str(LOGGEN), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def modules():
    """(oracle, queries, report, the program) as modules."""
    sys.path.insert(0, str(COMPARE))
    try:
        import oracle
        import queries
        import report
        spec = importlib.util.spec_from_file_location("compare_program", COMPARE / "__main__.py")
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        yield oracle, queries, report, program
    finally:
        sys.path.remove(str(COMPARE))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "logs.ndjson"
    with open(path, "wb") as out:
        subprocess.run([str(LOGGEN), "--rows", str(ROWS), "--seed", "3", "--step-us", "400000"], stdout=out, check=True)
    return path


def test_ours_and_duckdb(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- compare:begin -->\nold\n<!-- compare:end -->\nafter\n")
    done = run("--engines", "ours,ours-noindex,duckdb,duckdb-parquet", "--json", str(tmp_path / "report.json"), "--markdown", str(page),
               "--scratch", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["right"] and report["rows"] == ROWS and report["raw_mb"] > 1
    entries = {entry["engine"]: entry for entry in report["engines"]}
    assert set(entries) == {"ours", "ours-noindex", "duckdb", "duckdb-parquet"}
    measured = [entry for entry in entries.values() if "skipped" not in entry]
    assert {"ours", "ours-noindex"} <= {entry["engine"] for entry in measured}
    for entry in measured:
        assert len(entry["queries"]) == 15, entry
        assert entry["disk_mb"] > 0 and entry["query_rss_mb"] > 0 and entry["version"] != "unknown"
        for answer in entry["queries"].values():
            assert answer["cpu_ms"] >= 0 and answer["wall_ms"] > 0 and not {"wrong", "error"} & set(answer), answer
    assert entries["ours"]["load_cpu_s"] > 0 and entries["ours"]["queries"]["needle"]["gets"] >= 1
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "### Loading" in text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("molesignal-compare-")] == []


def test_what_is_not_there_is_skipped_or_refused(tmp_path):
    done = run("--engines", "ours", "--binary", str(tmp_path / "none"))
    assert done.returncode == 1 and "skipped: no server at" in done.stderr and "nothing was measured" in done.stderr
    done = run("--engines", "elephant")
    assert done.returncode == 2 and "no engine 'elephant'" in done.stderr


def right_answers(oracle, module):
    newest = sorted((module.canonical(row) for row in oracle.newest), reverse=True)[:module.NEWEST]
    answers = {
        "count by level": [[key, str(value)] for key, value in oracle.levels.items()],
        "errors per 5 min": [list(item) for item in oracle.buckets.items()],
        "p99 by service": [[key, values[int(len(values) * 0.99)]] for key, values in oracle.durations.items()],
        "top hosts": [list(item) for item in oracle.hosts.most_common(module.TOP)],
        "needle": [list(module.canonical(oracle.needle))],
        "newest errors": [list(row) for row in newest],
    }
    return answers


def spoil(query, rows):
    """Wrong in one place, as little as may be."""
    if query.shape == "rows":
        return [[*rows[0][:-1], rows[0][-1] + "x"], *rows[1:]]
    if query.shape == "percentile":
        return [[rows[0][0], rows[0][1] * 2], *rows[1:]]
    return [[*rows[0][:-1], int(rows[0][-1]) + 1], *rows[1:]]


def test_the_oracle_takes_the_right_answer_alone(modules, data):
    module, queries, _, _ = modules
    oracle = module.Oracle(data, ROWS)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    assert oracle.count == len(rows) == ROWS
    assert oracle.expected_number("distinct traces") == len({row["trace_id"] for row in rows})
    assert oracle.expected_number("substring") == sum(module.SUBSTRING in row["message"] for row in rows) > 0
    answers = right_answers(oracle, module)
    for query in queries.QUERIES:
        right = answers.get(query.name) or [[oracle.expected_number(query.name)]]
        assert int(right[0][-1] if query.shape == "number" else 1) > 0, f"{query.name}: nothing to find"
        assert oracle.compare(query, right, 0.0) is None, query.name
        assert oracle.compare(query, spoil(query, right), 0.0), query.name
        assert oracle.compare(query, [], 0.0) and oracle.compare(query, None, 0.0), query.name
        if query.shape != "number":
            assert oracle.compare(query, right[1:], 0.0), query.name
            assert oracle.compare(query, [*right, right[0]], 0.0), query.name


def test_every_engine_says_every_query(modules, data):
    module, queries, _, _ = modules
    oracle = module.Oracle(data, ROWS)
    names = {query.name for query in queries.QUERIES}
    for statements in (queries.ours(oracle), queries.duckdb(oracle, "logs"), queries.clickhouse(oracle), queries.logsql(oracle)):
        assert set(statements) == names


def test_a_wrong_answer_is_shown_and_fails(modules):
    _, queries, report, program = modules
    good = {"cpu_ms": 1.0, "wall_ms": 1.0, "first_cpu_ms": 1.0, "first_wall_ms": 1.0, "gets": 1, "first_gets": 2}
    entry = {"engine": "ours", "title": "Ours", "note": "n", "version": "v", "disk_mb": 1.0, "load_cpu_s": 1.0, "load_rss_mb": 1.0,
             "query_rss_mb": 1.0, "idle": True, "other_cores": 0.0, "queries": {query.name: dict(good) for query in queries.QUERIES}}
    whole = {"rows": 1, "raw_mb": 1.0, "seed": 1, "runs": 1, "date": "2026-01-01", "load_average": 0.0,
             "machine": {"cores": 1, "cpu": "c", "memory_gb": 1, "kernel": "k"}, "engines": [entry]}
    assert program.is_right(whole) and "WRONG" not in report.text(whole)
    entry["queries"]["count"]["wrong"] = "3, not 4"
    assert not program.is_right(whole)
    assert "WRONG 1.0 / 1.0" in report.text(whole) and "count: WRONG: 3, not 4" in report.markdown(whole)
    entry["queries"]["count"] = {"error": "gone"}
    assert not program.is_right(whole) and "FAILED" in report.text(whole)
    del entry["queries"]["count"]
    assert program.is_right(whole) and "–" in report.text(whole)
    assert not program.is_right({**whole, "engines": [{"engine": "ours", "title": "Ours", "failed": "x"}, entry]})
