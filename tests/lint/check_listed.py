"""Every C++ file of src/ is listed in its folder's CMakeLists.txt, and what is listed exists."""
import pathlib
import re

FILE = re.compile(r"(?<![\w/${}.])([\w/]+\.(?:cc|h))\b")


INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def build_file_of(folder, tree):
    """The nearest CMakeLists.txt at or above `folder`, below src/."""
    path = pathlib.PurePosixPath(folder)
    while path.as_posix() != "src":
        if f"{path}/CMakeLists.txt" in tree.files:
            return path.as_posix()
        path = path.parent
    return None


def find_problems(tree):
    problems, by_home = [], {}
    for path in tree.sources("src"):
        folder = str(pathlib.PurePosixPath(path).parent)
        home = build_file_of(folder, tree)
        if home is None:
            problems.append(f"{folder}: no CMakeLists.txt; list its files with ms_library")
        else:
            by_home.setdefault(home, set()).add(path)
    for home, paths in sorted(by_home.items()):
        build = home + "/CMakeLists.txt"
        listed = {f"{home}/{name}" for name in FILE.findall(re.sub(r"#.*", "", tree.text(build)))}
        # A header for tests only comes with the test that includes it.
        for test in [path for path in paths if path.endswith("_test.cc")]:
            listed |= {"src/" + name for name in INCLUDE.findall(tree.text(test))} & paths
        problems += [f"{path}: not listed in {build}, so nothing builds it"
                     for path in sorted(paths - listed)]
        problems += [f"{build}: lists {path}, which does not exist"
                     for path in sorted(listed - set(tree.files))]
    return sorted(set(problems))


SELF_TESTS = [
    ({"src/a/CMakeLists.txt": "ms_library(a HEADERS a.h\n  SOURCES a.cc)\n", "src/a/a.cc": "", "src/a/a.h": ""}, None),
    ({"src/a/CMakeLists.txt": "ms_library(a HEADERS a.h) # b.h\n", "src/a/a.h": "", "src/a/b.h": ""}, "src/a/b.h: not listed"),
    ({"src/a/CMakeLists.txt": "ms_library(a HEADERS a.h b.h)\n", "src/a/a.h": ""}, "lists src/a/b.h, which does not exist"),
    ({"src/a/CMakeLists.txt": "ms_library(a HEADERS b/b.h TESTS a_test.cc)\n", "src/a/b/b.h": "",
      "src/a/a_test.cc": '#include "a/fixture.h"\n', "src/a/fixture.h": ""}, None),
    ({"src/a/a.h": ""}, "src/a: no CMakeLists.txt"),
]
