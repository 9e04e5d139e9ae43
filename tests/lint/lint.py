#!/usr/bin/env python3
"""Runs the repository's checks: lint.py NAME [ROOT], lint.py NAME --self-test, lint.py --list.

A check is a module check_NAME.py with

    find_problems(tree) -> list of strings, "path:line: what is wrong; what to do instead"
    SELF_TESTS          -> list of (files, expected): a small tree as {path: text}, and a text that
                           one of the problems must contain, or None if nothing may be found

The self-test of a check fails unless it has a case that finds a problem and one that finds none.
"""
import importlib
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
EXCEPTIONS = "tests/lint/exceptions.txt"
IGNORED_FOLDERS = {".git", "build", ".deps", ".ccache", "data", "__pycache__", ".pytest_cache"}


class Tree:
    """The files of a checkout: those that git knows or would add."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files = sorted(self._list())
        self.used_exceptions = set()
        self._exceptions = self._read_exceptions()

    def _list(self):
        if (self.root / ".git").exists():
            command = ["git", "-C", str(self.root), "-c", f"safe.directory={self.root}",
                       "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            names = subprocess.run(command, check=True, capture_output=True).stdout.decode()
            return {n for n in names.split("\0") if n and (self.root / n).is_file()}
        paths = (p.relative_to(self.root) for p in self.root.rglob("*") if p.is_file())
        return {p.as_posix() for p in paths if not IGNORED_FOLDERS & set(p.parts)}

    def text(self, path):
        """The file's text, or None if it is not UTF-8."""
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return None

    def sources(self, *folders):
        """The C++ files below `folders`."""
        return [f for f in self.files
                if f.endswith((".h", ".cc")) and f.startswith(tuple(d + "/" for d in folders))]

    def _read_exceptions(self):
        """'check path: reason' lines, as {(check, path)}."""
        path = self.root / EXCEPTIONS
        if not path.exists():
            return set()
        found = set()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            subject, _, reason = line.partition(": ")
            if len(subject.split()) != 2 or not reason.strip():
                raise SystemExit(f"{EXCEPTIONS}:{number}: must be 'check path: reason'")
            found.add(tuple(subject.split()))
        return found

    def is_excepted(self, check, path):
        if (check, path) in self._exceptions:
            self.used_exceptions.add((check, path))
            return True
        return False

    def stale_exceptions(self, check):
        return [f"{EXCEPTIONS}: '{name} {path}' is not needed any more; remove it"
                for name, path in sorted(self._exceptions - self.used_exceptions) if name == check]


def load(name):
    sys.path.insert(0, str(HERE))
    return importlib.import_module(f"check_{name}")


def names():
    return sorted(p.stem.removeprefix("check_") for p in HERE.glob("check_*.py"))


def find_problems(name, root):
    tree = Tree(root)
    problems = load(name).find_problems(tree)
    return problems + tree.stale_exceptions(name)


def self_test(name):
    cases = load(name).SELF_TESTS
    failures = []
    for index, (files, expected) in enumerate(cases):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                target = pathlib.Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            problems = find_problems(name, folder)
        if expected is None and problems:
            failures.append(f"case {index}: expected nothing, got {problems}")
        if expected is not None and not any(expected in p for p in problems):
            failures.append(f"case {index}: expected '{expected}', got {problems}")
    kinds = {expected is None for _, expected in cases}
    if kinds != {True, False}:
        failures.append("needs a case that finds a problem and one that finds none")
    return failures


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(names()))
        return 0
    name, options = arguments[0], arguments[1:]
    if options == ["--self-test"]:
        problems = self_test(name)
    else:
        problems = find_problems(name, options[0] if options else HERE.parent.parent)
    print("\n".join(problems) or f"{name}: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
