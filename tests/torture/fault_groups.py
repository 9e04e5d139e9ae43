"""The groups of faults, each a thread that draws what to do and when from the run's seed."""
import signal
import subprocess
import sys
import threading
import time

from faulty_proxy import Faults
from server_process import default_binary

READY_SECONDS_MAX, STOP_SECONDS_MAX = 120, 60


def start_thread(target, run, name):
    def guarded():
        try:
            target()
        except Exception as error:  # A thread's error must not be lost.
            run.violation(f"{name}: {error!r}")

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


class Group:
    """`strike` does one fault and returns when it is over; between two of them there is a rest."""

    rest_seconds = (1.0, 4.0)

    def __init__(self, run):
        self.run = run
        self.random = run.random(type(self).__name__)

    def start(self):
        return start_thread(self.loop, self.run, type(self).__name__)

    def loop(self):
        while self.run.pause(self.random.uniform(*self.rest_seconds)):
            self.strike()

    def strike(self):
        raise NotImplementedError


# ---- the process

def supervise(run):
    return start_thread(lambda: _Supervisor(run).loop(), run, "process")


class _Supervisor:
    """Starts the server whenever it is not there, and ends it at random."""

    def __init__(self, run):
        self.run, self.random = run, run.random("process")

    def loop(self):
        run = self.run
        while not run.stopping.is_set():
            server = run.launch()
            began = time.monotonic()
            run.event("start")
            if self.random.random() < 0.15:
                run.pause(self.random.uniform(0.0, 0.6))
                self.end(server, signal.SIGKILL, "kill -9 during a start", began, "a start")
            elif self.until_ready(server, began):
                self.until_end(server)
            server.log.close()
        run.end_server()

    def until_ready(self, server, began):
        while not server.ready_file.exists():
            code = server.process.poll()
            if code is not None:
                self.judge(code, began, "a start")
                self.run.pause(0.2)
                return False
            if self.run.stopping.is_set():
                return False
            if time.monotonic() > began + READY_SECONDS_MAX:
                self.run.violation(f"not ready {READY_SECONDS_MAX} s after the start:\n{server.tail()}")
                return False
            time.sleep(0.01)
        server.wait_ready(10)
        self.run.addresses.update(server.addresses)
        self.run.event("ready", f"after {time.monotonic() - began:.2f} s")
        return True

    def until_end(self, server):
        ready = time.monotonic()
        ends = ready + self.random.uniform(2.0, 15.0)
        while time.monotonic() < ends and not self.run.stopping.is_set():
            if (code := server.process.poll()) is not None:
                return self.judge(code, ready, "a run")
            time.sleep(0.01)
        if self.random.random() < 0.5:
            return self.end(server, signal.SIGKILL, "kill -9", ready, "a run")
        return self.end(server, signal.SIGTERM, "SIGTERM", ready, "a run")

    def end(self, server, number, kind, since, during):
        if (code := server.process.poll()) is not None:  # It was quicker.
            self.judge(code, since, during)
            return
        self.run.fault(f"process: {kind}")
        server.process.send_signal(number)
        try:
            code = server.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.run.violation(f"{kind}: the server has not ended after {STOP_SECONDS_MAX} s:\n{server.tail()}")
            server.process.kill()
            return
        if number == signal.SIGTERM and code > 0:
            self.run.event("stop", f"ended with {code}")  # Its last commits met a fault; it has said so.
        elif code not in (0, -number):
            self.judge(code, since, during)

    def judge(self, code, since, during):
        """An end of its own: killed by a failpoint, or a start that met a fault and said so."""
        if code == -signal.SIGKILL and self.run.is_excused("kill", since - 1):
            self.run.fault("process: killed by a failpoint", f"during {during}")
        elif code > 0 and during == "a start":
            self.run.fault("process: a start that met a fault", f"exit code {code}")
        else:
            self.run.violation(f"the server ended by itself during {during} with {code}:\n{self.run.server.tail()}")


# ---- failpoints

