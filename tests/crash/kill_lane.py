"""One lane of kill_test.py: a server on a directory of its own that is killed again and again.

What is checked, and when. A lane writes to one generation of streams for some kills, then to the next. The rows of the
current generation are all checked at every start that becomes ready; those of all generations of the directory each
`FULL_CHECK_EVERY` kills and at the end of the directory. So no row goes without a check, and a round does not become
slower with all that was written before. Several kills may lie between two checks: a start that is killed has none.
"""
import collections
import contextlib
import http.client
import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import time

from kill_plan import (AFTERWARDS, ALSO, AT_START, AT_STOP, BESIDE, ON_A_FULL_DISK, PRELUDES, WHILE_DUMPING, WHILE_MERGING,
                       WHILE_PACKING, WITH_MUCH, Step, lookup, matches)
from private_mount import PrivateMount
from server_process import ServerProcess
from workload import Ledger, Writers, json_request, otlp_request

# Small memtables and a short interval, so that flushes happen all the time. Retention runs at the start only.
SETTINGS = {"ingester.buffer_max_mb": 1, "ingester.flush_interval_secs": 1, "wal.segment_size_mb": 1, "wal.reserve_mb": 4,
            "compactor.interval_secs": 86400, "ingester.past_max_secs": 3153600000}
MERGING = {"compactor.interval_secs": 1, "compactor.parts_min": 2, "compactor.cpu_percent": 100}
PACKING = {"compactor.interval_secs": 1, "compactor.parts_min": 64, "compactor.pack_parts_min": 2, "compactor.cpu_percent": 100}
DUMPING = {"storage.parquet_file_meta_dump.cold_after_days": 0, "storage.parquet_file_meta_dump.interval_secs": 1,
           "compactor.merge": "false"}
GENERATION_KILLS, FULL_CHECK_EVERY, DIRECTORY_KILLS = 8, 24, 72
PATIENCE_SECONDS, PROGRESS_EVERY = 6.0, 100
SOME_ROWS, BACKLOG_ROWS = 500, 30_000
SMALL_DISK_MEGABYTES, ROWS_BEFORE_FULL = 48, 1000
DAY_MICROS = 86_400_000_000
OLD_MICROS = DAY_MICROS * 400
BROKEN = (OSError, http.client.HTTPException)


def old_json_request(ledger, keys, mode):
    """Rows of days that are over, by their numbers."""
    now = time.time_ns() // 1000
    body = "\n".join(json.dumps({**ledger.row_of(key), "_timestamp": now - (2 + key[2] % 4) * DAY_MICROS}) for key in keys)
    return f"/api/v1/ingest/logs/{keys[0][0]}{mode}", body, {"Content-Type": "application/x-ndjson"}


class Fault(Exception):
    """Something that the promises rule out."""


