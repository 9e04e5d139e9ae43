"""C++ is formatted by clang-format 19."""
import subprocess

PROGRAM = "clang-format-19"
STYLE = ".clang-format"


def find_problems(tree):
    files = tree.sources("src", "tests", "bench", "fuzz")
    if not files:
        return []
    run = subprocess.run([PROGRAM, "--dry-run", "-Werror", "--style=file", *files], cwd=tree.root,
                         capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return []
    wrong = sorted({line.split(":")[0] for line in run.stderr.splitlines() if ": error:" in line})
    return [f"{file}: not formatted; run {PROGRAM} -i {file}" for file in wrong] or [run.stderr]


_STYLE = {STYLE: "BasedOnStyle: Google\nIndentWidth: 4\n"}
_BAD = "int f() {\n  int a = 1;\n  return a;\n}\n"
SELF_TESTS = [
    ({**_STYLE, "src/a/a.cc": _BAD.replace("  ", "    ")}, None),
    ({**_STYLE, "src/a/a.cc": _BAD}, "src/a/a.cc: not formatted"),
    ({**_STYLE, "tests/a/a.h": "int  x;\n"}, "tests/a/a.h: not formatted"),
]
