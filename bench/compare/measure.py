"""What a process costs, seen from outside: CPU, memory, disk."""
import os
import pathlib
import statistics
import time

IDLE_SHARE = 0.03
IDLE_SECONDS = 2.0
IDLE_SECONDS_MAX = 300.0


def cpu_seconds(pid):
    """User and system time of the process, all its threads, ended ones too.

    The kernel's clock of the process: the same time as in /proc/PID/stat, in nanoseconds instead of ticks.
    """
    return time.clock_gettime((~pid << 3) | 2)


def peak_rss_megabytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def reset_peak_rss(pid):
    """Begins a new peak; False where the kernel does not allow it."""
    try:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def directory_bytes(path, suffix=""):
    path = pathlib.Path(path)
    files = [path] if path.is_file() else path.rglob("*" + suffix)
    total = 0
    for file in files:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # Merged away meanwhile.
            continue
    return total


def wait_idle(pid):
    """Until the process takes less than IDLE_SHARE of a core for IDLE_SECONDS; False if it never does."""
    deadline = time.monotonic() + IDLE_SECONDS_MAX
    while time.monotonic() < deadline:
        before, begin = cpu_seconds(pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        if cpu_seconds(pid) - before < IDLE_SHARE * (time.monotonic() - begin):
            return True
    return False


def timed(pid, call):
    """(result, CPU ms of `pid`, wall ms) of one call."""
    cpu, wall = cpu_seconds(pid), time.perf_counter()
    result = call()
    wall = time.perf_counter() - wall
    return result, (cpu_seconds(pid) - cpu) * 1000, wall * 1000


class OtherWork:
    """How many cores the other processes of the machine kept busy meanwhile, on average: noise of the measurement."""

    def __init__(self):
        self._busy, self._own, self._begin = busy_seconds(), own_seconds(), time.monotonic()

    def cores(self, engine_seconds):
        passed = time.monotonic() - self._begin
        other = busy_seconds() - self._busy - (own_seconds() - self._own) - engine_seconds
        return round(max(0.0, other) / passed, 2)


def own_seconds():
    """Of this process alone: that of the engines is counted by their process ids."""
    return time.process_time()


def busy_seconds():
    fields = [int(text) for text in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _, _, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def median(values):
    return round(statistics.median(values), 2)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory / 1e9), "kernel": os.uname().release}
