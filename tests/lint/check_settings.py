"""A setting that a message or a comment names exists, and every setting is used (docs/config.md)."""
import re

from cpp_text import code_only

DEFINED = re.compile(r"^\| `([a-z_.]+)` \|", re.MULTILINE)
COMMENT = re.compile(r"//.*")


def find_problems(tree):
    known = set(DEFINED.findall(tree.text("docs/config.md")))
    sections = {key.rsplit(".", 1)[0] for key in known}
    names = "|".join(sorted(map(re.escape, sections), key=len, reverse=True))
    # At least one underscore or a known name: "query.cc" and "http.status" are something else.
    used = re.compile(rf"(?<![\w./<\"#])(?:(?<=\")|)((?:{names})\.[a-z]+(?:_[a-z]+)+)(?![\w(/.])")
    quoted = re.compile(rf"\"((?:{names})\.[a-z]+(?:_[a-z]+)+)\"")
    problems = []
    for path in tree.sources("src"):
        if path.endswith("_test.cc"):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            comment = COMMENT.search(line)
            found = set(quoted.findall(line)) | set(used.findall(comment.group() if comment else ""))
            for literal in re.findall(r'"[^"]*"', line):
                found |= set(used.findall(literal[1:-1]))
            problems += [f"{path}:{number}: there is no setting {key} in docs/config.md"
                         for key in sorted(found - known)]
    return problems + unused_settings(tree, known)


def unused_settings(tree, known):
    """No setting is ignored: something outside of src/config reads the member of its name."""
    users = "\n".join(code_only(tree.text(path)) for path in tree.sources("src")
                      if not path.startswith("src/config/") and not path.endswith("_test.cc"))
    read = set(re.findall(r"[.>](\w+)", users))
    return [f"docs/config.md: nothing reads the setting {key}"
            for key in sorted(known) if key.rsplit(".", 1)[1] not in read]


_USES = "int a = config.http.body_bytes_max + c.root;\n"
_PAGE = "| `http.body_bytes_max` | 1 | 2 | 3 |\n| `store.object.root` | 1 | 2 | 3 |\n"
SELF_TESTS = [
    ({"docs/config.md": _PAGE, "src/b/b.cc": _USES, "src/a/a.cc": 'f("http.body_bytes_max"); http.no_such_member(); "x/http.a_b"\n'
                                             '#include "http.some_file.h"\n'}, None),
    ({"docs/config.md": _PAGE, "src/a/a.cc": '\nf("http.bodies_max");\n'}, "src/a/a.cc:2: there is no setting http.bodies_max"),
    ({"docs/config.md": _PAGE, "src/b/b.cc": _USES, "src/a/a.h": "int x;  ///< See http.no_limit_max.\n"}, None),
    ({"docs/config.md": _PAGE, "src/a/a.h": "int x;  ///< http.no_limit_max\n"}, "no setting http.no_limit_max"),
    ({"docs/config.md": _PAGE, "src/a/a.cc": 'g("limit 5 (store.object.roots_max)")\n'}, "no setting store.object.roots_max"),
    ({"docs/config.md": _PAGE, "src/a/a.cc": "f(config.http.body_bytes_max); // c.root\n"}, "nothing reads the setting store.object.root"),
]
