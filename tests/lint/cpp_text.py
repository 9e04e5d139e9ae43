"""C++ text without what a check must not look at."""
import re

_TOKEN = re.compile(
    r"""//[^\n]*                               # a comment
      | /\*.*?\*/                              # a comment
      | R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"   # a raw string
      | "(?:\\.|[^"\\\n])*"                    # a string
      | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'    # a character; not a digit separator
    """, re.DOTALL | re.VERBOSE)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_only(text):
    """Comments, strings and characters become spaces; lines stay where they are."""
    return _TOKEN.sub(lambda match: _blank(match.group()), text)


def strings(text):
    """(line number, content) of every ordinary string."""
    for match in _TOKEN.finditer(text):
        if match.group().startswith('"'):
            yield text.count("\n", 0, match.start()) + 1, match.group()[1:-1]


_NOT_A_FUNCTION = re.compile(r"^\s*(?:template\s*<[^{};]*>\s*)?(?:inline\s+)?"
                             r"(?:namespace|class|struct|union|enum|extern)\b")


def functions(text):
    """(first line, last line) of the outermost function bodies, by counting braces."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: _blank(m.group()), code_only(text),
                  flags=re.MULTILINE)
    depth, function_depth, begin, head = 0, None, 0, 0
    for match in re.finditer(r"[{};]", code):
        mark, at = match.group(), match.start()
        if mark == "{":
            before = code[head:at]
            if function_depth is None and ")" in before and not _NOT_A_FUNCTION.match(before):
                function_depth, begin = depth, at
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == function_depth:
                yield code.count("\n", 0, begin) + 1, code.count("\n", 0, at) + 1
                function_depth = None
        head = at + 1
