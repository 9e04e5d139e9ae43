#!/usr/bin/env python3
"""kill -9 in the middle of a load; after the restart every acknowledged row is there once and unaltered.

The writers and the list of acknowledgements live in this process, the server in another. A round starts
the server (perhaps with a failpoint armed that kills it from inside), writes over four connections, kills
it at a random moment, and the next round checks: acknowledged <= found <= sent, each row once, each
checksum right.

    kill_test.py [--rounds N] [--failpoints all|none|NAME,...] [--hits N] [--seed S] [-- SERVER-ARGUMENTS]
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from server_process import ServerProcess, default_binary, scratch_directory  # noqa: E402

STREAMS = ["orders", "billing"]
WRITERS = 4
# Small memtables and a short interval, so that flushes happen all the time.
SETTINGS = ["--set", "ingester.buffer_max_mb=1", "--set", "ingester.flush_interval_secs=1",
            "--set", "wal.segment_size_mb=1"]


def row_of(writer, sequence, salt):
    text = f"{salt}:{writer}:{sequence}:" + "payload " * (sequence % 7)
    return {"writer": writer, "seq": sequence, "text": text, "crc": zlib.crc32(text.encode()),
            f"field_{sequence % 11}": sequence % 3}


# Failpoints that only a start after an unfinished flush passes: the round before is killed there.
AFTER_UNFINISHED_FLUSH = ("replay_intent_abandoned", "replay_object_removed")
# What else must fail for a failpoint to be passed.
PREPARED = {name: "wal_before_sync=error@40" for name in ("wal_before_mend", "wal_mend_moved", "wal_mended")}
PREPARED["wal_read_only"] = "wal_before_sync=error@40,wal_before_mend=error"
# Passed by a stop: the load ends with SIGTERM.
AT_THE_STOP = ("drain_", "lease_before_release", "wal_before_close", "wal_closed")
# Not of this test: they need an S3 store, a full disk, damage that loses rows, a quarter of an hour.
ELSEWHERE = ("s3_", "wal_reserve_released", "wal_before_quarantine", "retention_object_removed", "retention_part_purged")


class Ledger:
    """What was sent and what was acknowledged, by (stream, writer, sequence)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = set()
        self.acknowledged = set()
        self.next_sequence = {}

    def take(self, stream, writer, count):
        with self.lock:
            first = self.next_sequence.get((stream, writer), 0)
            self.next_sequence[(stream, writer)] = first + count
            keys = [(stream, writer, first + i) for i in range(count)]
            self.sent.update(keys)
            return keys

    def acknowledge(self, keys):
        with self.lock:
            self.acknowledged.update(keys)


