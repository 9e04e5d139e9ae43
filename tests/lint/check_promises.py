"""Each row of docs/promises.md has an id and names tests that exist; figures are recorded for rows that exist."""
import re

PAGE = "docs/promises.md"
COLUMNS = ["id", "promise", "what it means for you", "proved by", "last figure"]
NAMED = re.compile(r"`([^`]+)`")
TEST = re.compile(r"(src/.*_test\.cc|tests/.+|bench/.+)")
RECORDED = re.compile(r"promises\.record\(\s*\"([^\"]+)\"")


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def find_problems(tree):
    if PAGE not in tree.files:
        return []
    problems, ids, files = [], set(), set(tree.files)
    table = [(number, cells_of(line)) for number, line in enumerate(tree.text(PAGE).splitlines(), 1) if line.startswith("|")]
    if not table or table[0][1] != COLUMNS:
        return [f"{PAGE}: the table's columns must be {' | '.join(COLUMNS)}"]
    for number, cells in table[2:]:
        where = f"{PAGE}:{number}"
        if len(cells) != len(COLUMNS) or not re.fullmatch(r"[a-z0-9-]+", cells[0]):
            problems.append(f"{where}: want {len(COLUMNS)} cells, the first an id of lower case letters, digits and '-'")
            continue
        if cells[0] in ids:
            problems.append(f"{where}: the id '{cells[0]}' is there twice")
        ids.add(cells[0])
        named = NAMED.findall(cells[3])
        problems += [f"{where}: '{name}' is no test that exists; name a *_test.cc, or a file of tests/ or bench/"
                     for name in named if not TEST.fullmatch(name) or name not in files]
        if not named:
            problems.append(f"{where}: names no test; put its file's path in backticks into 'proved by'")
    for path in tree.files:
        if path.endswith(".py") and path.startswith(("tests/", "bench/")) and not path.startswith("tests/lint/"):
            problems += [f"{path}: records a figure for '{name}', which is no id of {PAGE}"
                         for name in RECORDED.findall(tree.text(path)) if name not in ids]
    return problems


_HEAD = "# P\n\n| id | promise | what it means for you | proved by | last figure |\n|---|---|---|---|---|\n"
SELF_TESTS = [
    ({PAGE: _HEAD + "| kill | p | m | `tests/k.py`: so, `src/a/a_test.cc` | |\n", "src/a/a_test.cc": "",
      "tests/k.py": 'promises.record("kill", "k", "f")\n'}, None),
    ({PAGE: _HEAD + "| kill | p | m | `tests/gone.py` | |\n"}, "docs/promises.md:5: 'tests/gone.py' is no test that exists"),
    ({PAGE: _HEAD + "| kill | p | m | `src/a/a.cc` | |\n", "src/a/a.cc": ""}, "'src/a/a.cc' is no test"),
    ({PAGE: _HEAD + "| kill | p | m | tests of all kinds | |\n"}, "names no test"),
    ({PAGE: _HEAD + "| Kill! | p | m | `tests/k.py` | |\n", "tests/k.py": ""}, "the first an id"),
    ({PAGE: _HEAD + "| a | p | m | `tests/k.py` | |\n| a | p | m | `tests/k.py` | |\n", "tests/k.py": ""}, "is there twice"),
    ({PAGE: _HEAD, "tests/k.py": 'promises.record("kill", "k", "f")\n'}, "records a figure for 'kill'"),
    ({PAGE: "| promise | figure |\n|---|---|\n"}, "columns must be"),
]
