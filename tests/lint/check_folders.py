"""Every folder of src/ says what it is for, and is on the map."""
import pathlib

README_LINES = 60


def find_problems(tree):
    folders = {str(pathlib.PurePosixPath(path).parent) for path in tree.sources("src")}
    architecture = tree.text("docs/architecture.md") if "docs/architecture.md" in tree.files else ""
    problems = []
    for folder in sorted(folders):
        name = folder.removeprefix("src/")
        readme = folder + "/README.md"
        if readme not in tree.files:
            problems.append(f"{folder}: no README.md; say purpose, what belongs here, main types, threads, invariants")
        elif tree.text(readme).count("\n") > README_LINES:
            problems.append(f"{readme}: more than {README_LINES} lines; move the rest to docs/")
        if f"`{name}`" not in architecture:
            problems.append(f"docs/architecture.md: the folder `{name}` of src/ is not named")
    return problems


SELF_TESTS = [
    ({"src/a/b/x.cc": "", "src/a/b/README.md": "# a/b\n", "docs/architecture.md": "`a/b` is b\n"}, None),
    ({"src/a/x.cc": "", "docs/architecture.md": "`a`\n"}, "src/a: no README.md"),
    ({"src/a/x.cc": "", "src/a/README.md": "x\n" * 61, "docs/architecture.md": "`a`\n"}, "more than 60 lines"),
    ({"src/a/x.cc": "", "src/a/README.md": "x\n", "docs/architecture.md": "a\n"}, "the folder `a` of src/ is not named"),
]
