"""Time, randomness, files and the environment come in through interfaces."""
import re

from cpp_text import code_only

# Where an interface is implemented the calls are at home.
FREE_FOLDERS = ("src/common/", "src/io/", "src/net/", "tests/", "bench/", "fuzz/")
BANNED = [
    (r"\b(?:system_clock|steady_clock|high_resolution_clock)\s*::\s*now\b", "take a Clock and call now() or steady_now()"),
    (r"\b(?:gettimeofday|clock_gettime)\s*\(", "take a Clock and call now() or steady_now()"),
    (r"\bstd\s*::\s*time\s*\(", "take a Clock and call now()"),
    (r"\b(?:sleep_for|sleep_until|usleep|nanosleep)\s*\(", "wait with Clock::wait_until, so that a test owns the time"),
    (r"(?<![\w.>:])s?rand\s*\(|\bstd\s*::\s*s?rand\s*\(", "take a Random"),
    (r"\brandom_device\b", "take a Random"),
    (r"\b(?:fopen|freopen|mkstemp)\s*\(", "take a FileSystem"),
    (r"\b[io]?fstream\b", "take a FileSystem"),
    (r"(?<![\w.>:])(?:open|openat|creat|unlink|rename|fsync|fdatasync)\s*\(|(?<![\w>])::(?:open|openat|creat|unlink|rename|fsync|fdatasync)\s*\(",
     "take a FileSystem"),
    (r"\bsecure_getenv\s*\(|\bgetenv\s*\(", "let main pass the environment in"),
    (r"\bgrpc_(?:now|sleep)\b|\bgpr_now\s*\(", "take a Clock"),
]
# A member function of ours may be called open(...) or rename(...) where it is declared or defined.
DECLARED = re.compile(r"\b(?:Result<.*>|void|bool|auto|Status|override)\s+$")
COMPILED = [(re.compile(pattern), instead) for pattern, instead in BANNED]


def find_problems(tree):
    problems = []
    for path in tree.sources("src"):
        if path.startswith(FREE_FOLDERS) or path.endswith("_test.cc"):
            continue
        for number, line in enumerate(code_only(tree.text(path)).splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            for pattern, instead in COMPILED:
                match = pattern.search(line)
                if not match or DECLARED.search(line[:match.start()]):
                    continue
                if not tree.is_excepted("banned_calls", path):
                    problems.append(f"{path}:{number}: {match.group().strip()} is banned here; {instead}")
    return problems


SELF_TESTS = [
    ({"src/wal/a.cc": "// system_clock::now()\nauto t = clock.now();\nauto s = \"getenv(\";\n"
                      "brand(1); file.rename(a); fs_->open(x); strand(y);\n"}, None),
    ({"src/common/clock.cc": "auto t = std::chrono::system_clock::now();\n"}, None),
    ({"src/wal/a_test.cc": "std::ifstream file(path);\n"}, None),
    ({"src/wal/a.h": "Result<> open(const std::string& path);\n"}, None),
    ({"src/app/main.cc": "getenv(x);\n", "tests/lint/exceptions.txt": "banned_calls src/app/main.cc: reads it once\n"}, None),
    ({"src/wal/a.cc": "x();\n", "tests/lint/exceptions.txt": "banned_calls src/wal/a.cc: old\n"}, "not needed any more"),
    ({"src/wal/a.cc": "\nauto t = std::chrono::system_clock::now();\n"}, "src/wal/a.cc:2: system_clock::now is banned here; take a Clock"),
    ({"src/wal/a.cc": "auto t = steady_clock :: now();\n"}, "take a Clock"),
    ({"src/wal/a.cc": "std::this_thread::sleep_for(1s);\n"}, "Clock::wait_until"),
    ({"src/wal/a.cc": "usleep(1);\n"}, "Clock::wait_until"),
    ({"src/wal/a.cc": "int x = rand();\n"}, "take a Random"),
    ({"src/wal/a.cc": "std::random_device d;\n"}, "take a Random"),
    ({"src/wal/a.cc": "std::ofstream f(p);\n"}, "take a FileSystem"),
    ({"src/wal/a.cc": "FILE* f = fopen(p, m);\n"}, "take a FileSystem"),
    ({"src/wal/a.cc": "int fd = ::open(path, O_RDONLY);\n"}, "take a FileSystem"),
    ({"src/wal/a.cc": "const char* h = std::getenv(name);\n"}, "let main pass"),
]
