"""Links in documentation lead somewhere."""
import pathlib
import re

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def without_code(text):
    text = FENCE.sub(lambda m: "\n" * m.group().count("\n"), text)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(text):
    """The anchors that a Markdown viewer gives to headings."""
    found = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        count, unique = 0, slug
        while unique in found:
            count += 1
            unique = f"{slug}-{count}"
        found.add(unique)
    return found


def find_problems(tree):
    problems = []
    files = set(tree.files)
    folders = {str(p) for f in files for p in pathlib.PurePosixPath(f).parents}
    for path in tree.files:
        if not path.endswith(".md"):
            continue
        for number, line in enumerate(without_code(tree.text(path)).splitlines(), 1):
            for target in LINK.findall(line):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, anchor = target.partition("#")
                base = pathlib.PurePosixPath(path).parent
                parts = []
                for part in ((base / file) if file else pathlib.PurePosixPath(path)).parts:
                    parts = parts[:-1] if part == ".." else parts + [part]
                name = "/".join(parts) or "."
                if name not in files and name not in folders:
                    problems.append(f"{path}:{number}: '{target}' leads nowhere")
                elif anchor and name.endswith(".md") and anchor not in anchors(tree.text(name)):
                    problems.append(f"{path}:{number}: '{target}': there is no such heading")
    return problems


SELF_TESTS = [
    ({"docs/a.md": "[b](../b.md#two-words) [x](https://x.y/z) [f](.) `[no](no.md)`\n```\n[n](n)\n```\n",
      "b.md": "# Two `words`\n[self](#two-words)\n"}, None),
    ({"docs/a.md": "\n[b](b.md)\n"}, "docs/a.md:2: 'b.md' leads nowhere"),
    ({"a.md": "[b](b.md#no)\n", "b.md": "# Yes\n"}, "there is no such heading"),
    ({"a.md": "[b](#no)\n"}, "there is no such heading"),
]
