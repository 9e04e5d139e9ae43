"""Files, functions and folders stay small enough to be read."""
import collections
import pathlib

from cpp_text import functions

HEADER_LINES, SOURCE_LINES, TEST_LINES, FUNCTION_LINES, FOLDER_ENTRIES = 300, 800, 1000, 70, 40
PYTHON_LINES = 800
CODE_FOLDERS = ("src/", "tests/", "bench/", "fuzz/", "scripts/")


def limit_of(path):
    if path.endswith(".h"):
        return HEADER_LINES
    if path.endswith(".cc"):
        return TEST_LINES if path.endswith("_test.cc") or path.startswith("tests/") else SOURCE_LINES
    return PYTHON_LINES if path.endswith(".py") else None


def find_problems(tree):
    problems, entries = [], collections.defaultdict(set)
    for path in tree.files:
        if not path.startswith(CODE_FOLDERS):
            continue
        for parent in pathlib.PurePosixPath(path).parents:
            child = pathlib.PurePosixPath(path).relative_to(parent).parts[0]
            entries[str(parent)].add(child)
        limit = limit_of(path)
        if limit is None:
            continue
        text = tree.text(path)
        lines = text.count("\n")
        if lines > limit and not tree.is_excepted("sizes", path):
            problems.append(f"{path}: {lines} lines, at most {limit}; split it by topic")
        if path.endswith((".h", ".cc")):
            for first, last in functions(text):
                if last - first - 1 > FUNCTION_LINES and not tree.is_excepted("sizes", path):
                    problems.append(f"{path}:{first}: a function of {last - first - 1} lines, "
                                    f"at most {FUNCTION_LINES}; give its steps names")
    for folder, children in sorted(entries.items()):
        if folder != "." and len(children) > FOLDER_ENTRIES and not tree.is_excepted("sizes", folder):
            problems.append(f"{folder}: {len(children)} entries, at most {FOLDER_ENTRIES}; make a folder")
    return problems


def _function(lines):
    return "namespace n {\nclass A(x) {\nvoid f(int a) {\n" + "  g([&](int) { h(); });\n" * lines + "}\n};\n}\n"


SELF_TESTS = [
    ({"src/a/a.cc": _function(70)}, None),
    ({"src/a/a.cc": "int x;\n" * 800, "src/a/a.h": "int x;\n" * 300, "src/a/a_test.cc": "int x;\n" * 1000}, None),
    ({"docs/long.md": "x\n" * 5000}, None),
    ({"src/a/a.cc": _function(71)}, "src/a/a.cc:3: a function of 71 lines"),
    ({"src/a/a.cc": 'auto s = R"x({{{)x"; char c = \'{\'; int n = 1\'000;\n' + _function(71)}, "a.cc:4: a function of 71 lines"),
    ({"src/a/a.cc": "int x;\n" * 801}, "801 lines, at most 800"),
    ({"src/a/a.h": "int x;\n" * 301}, "301 lines, at most 300"),
    ({"src/a/a_test.cc": "int x;\n" * 1001}, "1001 lines, at most 1000"),
    ({f"src/a/f{i}.cc": "" for i in range(41)}, "src/a: 41 entries, at most 40"),
    ({"src/a/a.h": "int x;\n" * 301, "tests/lint/exceptions.txt": "sizes src/a/a.h: a table\n"}, None),
]
