#!/usr/bin/env python3
"""Checks links in documents, citations of docs/protocol.md and names in docs/ARCHITECTURE.md, without a network.

usage: ci/links.py

- Each relative link in a Markdown file that git tracks leads to a tracked file or folder, and its anchor to a heading.
- Each citation `docs/protocol.md 2.3.8` in a tracked text file names a section or an item of that document.
- Each source file that the walks of docs/ARCHITECTURE.md name is in eio-monoio/src and defines the name after it.

Prints FILE:LINE and the reason for each that does not, and fails if there is one.
"""

import pathlib
import re
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOCOL = "docs/protocol.md"
ARCHITECTURE = "docs/ARCHITECTURE.md"

FENCE = re.compile(r"^\s*(?:>\s*)*(```+|~~~+)")
INLINE = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s+\".*\")?\s*$")
HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"", re.I)
HTML_ANCHOR = re.compile(r"<a\b[^>]*?\b(?:id|name)=\"([^\"]+)\"", re.I)
EXTERNAL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.I)
NUMBER = r"\d+(?:\.\d+){0,2}"
CITATION = re.compile(rf"docs/protocol\.md((?:,? (?:and |or |to )?{NUMBER}(?![\w%])(?!\.\d))+)")
COMMENT_BREAK = re.compile(r"\n[ \t]*(?://[/!]?|#|\*)[ \t]*")


def tracked():
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True)
    return sorted({name for name in names.stdout.split("\0") if name and (ROOT / name).is_file()})


def prose_lines(text):
    """Yields (number, line) outside of code blocks."""
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        mark = FENCE.match(line)
        if mark and fence is None:
            fence = mark.group(1)
        elif mark and mark.group(1).startswith(fence):
            fence = None
        elif fence is None:
            yield number, line


def slug(heading):
    """GitHub's anchor of a heading: https://github.com/gjtorikian/html-pipeline, TableOfContentsFilter."""
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = re.sub(r"<[^>]*>", "", heading).replace("`", "").replace("*", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def anchors(text):
    found, seen = set(), {}
    for _, line in prose_lines(text):
        found.update(HTML_ANCHOR.findall(line))
        if heading := re.match(r"^#{1,6}\s+(.*?)\s*#*$", line):
            name = slug(heading.group(1))
            count = seen.get(name, 0)
            seen[name] = count + 1
            found.add(f"{name}-{count}" if count else name)
    return found


def targets(text):
    """Yields (number, target) for each link."""
    for number, line in prose_lines(text):
        line = re.sub(r"(`+).*?\1", lambda code: "x" * len(code.group(0)), line)
        for pattern in (INLINE, HTML, REFERENCE):
            for match in pattern.finditer(line):
                yield number, match.group(1)


def broken_links(names):
    files = set(names)
    folders = {str(parent) for name in names for parent in pathlib.PurePosixPath(name).parents}
    known = {}

    def anchors_of(name):
        if name not in known:
            known[name] = anchors((ROOT / name).read_text(encoding="utf-8"))
        return known[name]

    for name in (name for name in names if name.endswith(".md")):
        for number, target in targets((ROOT / name).read_text(encoding="utf-8")):
            if EXTERNAL.match(target):
                continue
            path, _, anchor = target.partition("#")
            path = urllib.parse.unquote(path)
            place = name
            if path:
                base = "" if path.startswith("/") else str(pathlib.PurePosixPath(name).parent)
                place = re.sub(r"^(?:\./)+", "", normal(f"{base}/{path.lstrip('/')}"))
                if place not in files and place not in folders:
                    yield f"{name}:{number}: {target}: there is no {place}"
                    continue
            if anchor and place.endswith(".md") and anchor.lower() not in anchors_of(place):
                yield f"{name}:{number}: {target}: there is no such heading"


def normal(path):
    parts = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or "."


def protocol_items():
    """The numbers of sections and items of the protocol document."""
    items, section = set(), None
    for _, line in prose_lines((ROOT / PROTOCOL).read_text(encoding="utf-8")):
        if heading := re.match(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", line):
            section = heading.group(1)
            items.add(section)
        elif section and (item := re.match(r"^(\d+)\. ", line)):
            items.add(f"{section}.{item.group(1)}")
    return items


def broken_citations(names):
    items = protocol_items()
    for name in names:
        if pathlib.PurePosixPath(name).suffix not in (".rs", ".md", ".py", ".mjs", ".sh", ".toml") or name == PROTOCOL:
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        if PROTOCOL not in text or name == "ci/links.py":
            continue
        # A citation may continue on the next line of its comment. Line numbers are kept.
        joined = COMMENT_BREAK.sub(lambda found: " " + "\0" * found.group(0).count("\n"), text)
        for found in CITATION.finditer(re.sub(r" \0", " ", joined)):
            for number in re.findall(NUMBER, found.group(1)):
                if number not in items:
                    line = next(n for n, l in enumerate(text.split("\n"), 1) if number in l)
                    yield f"{name}:{line}: {PROTOCOL} has no {number}"


def broken_walks(names):
    text = (ROOT / ARCHITECTURE).read_text(encoding="utf-8")
    start = text.index("\n## Four walks")
    walks = text[start:text.index("\n## ", start + 1)]
    for found in re.finditer(r"`([a-z_/]+\.rs)`(?:\s+`([A-Za-z_:]+)`)?", walks):
        file, item = found.groups()
        line = text.count("\n", 0, start + found.start()) + 1
        path = f"eio-monoio/src/{file}"
        if path not in names:
            yield f"{ARCHITECTURE}:{line}: there is no {path}"
        elif item and not re.search(rf"\b(?:fn|struct|enum|trait|type) {item.split('::')[-1]}\b",
                                    (ROOT / path).read_text(encoding="utf-8")):
            yield f"{ARCHITECTURE}:{line}: {path} does not define {item}"


def main():
    names = tracked()
    problems = [*broken_links(names), *broken_citations(names), *broken_walks(set(names))]
    for problem in problems:
        print(problem)
    documents = sum(name.endswith(".md") for name in names)
    print(f"{documents} documents, {len(problems)} broken links, citations and names")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
