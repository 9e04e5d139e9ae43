"""A folder of src/ includes only itself and folders of lower layers (docs/layers.txt)."""
import pathlib
import re

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def load_layers(text):
    """({folder: rank}, {(from, to)}): lowest rank first; the pairs are allowed besides."""
    rank, allowed, level = {}, set(), 0
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if "->" in line:
            allowed.add(tuple(part.strip() for part in line.split("->")))
        elif line:
            rank.update(dict.fromkeys(line.split(), level))
            level += 1
    return rank, allowed


def folder_of(path, rank):
    """The deepest folder of `path` that has a layer."""
    parts = pathlib.PurePosixPath(path).parts[:-1]
    for depth in range(len(parts), 0, -1):
        if "/".join(parts[:depth]) in rank:
            return "/".join(parts[:depth])
    return None


def find_problems(tree):
    rank, allowed = load_layers(tree.text("docs/layers.txt"))
    problems = []
    for path in tree.sources("src"):
        inner = path.removeprefix("src/")
        own = folder_of(inner, rank)
        if own is None:
            problems.append(f"{path}: its folder is missing from docs/layers.txt")
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            match = INCLUDE.match(line)
            other = match and folder_of(match.group(1), rank)
            if not other or other == own or rank[other] < rank[own] or (own, other) in allowed:
                continue
            problems.append(f"{path}:{number}: {own} may not include {other} (docs/layers.txt); "
                            f"own an interface in {own} and implement it above")
    return problems


_LAYERS = "common\nio net # peers\nquery\nquery/sql\nio -> net\n"
SELF_TESTS = [
    ({"docs/layers.txt": _LAYERS, "src/io/a.cc": '#include "common/a.h"\n#include "io/b.h"\n#include <net/x.h>\n',
      "src/query/sql/a.cc": '#include "query/a.h"\n#include "generated.pb.h"\n'}, None),
    ({"docs/layers.txt": _LAYERS, "src/io/a.cc": '#include "net/a.h"\n'}, None),
    ({"docs/layers.txt": _LAYERS, "src/net/a.cc": '\n#include "io/a.h"\n'}, "src/net/a.cc:2: net may not include io"),
    ({"docs/layers.txt": _LAYERS, "src/common/a.h": '#include "query/sql/a.h"\n'}, "common may not include query/sql"),
    ({"docs/layers.txt": _LAYERS, "src/query/a.h": '#include "query/sql/a.h"\n'}, "query may not include query/sql"),
    ({"docs/layers.txt": _LAYERS, "src/new/a.h": ""}, "missing from docs/layers.txt"),
]