class Lane:
    """Runs steps one after the other; `report` has what happened. `place(directory name)` gives a backend's settings."""

    def __init__(self, folder, seed, place, extra):
        self.folder, self.seed, self.place, self.extra = pathlib.Path(folder), seed, place, extra
        self.random = random.Random(seed)
        self.report = {"reached": collections.Counter(), "random": 0, "in_start": 0, "beside": 0, "answers": collections.Counter(),
                       "sent": 0, "acknowledged": 0, "checks": 0, "rows_checked": 0, "found": collections.Counter(),
                       "missed": [], "fault": ""}
        self.directories, self.starts, self.scratch_streams = 0, 0, 0
        self.history = []  # Kills since the last check.
        self.server = self.mount = None
        self.compaction = {}  # Settings: what the server does with parts all the time.
        self.ledgers = []
        self.leave_nothing()

    # ---- directories, generations, checks

    def leave_nothing(self, small_disk=False):
        """Goes on with an empty directory, after a check of all that is in the old one."""
        if self.ledgers and any(ledger.sent for ledger in self.ledgers):
            self.start(all_generations=True).kill()
        for ledger in self.ledgers:
            self._count(ledger)
        self.unmount()
        self.directories += 1
        self.directory = self.folder / f"d{self.directories}"
        self.directory.mkdir(parents=True)
        self.data = self.directory / "data"
        if small_disk:
            self.mount = PrivateMount(self.directory / "disk", SMALL_DISK_MEGABYTES).__enter__()
            self.data = self.directory / "disk" / "data"
        self.place_arguments, self.catalogue = self.place(self.directory)
        self.failpoints = self.directory / "failpoints"
        self.ledgers, self.kills_here = [], 0
        self.next_generation()

    def unmount(self):
        if self.mount is not None:
            self.mount.__exit__()
            self.mount = None

    def next_generation(self):
        number = len(self.ledgers)
        self.ledgers.append(Ledger(f"s{self.seed}-{self.directories}-{number}"))
        self.streams = (f"orders_{number}", f"billing_{number}")

    def _count(self, ledger):
        self.report["sent"] += len(ledger.sent)
        self.report["acknowledged"] += len(ledger.acknowledged)
        self.report["answers"].update(ledger.answers)
        self.report["found"].update(ledger.found_faults)

    def check(self, all_generations):
        for ledger in self.ledgers if all_generations else self.ledgers[-1:]:
            if faults := ledger.check(self.server):
                raise Fault("\n".join(faults))
            self.report["rows_checked"] += len(ledger.acknowledged)
        self.report["checks"] += 1
        self.history.clear()

    @staticmethod
    def compaction_for(step):
        return next((settings for settings, names in ((MERGING, WHILE_MERGING), (PACKING, WHILE_PACKING), (DUMPING, WHILE_DUMPING))
                     if matches(step.name, names)), {})

    # ---- starts and ends

    def launch(self, failpoints=""):
        self.starts += 1
        self.failpoints.unlink(missing_ok=True)
        settings = {**SETTINGS, **self.compaction}
        flags = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        armed = ["--failpoints", failpoints] if failpoints else []
        self.server = ServerProcess(self.data, [*flags, *self.place_arguments, *self.extra, *armed, "--failpoints-file",
                                                str(self.failpoints)],
                                    prefix=self.mount.prefix if self.mount else (), run_dir=self.directory / "run")
        return self.server

    def start(self, all_generations=False):
        server = self.launch()
        if not server.wait_ready(120):
            raise Fault(f"the server ended at its start with {server.process.returncode}:\n{server.tail()}")
        self.check(all_generations)
        return server

    def arm(self, spec):
        """Returns when it is armed, or has killed the server already."""
        answer = self.failpoints.with_name("failpoints.armed")
        answer.unlink(missing_ok=True)
        self.failpoints.write_text(spec)
        deadline = time.monotonic() + 20
        while self.server.process.poll() is None and not (answer.exists() and answer.read_text() == spec):
            if time.monotonic() > deadline:
                raise Fault(f"failpoints are not armed: {answer.read_text() if answer.exists() else 'no answer'}")
            time.sleep(0.005)

    def ended(self, seconds, beside=None):
        """Whether the server ends by a failpoint within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.server.process.poll() is None:
            if beside is not None:
                with contextlib.suppress(*BROKEN, AssertionError):
                    beside()
            time.sleep(0.005)
        code = self.server.process.poll()
        if code is not None and code != -signal.SIGKILL and code != 0:
            raise Fault(f"the server ended with {code}, not by the failpoint:\n{self.server.tail()}")
        return code == -signal.SIGKILL

    def kill(self, what):
        self.server.kill()
        self.history.append(what)
        self.kills_here += 1

    @contextlib.contextmanager
    def load(self, seconds=0.0, **more):
        """Writers over the four connections; when the block is left the server is killed, or has ended."""
        options = {"seed": self.seed * 1000 + self.starts, "streams": self.streams,
                   "modes": ("", "", "", "", "?commit=force", "?commit=wait_for"),
                   "protocols": (old_json_request if self.compaction is DUMPING else json_request, json_request, otlp_request), **more}
        writers = Writers(self.ledgers[-1], self.server.addresses, **options)
        try:
            time.sleep(seconds)
            yield writers
        finally:
            self.server.kill()
            complaints = writers.stop()
        if complaints:
            raise Fault("\n".join(complaints))

    # ---- steps

    def run(self, steps):
        try:
            for number, step in enumerate(steps):
                if number % PROGRESS_EVERY == 0:
                    print(f"{self.folder.name}: {number} of {len(steps)} steps", flush=True)
                self.run_step(step)
            self.leave_nothing()
        except (Fault, AssertionError, TimeoutError, *BROKEN) as error:
            self.report["fault"] = f"seed {self.seed}, {self.directory}, after {self.history}: {error!s}"
            for ledger in self.ledgers:
                self._count(ledger)
        finally:
            if self.server is not None:
                self.server.kill()
            self.unmount()
        return self.report

    def run_step(self, step):
        if self.kills_here >= DIRECTORY_KILLS:
            self.leave_nothing()
        elif self.kills_here >= GENERATION_KILLS * len(self.ledgers):
            self.next_generation()
        self.history.append(f"before {step}")
        if not step.name:
            return self.random_kill()
        for tried in [step] if step.hit == 1 or step.name in ALSO else [step, Step(step.name, 1)]:
            if prelude := PRELUDES.get(step.name):
                getattr(self, prelude)()
            if self.kill_at(tried):
                self.report["reached"][step.name] += 1
                if afterwards := AFTERWARDS.get(step.name):
                    getattr(self, afterwards)()
                return None
            self.report["missed"].append(str(tried))
        return None

    def kill_at(self, step):
        """Whether the failpoint was reached; the server is ended in any case."""
        if matches(step.name, ON_A_FULL_DISK):
            return self.kill_on_a_full_disk(step)
        return self.kill_in_start(step) if matches(step.name, AT_START) else self.kill_under_load(step)

    def random_kill(self):
        if self.random.random() < 0.2:
            self.launch()
            time.sleep(self.random.uniform(0.0, 0.25))
            self.kill("random kill in a start")
            self.report["in_start"] += 1
            return
        self.compaction = self.random.choice(({}, MERGING, {**MERGING, "compactor.pack_parts_min": 2}, PACKING, DUMPING))
        self.start(self.kills_here % FULL_CHECK_EVERY == 0)
        with self.load(self.random.uniform(0.02, 3.0 if self.compaction else 0.8)):
            if self.server.process.poll() is not None:
                raise Fault(f"the server ended by itself with {self.server.process.returncode}:\n{self.server.tail()}")
            self.kill("random kill")
        self.report["random"] += 1

    def kill_in_start(self, step):
        self.compaction = self.compaction_for(step)
        self.launch(step.spec)
        # What runs in the background passes its places when the server is ready already.
        reached = not self.server.wait_ready(120) or self.ended(6.0 if self.compaction else 2.0)
        if reached:
            self.ended(1.0)  # Complains of another end.
        self.kill(str(step))
        return reached

    def kill_under_load(self, step):
        self.compaction = self.compaction_for(step)
        self.start()
        beside = lookup(BESIDE, step.name)
        sizes = (400,) if matches(step.name, WITH_MUCH) else (1, 1, 10, 100, 400)
        with self.load(0.4 if matches(step.name, AT_STOP) else 0.0, sizes=sizes):
            self.arm(step.spec)
            if matches(step.name, AT_STOP) and self.server.process.poll() is None:
                self.server.process.send_signal(signal.SIGTERM)
            reached = self.ended(30.0 if matches(step.name, AT_STOP) else PATIENCE_SECONDS, beside and getattr(self, beside))
            self.kill(str(step))
        return reached

    def kill_on_a_full_disk(self, step):
        self.leave_nothing(small_disk=True)
        self.start()
        filler = self.data.parent / "filler"
        with self.load(modes=("",)) as writers:
            deadline = time.monotonic() + 20
            while len(writers.ledger.acknowledged) < ROWS_BEFORE_FULL and time.monotonic() < deadline:
                time.sleep(0.01)
            self.arm(step.spec)
            self.mount.run("sh", "-c", f"cat /dev/zero > '{filler}' 2>/dev/null || true")
            reached = self.ended(20.0)
            self.kill(str(step))
        self.mount.run("rm", str(filler))
        self.leave_nothing()
        return reached

    # ---- beside the load, in streams of their own whose rows nobody misses

    def make_streams(self):
        self.scratch_streams += 1
        name = f"scratch_{self.scratch_streams}"
        self.server.ingest(name, [{"n": 1}])
        return name

    def drop_streams(self):
        name = self.make_streams()
        streams = json.loads(self.server.request("GET", "/api/v1/streams?limit=1000")[2])["streams"]
        stream = next(entry["id"] for entry in streams if entry["name"] == name)
        self.server.request("DELETE", f"/api/v1/streams/{stream}")

    # ---- preludes

    def other_kill(self, what):
        self.kill(what)
        self.report["beside"] += 1

    def leave_an_unfinished_merge(self):
        if not self.kill_under_load(Step("compaction_part_put")):
            raise Fault("compaction_part_put was not reached")

    def leave_an_unfinished_flush(self):
        if not self.kill_under_load(Step("flush_part_stored")):
            raise Fault("flush_part_stored was not reached")
        self.report["beside"] += 1

    def leave_rows(self, rows=SOME_ROWS, sizes=(10, 100)):
        """Rows in the log that no flush has taken."""
        self.start()
        self.arm("flush_begin=error@1+")
        with self.load(sizes=sizes, modes=("",)) as writers:
            before = len(writers.ledger.acknowledged)
            deadline = time.monotonic() + 20
            while len(writers.ledger.acknowledged) < before + rows and time.monotonic() < deadline:
                time.sleep(0.01)
            self.other_kill("rows in the log")

    def leave_a_backlog(self):
        """More rows in the log than a memtable takes: the replay flushes on the way."""
        self.leave_rows(BACKLOG_ROWS, (400,))

    def leave_flushed_shards(self):
        """All rows are in parts, and the log is truncated: the next start finds shards that are finished."""
        self.start()
        Writers(self.ledgers[-1], self.server.addresses, streams=self.streams, sizes=(10,), pause=0.05).stop()
        for stream in self.streams:
            self.server.flush(stream)
        self.make_streams()  # Its commit writes the truncations too: they do not wait for a sync of their own.
        self.other_kill("flushed")

    def leave_no_reserve(self):
        (self.data / "wal" / "reserve").unlink(missing_ok=True)

    def leave_a_damaged_log(self):
        """Of three records in the log, the first is damaged. In a directory of its own: its row is lost."""
        self.leave_nothing()
        self.start()
        for number in range(3):
            self.server.ingest("scratch_damaged", [{"n": number, "text": f"marked-{number}"}])
        self.other_kill("three rows")
        for path in (self.data / "wal").glob("*.wal"):
            content = path.read_bytes()
            if (at := content.find(b"marked-0")) >= 0:
                path.write_bytes(content[:at] + b"M" + content[at + 1:])
                return
        raise Fault("the log does not have the text of its row")

    def check_the_damaged_log(self):
        self.start()
        if (rows := self.server.query("SELECT n FROM logs.scratch_damaged ORDER BY n")["rows"]) != [[1], [2]]:
            raise Fault(f"of three rows, the first one damaged, there are {rows}")
        if not list((self.data / "wal" / "quarantine").glob("*.wal")):
            raise Fault("the damaged segment is not in quarantine")
        self.other_kill("damage checked")

    def leave_old_rows(self):
        """One part of a stream of its own that the next start's retention expires."""
        self.leave_old_rows_and(lambda: None)

    def leave_old_rows_and(self, wait):
        self.start()
        self.scratch_streams += 1
        self.server.ingest(f"scratch_{self.scratch_streams}", [{"_timestamp": time.time_ns() // 1000 - OLD_MICROS, "n": 1}],
                           "?commit=force")
        wait()
        self.other_kill("old rows")

    def leave_expired_parts(self):
        """A part that retention has taken out of the catalogue so long ago that its objects may go."""
        self.leave_old_rows()
        self.start()
        deadline = time.monotonic() + 20
        while self.change_catalogue("UPDATE parquet_file_meta SET removed_at_micros = 1 WHERE deleted") == 0:
            if time.monotonic() > deadline:
                raise Fault("retention does not expire a part that is 400 days old")
            time.sleep(0.02)
        self.other_kill("expired parts")

    def leave_an_old_dump(self):
        """A list of parts that the next start's retention takes."""
        self.compaction = {**DUMPING, "compactor.retention_days": 0}
        self.leave_old_rows_and(self.await_dump)
        self.compaction = {}

    def leave_a_removed_dump(self):
        """A list of parts that retention has taken so long ago that its object may go."""
        self.leave_an_old_dump()
        self.start()
        deadline = time.monotonic() + 20
        while self.change_catalogue("UPDATE parquet_file_meta_dump SET removed_at_micros = 1 WHERE deleted") == 0:
            if time.monotonic() > deadline:
                raise Fault("retention does not take a list of parts that are 400 days old")
            time.sleep(0.02)
        self.other_kill("removed dump")

    def await_dump(self):
        deadline = time.monotonic() + 20
        before = time.time_ns() // 1000 - OLD_MICROS + DAY_MICROS
        # Changes nothing: there is one.
        while self.change_catalogue(f"UPDATE parquet_file_meta_dump SET deleted = deleted WHERE NOT deleted AND max_ts_micros < {before}") == 0:
            if time.monotonic() > deadline:
                raise Fault("the list of a part that is 400 days old does not become an object")
            time.sleep(0.02)

    def change_catalogue(self, statement):
        """Rows that were changed, behind the server's back."""
        if self.catalogue is None:
            with contextlib.closing(sqlite3.connect(self.data / "meta.db", timeout=20)) as connection, connection:
                return connection.execute(statement).rowcount
        done = subprocess.run([*self.catalogue, "-c", statement], check=True, capture_output=True, text=True).stdout
        return int(done.split()[-1])
