"""Writers, and readers that compare without a pause what is there with what was acknowledged."""
import http.client
import json
import time

from fault_groups import start_thread
from server_process import ServerProcess
from workload import Ledger, Unanswered, Writers, json_request, otlp_request

GENERATION_SECONDS = 30.0
# Older generations are checked once more, deleted and forgotten, so that a check takes about as long at any time.
GENERATIONS_KEPT = 8
OLD_MICROS = 86_400_000_000 * 400
BROKEN = (OSError, http.client.HTTPException, TimeoutError)


class Reader(ServerProcess):
    """The requests of a ServerProcess, sent to whichever server is up."""

    def __init__(self, run):  # Starts nothing.
        self.addresses = run.addresses


class Aging:
    """A stream with rows that retention removes beside rows that stay."""

    NAME = "aging"

    def __init__(self):
        self.next, self.young, self.sent = 0, set(), 0

    def write(self, reader):
        self.next += 1
        self.sent = self.next
        rows = [{"n": self.next, "old": 0}, {"n": self.next, "old": 1, "_timestamp": time.time_ns() // 1000 - OLD_MICROS}]
        body = "\n".join(json.dumps(row) for row in rows)
        status, _, answer = reader.request("POST", f"/api/v1/ingest/logs/{self.NAME}", body)
        if status == 200:
            if json.loads(answer)["accepted"] != 2:
                return f"two rows sent, answer {answer[:300]}"
            self.young.add(self.next)
        return None

    def check(self, reader):
        """Faults, and how many old rows are left."""
        acknowledged = set(self.young)
        status, _, body = reader.request("POST", "/api/v1/query", {
            "statement": f"SELECT n, old, count(*) FROM logs.{self.NAME} GROUP BY ALL"}, {"Accept": "application/json"})
        if status != 200:
            raise Unanswered(status, body)
        rows = json.loads(body)["rows"]
        there = {n for n, old, _ in rows if old == 0}
        faults = [f"aging: row {n} (old: {old}) is there {count} times" for n, old, count in rows if count != 1]
        faults += [f"aging: row {n} was never sent" for n in there if not 0 < n <= self.sent]
        if lost := acknowledged - there:
            faults.append(f"aging: {len(lost)} acknowledged rows lost, such as {sorted(lost)[:5]}")
        return faults, sum(1 for _, old, _ in rows if old == 1)


class Clients:
    def __init__(self, run):
        self.run, self.reader, self.aging = run, Reader(run), Aging()
        self.generations = []  # (ledger, streams); the last one is written to.
        self.totals = {"sent": 0, "acknowledged": 0, "checks": 0, "unanswered": 0, "rows checked": 0, "streams deleted": 0}
        self.answers, self.read_answers = {}, {}
        while not run.addresses and not run.stopping.is_set():
            time.sleep(0.05)
        self.threads = [start_thread(self.write, run, "writers"), start_thread(self.check_newest, run, "reader of new rows"),
                        start_thread(self.check_others, run, "reader of older rows"), start_thread(self.age, run, "aging")]

    # ---- writing

    def write(self):
        number = 0
        while not self.run.stopping.is_set():
            streams = (f"orders_{number}", f"billing_{number}")
            ledger = Ledger(f"t{self.run.seed}-{number}")
            self.generations.append((ledger, streams))
            # Few wait for a flush: while the store is lost they would all hang.
            writers = Writers(ledger, self.run.addresses, count=6, seed=self.run.seed * 1000 + number, streams=streams,
                              sizes=(1, 1, 10, 100), modes=("",) * 20 + ("?commit=force", "?commit=wait_for"),
                              protocols=(json_request, otlp_request), gone_ok=False, pause=0.05)
            while self.run.pause(0.5) and time.monotonic() - self.run.began < GENERATION_SECONDS * (number + 1):
                if writers.faults:
                    break
            for complaint in writers.stop():
                self.run.violation(complaint)
            number += 1

    def age(self):
        while self.run.pause(0.5):
            try:
                if complaint := self.aging.write(self.reader):
                    self.run.violation(complaint)
            except BROKEN:
                self.run.pause(0.1)

    # ---- reading

    def judged(self, check):
        """Runs a check; False if the server could not answer, which is no fault of the rows."""
        began = time.monotonic()
        try:
            faults = check()
        except BROKEN:
            self.totals["unanswered"] += 1
            return False
        except Unanswered as answer:
            self.totals["unanswered"] += 1
            self.read_answers[answer.status] = self.read_answers.get(answer.status, 0) + 1
            # A part that came damaged from the store is an error that does not go away by itself, as far as the server knows.
            if answer.status not in (429, 503, 504) and not (answer.status == 500 and self.run.is_excused("bad reads", began)):
                self.run.violation(f"a check was answered {answer.status}: {answer.body[:500]}")
            return False
        self.read_answers[200] = self.read_answers.get(200, 0) + 1
        self.totals["checks"] += 1
        for fault in faults:
            self.run.violation(fault)
        return True

    def check_generation(self, server, ledger):
        done = self.judged(lambda: ledger.check(server, unanswered_ok=True))
        if done:
            self.totals["rows checked"] += len(ledger.acknowledged)
        return done

    def check_newest(self):
        while self.run.pause(0.05):
            if self.generations:
                self.check_generation(self.reader, self.generations[-1][0])

    def check_others(self):
        random = self.run.random("older rows")
        while self.run.pause(0.2):
            older = self.generations[:-1]
            if len(older) > GENERATIONS_KEPT:
                self.forget_oldest()
            elif older:
                self.check_generation(self.reader, random.choice(older)[0])
            if self.aging.young:
                self.judged(lambda: self.aging.check(self.reader)[0])

    def forget_oldest(self):
        """All its rows are there; then its streams are deleted."""
        ledger, streams = self.generations[0]
        if not self.check_generation(self.reader, ledger):
            return
        try:
            status, _, body = self.reader.request("GET", "/api/v1/streams?limit=1000")
            if status != 200:
                return
            for entry in json.loads(body)["streams"]:
                if entry["name"] in streams and self.reader.request("DELETE", f"/api/v1/streams/{entry['id']}")[0] == 200:
                    self.totals["streams deleted"] += 1
                    self.run.event("delete", entry["name"])
        except BROKEN:
            pass  # Perhaps deleted, perhaps not: nobody reads it any more.
        self.count(ledger)
        del self.generations[0]

    def count(self, ledger):
        self.totals["sent"] += len(ledger.sent)
        self.totals["acknowledged"] += len(ledger.acknowledged)
        for status, count in ledger.answers.items():
            self.answers[status] = self.answers.get(status, 0) + count

    # ---- the end

    def join(self):
        for thread in self.threads:
            thread.join()

    def check_everything(self, server):
        for ledger, _ in self.generations:
            for fault in ledger.check(server):
                self.run.violation(fault)
            self.totals["checks"] += 1
            self.totals["rows checked"] += len(ledger.acknowledged)
        server.request("POST", "/api/v1/flush")

        def old_rows():
            faults, old = self.aging.check(server)
            for fault in faults:
                self.run.violation(fault)
            return old

        if self.aging.young and not self.run.wait(lambda: old_rows() == 0 or self.run.violations, 60):
            self.run.violation(f"retention leaves {old_rows()} rows that are 400 days old")

    def figures(self):
        for ledger, _ in self.generations:
            self.count(ledger)
        self.generations.clear()
        answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.answers.items()))
        reads = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.read_answers.items()))
        return {"rows sent": f"{self.totals['sent']:,}", "rows acknowledged": f"{self.totals['acknowledged']:,}",
                "answers to writers, by status": answers, "checks": f"{self.totals['checks']:,}",
                "rows compared": f"{self.totals['rows checked']:,}", "answers to checks, by status": reads,
                "checks that were not answered": f"{self.totals['unanswered']:,}",
                "streams deleted": f"{self.totals['streams deleted']:,}",
                "rows under retention": f"{self.aging.sent:,}"}
