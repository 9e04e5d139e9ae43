"""One run of the torture: the server that is up at the moment, the log of events, what went wrong."""
import collections
import random
import threading
import time

from server_process import ServerProcess

EVENTS_KEPT = 20_000


class Run:
    """Shared by all threads. `addresses` follows the server from start to start."""

    def __init__(self, seed, data, folder, prefix, arguments):
        self.seed = seed
        self.data, self.folder, self.prefix, self.arguments = data, folder, prefix, arguments
        folder.mkdir(parents=True, exist_ok=True)
        self.failpoints = folder / "failpoints"
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.counts = collections.Counter()  # Faults by kind.
        self.events = collections.deque(maxlen=EVENTS_KEPT)
        self.violations = []
        self.stopping = threading.Event()
        self.server = None
        self.addresses = {}
        # When something was last armed or done that excuses an end of the server, or an answer 500.
        self.excuses = collections.defaultdict(float)

    def random(self, name):
        return random.Random(f"{self.seed}/{name}")

    def event(self, kind, text=""):
        with self.lock:
            self.events.append(f"{time.monotonic() - self.began:9.3f} {kind}: {text}")

    def fault(self, kind, text=""):
        with self.lock:
            self.counts[kind] += 1
        self.event(kind, text)

    def violation(self, text):
        with self.lock:
            self.violations.append(str(text))
        self.event("violation", text)
        self.stopping.set()

    def excuse(self, what, seconds=0.0):
        """From now until so many seconds from now."""
        self.excuses[what] = max(self.excuses[what], time.monotonic() + seconds)

    def is_excused(self, what, since):
        return self.excuses[what] >= since

    def pause(self, seconds):
        """False when the run is over."""
        return not self.stopping.wait(seconds)

    def wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def launch(self):
        self.failpoints.unlink(missing_ok=True)
        self.server = ServerProcess(self.data, [*self.arguments, "--failpoints-file", str(self.failpoints)],
                                    prefix=self.prefix, run_dir=self.folder)
        return self.server

    def end_server(self):
        if self.server is not None:
            self.server.kill()
