#!/usr/bin/env python3
"""Counts turns of phrase that are not standard technical English in comments, documents, test names and messages.

usage: ci/prose.py [--list] [--limit N] [PATH ...]

Prints a line for each folder with the lines of prose, the lines with a finding and the rate per 1,000. Fails if the
rate of all paths together is above the limit (default 5), or if a test name cites a section number. --list prints each
finding as FILE:LINE: phrase. Without PATH: every file that git tracks.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# "Who" is for people only.
PEOPLE = (
    r"(?:people|persons?|users?|developers?|engineers?|operators?|readers?|maintainers?|authors?|reporters?"
    r"|contributors?|attackers?|those|anyone|everyone|newcomers?|strangers?|team|you)"
)

# Each pattern names a phrase and stands for its kind. CONTRIBUTING.md, "Language", says what to write in its place.
PATTERNS = [
    rf"(?<!{'x' * 1}\w)\b(?:who|whom)\b(?!\s+(?:am)\b)",
    r"\bwhoever\b",
    r"\bwhatever (?:is|was|comes|came|else|it|they)\b",
    r"\bnobody\b",
    r"\bsomebody\b",
    r"\bwhat (?:is|are|was|were|comes?|came|waits?|waited|goes|went|lies|lay|has|have|had|follows|remains|belongs|passes"
    r"|counts|arrives|arrived|fits|costs)\b",
    r"^\s*(?:#+\s*)?What\b(?! (?:is|are|do|does|to)\b[^.]*\?)",
    r"\bbehind (?:it|them|that|this|what|which|its|their|one|(?:the|a|an)\b(?! (?:\w+ ){0,2}(?:prox|balancer|CDN|NAT|firewall|nginx|HAProxy|load|gateway|router)))",
    r"\bbeside\b",
    r"\b(?:goes|go|went|going|gone) on\b",
    r"\b(?:is|are|was|were|be) none\b",
    r"\banew\b",
    r"\bso (?:much|many|long|often)\b(?! as\b)",
    r"\b(?:its|their|our|the) leave\b",
    r"\bgoodbyes?\b",
    r"\b(?:at work)\b",
    r"\b(?:comes?|came) (?:to nothing|of it|by itself)\b",
    r"\b(?:hears?|heard)\b",
    r"\b(?:is|are|was|were|be|been|being) told\b",
    r"\bthe doors\b",
    r"\bbears? with\b",
    r"\bpatience\b",
    r"\bletters\b(?!,? (?:digits|and digits))",
    r"\bthe void\b",
    r"\bmanners\b",
    r"\bthrift\b",
    r"\bby (?:its|their) own hand\b",
    r"\b(?:in|on) (?:its|their) way\b",
    r"\b(?:makes?|made) up its mind\b",
    r"\bworth a thought\b",
    r"\bbe it\b",
    r"\bnone of (?:ours|its business)\b",
    r"\bis nobody's\b",
    r"\bour doing\b",
    r"\b(?:takes?|gets?|has|have|had) (?:its|their) turn\b",
    r"\bsins?\b",
    r"\bmeanwhile\b",
    r"\bthe other end\b(?! of)",
    r"\bof its own accord\b",
    r"\bfor the sake of\b",
    r"\bsees? to (?:it|its)\b",
    r"\bmust not be late\b",
    r"\b(?:comes?|came) (?:back|in) of\b",
    r"\bthere (?:is|are) none\b",
    r"\bno one\b",
    r"\bto spare\b",
]
PEOPLE_WHO = re.compile(rf"\b{PEOPLE}(?: \w+)? who\b|\bwho (?:wrote|writes|maintains|reads|are you)\b", re.I)
WHO = re.compile(r"\b(?:who|whom)\b", re.I)
REST = [re.compile(pattern, re.I if not pattern.startswith("^") else 0) for pattern in PATTERNS[1:]]

SECTION_NUMBER = re.compile(r"\bfn \w*[a-z]_\d+_\d+(?:_\d+)*\s*\(")
TEST_NAME = re.compile(r"^\s*(?:async )?fn (\w+)\(")
COMMENT = {
    ".rs": re.compile(r"(?:^\s*|\s)//[/!]?\s?(.*)$"),
    ".mjs": re.compile(r"(?:^\s*|\s)//\s?(.*)$"),
    ".js": re.compile(r"(?:^\s*|\s)//\s?(.*)$"),
    ".py": re.compile(r"(?:^\s*|\s\s)#\s?(.*)$"),
    ".sh": re.compile(r"(?:^\s*|\s)#\s?(.*)$"),
    ".toml": re.compile(r"(?:^\s*|\s)#\s?(.*)$"),
    ".yml": re.compile(r"(?:^\s*|\s)#\s?(.*)$"),
}
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def prose_of(path):
    """Yields (number, text, is_test_name) for each line of prose in a file."""
    kind = path.suffix
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fenced = after_test = False
    for number, line in enumerate(lines, 1):
        if kind == ".md":
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif not fenced and line.strip():
                # Code and quoted text are not prose of this project.
                yield number, re.sub(r"`[^`]*`", "", line), False
            continue
        if kind not in COMMENT:
            continue
        comment = COMMENT[kind].search(line)
        if comment:
            text = comment.group(1).strip()
            # A quotation of a standard is somebody else's text.
            if text and not text.startswith(">"):
                yield number, re.sub(r'`[^`]*`|"[^"]*"', "", text), False
            if line.lstrip().startswith("//"):
                continue
        if kind == ".rs":
            if "#[test]" in line or "#[tokio::test" in line:
                after_test = True
            elif name := TEST_NAME.match(line):
                if after_test:
                    yield number, name.group(1).replace("_", " "), True
                after_test = False
            for text in STRING.findall(line):
                if text.count(" ") >= 2:
                    yield number, text, False


def findings(text):
    if WHO.search(text) and not PEOPLE_WHO.search(text):
        yield WHO.search(text).group(0)
    for pattern in REST:
        if found := pattern.search(text):
            yield found.group(0).strip()


def tracked():
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True)
    return [ROOT / name for name in names.stdout.split("\0") if name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--limit", type=float, default=5.0)
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    wanted = [path.resolve() for path in arguments.paths]
    files = [path for path in tracked() if path.is_file() and path != pathlib.Path(__file__).resolve()
             and (not wanted or any(path == one or one in path.parents for one in wanted))]
    lines, hits, cited = collections.Counter(), collections.Counter(), []
    for path in files:
        name = path.relative_to(ROOT)
        folder = str(pathlib.Path(*name.parts[:3]) if len(name.parts) > 3 else name.parent)
        for number, text, _ in prose_of(path):
            lines[folder] += 1
            if found := list(findings(text)):
                hits[folder] += 1
                if arguments.list:
                    print(f"{name}:{number}: {', '.join(found)}")
        if path.suffix == ".rs":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if SECTION_NUMBER.search(line):
                    cited.append(f"{name}:{number}: a test name cites a section number")
    for folder in sorted(lines):
        if hits[folder]:
            print(f"{hits[folder] * 1000 / lines[folder]:6.1f} per 1,000: {hits[folder]} of {lines[folder]} lines, {folder}")
    total, found = sum(lines.values()), sum(hits.values())
    rate = found * 1000 / max(total, 1)
    print(f"{rate:6.1f} per 1,000: {found} of {total} lines of prose; the limit is {arguments.limit:g}")
    for problem in cited:
        print(problem)
    if rate > arguments.limit or cited:
        print("Run ci/prose.py --list and see CONTRIBUTING.md, \"Language\".")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