class Failpoints(Group):
    rest_seconds = (0.5, 3.0)
    # What is retryable by contract; another code would be an answer that clients do not repeat.
    CODES = ("unavailable", "resource_exhausted", "timeout")
    # Errors here would say what is not so: that another server has taken the catalogue.
    NO_ERRORS = ("lease_",)

    def __init__(self, run):
        super().__init__(run)
        self.names = subprocess.run([default_binary(), "--list-failpoints"], check=True, capture_output=True,
                                    text=True).stdout.split()

    def strike(self):
        specs = [self.draw(name) for name in self.random.sample(self.names, self.random.choice([1, 1, 2, 3]))]
        if any("=kill" in spec for spec in specs):
            self.run.excuse("kill", 10)
        for spec in specs:
            self.run.fault("failpoint: " + spec.split("=")[1].split("(")[0].split("@")[0] + " armed", spec)
        self.arm(",".join(specs))
        self.run.pause(self.random.uniform(0.3, 3.0))
        self.arm("")

    def draw(self, name):
        kind = self.random.choices(["error", "delay", "kill"], [45, 40, 15])[0]
        if kind == "error" and not name.startswith(self.NO_ERRORS):
            hits = self.random.choice(["@1", "@2", "@5", "@1+"])
            return f"{name}=error({self.random.choice(self.CODES)}){hits}"
        if kind == "kill":
            return f"{name}=kill@{self.random.choice([1, 1, 2, 5])}"
        return f"{name}=delay({self.random.randint(5, 300)})@1+"

    def arm(self, spec):
        # In one step: the server must not read half of it.
        beside = self.run.failpoints.with_name("failpoints.new")
        beside.write_text(spec)
        beside.replace(self.run.failpoints)


# ---- the object store

class StoreFaults(Group):
    rest_seconds = (2.0, 8.0)
    KINDS = ({"error_rate": 0.3}, {"error_rate": 0.8}, {"reset_rate": 0.3}, {"lost_answer_rate": 0.5}, {"is_down": True},
             {"hangs": True}, {"latency_seconds": 0.2}, {"truncate_rate": 0.3}, {"corrupt_rate": 0.2},
             {"error_rate": 0.2, "lost_answer_rate": 0.2, "reset_rate": 0.1})
    READS = ("truncate_rate", "corrupt_rate", "reset_rate")

    def __init__(self, run, proxy):
        super().__init__(run)
        self.proxy = proxy

    def strike(self):
        kind = self.random.choice(self.KINDS)
        self.run.fault("object store: " + ", ".join(kind), str(kind))
        if any(name in self.READS for name in kind):
            self.run.excuse("bad reads", 20)
        self.proxy.faults = Faults(**kind)
        self.run.pause(self.random.uniform(0.5, 6.0))
        self.proxy.faults = Faults()
        self.run.event("object store", "healed")


# ---- the catalogue

class CatalogueFaults(Group):
    rest_seconds = (3.0, 10.0)

    # Somebody else has a transaction open that writes: SQLITE_BUSY for everybody who wants to.
    LOCK = ("import sqlite3, sys, time; connection = sqlite3.connect(sys.argv[1], timeout=2, isolation_level=None); "
            "connection.execute('BEGIN IMMEDIATE'); time.sleep(float(sys.argv[2])); connection.execute('ROLLBACK')")

    def __init__(self, run, path, database):
        super().__init__(run)
        self.path, self.database = path, database

    def strike(self):
        seconds = self.random.uniform(0.1, 4.0)
        if self.database is not None:
            self.run.fault("catalogue: Postgres killed", f"{seconds:.1f} s")
            self.database.stop("immediate")
            self.run.pause(seconds)
            self.database.start()
        else:
            # In a process, for SQLite follows the links of a path that leads into another mount namespace.
            locked = subprocess.run([*self.run.prefix, sys.executable, "-c", self.LOCK, str(self.path), str(seconds)],
                                    capture_output=True, check=False)
            if locked.returncode == 0:
                self.run.fault("catalogue: SQLite locked", f"{seconds:.1f} s until now")


# ---- the disk

class DiskFaults(Group):
    rest_seconds = (6.0, 25.0)

    def __init__(self, run, mount, path):
        super().__init__(run)
        self.mount, self.path = mount, path

    def strike(self):
        self.run.fault("disk: full")
        self.mount.run("sh", "-c", f"cat /dev/zero > {self.path}/filler 2>/dev/null || true")
        self.run.pause(self.random.uniform(0.5, 12.0))
        self.mount.run("rm", "-f", f"{self.path}/filler")
        self.run.event("disk", "has room again")