def write_until_death(address, writer, ledger, salt, generator, stop):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    while not stop.is_set():
        stream = generator.choice(STREAMS)
        keys = ledger.take(stream, writer, generator.choice([1, 1, 10, 100, 400]))
        body = "\n".join(json.dumps(row_of(writer, key[2], salt)) for key in keys)
        mode = generator.choice(["", "", "", "", "?commit=force", "?commit=wait_for"])
        try:
            connection.request("POST", f"/api/v1/ingest/logs/{stream}{mode}", body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return
        if answer.status == 200:
            result = json.loads(content)
            if result["accepted"] != len(keys):
                raise AssertionError(f"{len(keys)} rows sent, answer {result}")
            ledger.acknowledge(keys)


def check(server, ledger, salt):
    """Compares what the server has with the ledger; returns a list of faults."""
    faults = []
    known = {entry["name"] for entry in json.loads(server.request("GET", "/api/v1/streams")[2])["streams"]}
    for stream in STREAMS:
        acknowledged = {key for key in ledger.acknowledged if key[0] == stream}
        if stream not in known:
            if acknowledged:
                faults.append(f"{stream}: the stream with {len(acknowledged)} acknowledged rows is missing")
            continue
        status, _, body = server.request(
            "POST", "/api/v1/query",
            {"language": "sql", "statement": f"SELECT writer, seq, crc, text FROM logs.{stream}"},
            {"Accept": "application/x-ndjson"}, timeout=120)
        if status == 400 and not acknowledged:
            continue  # Made a moment before the kill: it has no columns yet.
        if status != 200:
            faults.append(f"{stream}: the query answered {status}: {body[:300]}")
            continue
        found = {}
        for line in body.splitlines():
            row = json.loads(line)
            key = (stream, row["writer"], row["seq"])
            found[key] = found.get(key, 0) + 1
            if row["text"] != row_of(row["writer"], row["seq"], salt)["text"] or \
                    zlib.crc32(row["text"].encode()) != row["crc"]:
                faults.append(f"{key}: altered: {row}")
        lost = acknowledged - found.keys()
        if lost:
            faults.append(f"{stream}: {len(lost)} acknowledged rows lost, such as {sorted(lost)[:5]}")
        invented = {key for key in found if key not in ledger.sent}
        if invented:
            faults.append(f"{stream}: {len(invented)} rows that were never sent, such as {sorted(invented)[:5]}")
        doubled = [key for key, count in found.items() if count > 1]
        if doubled:
            faults.append(f"{stream}: {len(doubled)} rows doubled, such as {sorted(doubled)[:5]}")
    return faults


def drop_a_stream(server):
    """One of its own, whose rows nobody misses."""
    try:
        server.ingest("scratch", [{"n": 1}])
        streams = json.loads(server.request("GET", "/api/v1/streams")[2])["streams"]
        stream = next(entry["id"] for entry in streams if entry["name"] == "scratch")
        server.request("DELETE", f"/api/v1/streams/{stream}")
    except (OSError, http.client.HTTPException):
        pass  # Killed on the way, as wanted.


def run_round(directory, ledger, salt, seed, failpoint, extra):
    """One start, load and kill. Returns (faults, hit): whether the failpoint ended the process."""
    generator = random.Random(seed)
    arguments = [*SETTINGS, *extra]
    name = failpoint.partition("=")[0] if failpoint is not None else ""
    if failpoint is not None:
        arguments += ["--failpoints", ",".join([failpoint, *filter(None, [PREPARED.get(name)])])]
    if name == "wal_reserve_rebuilt":
        (directory / "wal" / "reserve").unlink(missing_ok=True)
    server = ServerProcess(directory, arguments)
    faults, hit = [], False
    try:
        if server.wait_ready(120):
            try:
                faults = check(server, ledger, salt)
            except (OSError, http.client.HTTPException):
                # A failpoint of the background may end the process during the check; the next round checks.
                if failpoint is None or server.process.wait(10) != -9:
                    raise
                return [], True
            stop = threading.Event()
            writers = [threading.Thread(target=write_until_death, daemon=True, args=(
                server.addresses["http"], writer, ledger, salt, random.Random(seed * 31 + writer), stop))
                for writer in range(WRITERS)]
            for thread in writers:
                thread.start()
            patience = 6.0 if failpoint is not None else generator.uniform(0.05, 1.5)
            deadline = time.monotonic() + patience
            if name == "ingest_stream_dropped":
                drop_a_stream(server)
            if name.startswith(AT_THE_STOP):
                time.sleep(0.5)
                server.process.send_signal(signal.SIGTERM)
                deadline += 30
            while time.monotonic() < deadline and server.process.poll() is None:
                time.sleep(0.005)
            hit = server.process.poll() is not None
            server.kill()
            stop.set()
            for thread in writers:
                thread.join()
        else:
            hit = True
        code = server.process.returncode
        if failpoint is None and hit:
            faults.append(f"the server ended by itself with {code}; log:\n{server.tail()}")
        if failpoint is not None and hit and code != -9:
            faults.append(f"{failpoint}: the server ended with {code}, not by the failpoint; log:\n{server.tail()}")
    finally:
        server.kill()
    return faults, hit


def plan_rounds(options):
    rounds = [None] * options.rounds
    if options.failpoints != "none":
        names = subprocess.run([default_binary(), "--list-failpoints"], check=True, capture_output=True,
                               text=True).stdout.split()
        names = [name for name in names if not name.startswith(ELSEWHERE)]
        if options.failpoints != "all":
            names = [name for name in names if name in options.failpoints.split(",")]
        rounds += [f"{name}=kill@{hit}" for name in names for hit in range(1, options.hits + 1)]
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="kills at random times")
    parser.add_argument("--failpoints", default="all", help="all, none, or names")
    parser.add_argument("--hits", type=int, default=1, help="passages of each failpoint to kill at")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MS_TEST_SEED", "0")) or int(time.time()))
    parser.add_argument("server", nargs="*", help="arguments for the server")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    ledger, salt, failed, hits = Ledger(), f"s{options.seed}", 0, 0
    rounds = plan_rounds(options)
    random.Random(options.seed).shuffle(rounds)
    rounds = [step for name in rounds for step in (
        ["flush_part_stored=kill@1", name] if name is not None and name.startswith(AFTER_UNFINISHED_FLUSH) else [name])]
    with scratch_directory("kill") as scratch:
        directory = pathlib.Path(scratch) / "data"
        for number, failpoint in enumerate([*rounds, None]):
            faults, hit = run_round(directory, ledger, salt, options.seed * 1000 + number, failpoint, options.server)
            hits += failpoint is not None and hit
            if failpoint is not None and not hit:
                print(f"round {number}: {failpoint} was not reached", flush=True)
            for fault in faults:
                failed += 1
                print(f"round {number} ({failpoint or 'random kill'}): {fault}", flush=True)
            if failed:
                break
        kills = len(rounds) + 1
    print(f"{kills} kills ({hits} at failpoints), {len(ledger.sent)} rows sent, "
          f"{len(ledger.acknowledged)} acknowledged, {failed} faults", flush=True)
    if not ledger.acknowledged:
        print("nothing was acknowledged: the test proved nothing", flush=True)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
