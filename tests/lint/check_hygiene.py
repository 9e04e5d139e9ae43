"""Nothing in the repository depends on one machine, one user or one mirror."""
import re

# Each pattern is written in pieces, so that this file does not contain what it looks for.
PATTERNS = [
    (r"(?<![\w.\-])/(?:wo" r"rk|ro" r"ot)/", "a path of one machine; use a path relative to the repository"),
    (r"(?<![\w.\-])/ho" r"me/\w+/", "a path of one machine; use a path relative to the repository"),
    (r"\b(?:pypi" r"\.org|files\.python" r"hosted\.org|registry\.npm" r"js\.org|proxy\.go" r"lang\.org|crates" r"\.io)\b",
     "a package registry; leave the choice to the user's pip, npm and apt"),
    (r"\b(?:\w+\.)?deb" r"ian\.org/debian\b", "a package mirror; leave the choice to apt"),
    (r"<<<<" r"<<< |>>>>" r">>> ", "an unresolved merge"),
    (r"BEGIN (?:RSA |EC |OPENSSH )?PRIV" r"ATE KEY", "a private key"),
]
COMPILED = [(re.compile(pattern), what) for pattern, what in PATTERNS]
BYTES_MAX = 1 << 20
BINARY_FOLDERS = ("tests/formats/", "fuzz/corpus/")


def find_problems(tree):
    problems = []
    for path in tree.files:
        if path.startswith(BINARY_FOLDERS):
            continue
        if (tree.root / path).stat().st_size > BYTES_MAX:
            problems.append(f"{path}: larger than {BYTES_MAX} bytes; generate it instead")
            continue
        text = tree.text(path)
        if text is None:
            problems.append(f"{path}: not UTF-8 text; binary files live in {' and '.join(BINARY_FOLDERS)}")
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in COMPILED:
                match = pattern.search(line)
                if match:
                    problems.append(f"{path}:{number}: '{match.group().strip()}' is {what}")
        if text and not text.endswith("\n"):
            problems.append(f"{path}: no newline at the end")
    return problems


SELF_TESTS = [
    ({"a.md": "network/x src/work/y ./work/x roots/\n", "b.txt": ""}, None),
    ({"a.md": "\nsee /wo" "rk/x\n"}, "a.md:2: "),
    ({"a.sh": "cd /ro" "ot/x\n"}, "a path of one machine"),
    ({"a.sh": "cd /ho" "me/anna/x\n"}, "a path of one machine"),
    ({"a.sh": "pip --index https://pypi" ".org/simple\n"}, "a package registry"),
    ({"a.txt": "<<<<" "<<< HEAD\n"}, "an unresolved merge"),
    ({"a.txt": "x"}, "no newline at the end"),
    ({"a.txt": "x\n" * (1 << 20)}, "larger than"),
]
