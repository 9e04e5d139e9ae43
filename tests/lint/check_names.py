"""No file, folder or type is named after nothing in particular."""
import re

from cpp_text import code_only

WORDS = ("util", "utils", "utility", "helper", "helpers", "misc", "manager", "managers")
IN_PATH = re.compile(r"(?:^|[/_.\-])(" + "|".join(WORDS) + r")(?=[/_.\-]|$)", re.IGNORECASE)
TYPE = re.compile(r"\b(?:class|struct|enum(?:\s+class)?|concept|using)\s+(?:MS_\w+(?:\([^)]*\))?\s+)?"
                  r"(\w*(?:Util|Utils|Utility|Helper|Helpers|Misc|Manager|Managers)(?![a-z])\w*)")
ALLOWED = {"AlertManager"}  # The role's name is given.


def find_problems(tree):
    problems = []
    for path in tree.files:
        match = IN_PATH.search(path)
        if match and "alert_manager" not in path and not tree.is_excepted("names", path):
            problems.append(f"{path}: '{match.group(1)}' says nothing; name it after what it holds or does")
    for path in tree.sources("src", "tests", "bench", "fuzz"):
        for number, line in enumerate(code_only(tree.text(path)).splitlines(), 1):
            match = TYPE.search(line)
            if match and match.group(1) not in ALLOWED:
                problems.append(f"{path}:{number}: type '{match.group(1)}'; name it after what it holds or does")
    return problems


SELF_TESTS = [
    ({"src/a/utilisation.cc": "struct Utilisation {};\n// class Helper\n", "src/a/alert_manager.h": "class AlertManager;\n"}, None),
    ({"src/a/string_util.cc": ""}, "'util' says nothing"),
    ({"src/helpers/a.cc": ""}, "'helpers' says nothing"),
    ({"src/a/a.h": "\nclass TestHelper {};\n"}, "src/a/a.h:2: type 'TestHelper'"),
    ({"src/a/a.h": "struct ShardManager;\n"}, "type 'ShardManager'"),
]
