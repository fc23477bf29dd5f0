"""Reads the Markdown of the tree: its fenced blocks and its links.

The word after the language says what the test does with a block:

    sh             run by bash -eu, in order, in a scratch folder that shows the tree
    sh background  started and kept until the end of the document; ready when the router is
    sh pods        the same; ready when it says so on its standard output
    sh make        each line is `make TARGET` of the Makefile; not run here
    sh machine     changes the machine (root, containers, services): checked for syntax only
    python, js     run with the clients of tests/integration
    python test    a test of somebody's own: not run
"""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```\s*$",
                   re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclasses.dataclass
class Block:
    line: int
    language: str
    kind: str
    text: str


def documents():
    """Every Markdown file for readers, as paths from the root."""
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "deploy", "perf"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def blocks(text):
    for match in FENCE.finditer(text):
        words = match["info"].split()
        indent = len(match["indent"])
        body = "\n".join(line[indent:] for line in match["text"].splitlines())
        yield Block(text.count("\n", 0, match.start()) + 1, words[0] if words else "",
                    words[1] if len(words) > 1 else "", body)


def prose(text):
    return FENCE.sub("", text)


def links(text):
    return LINK.findall(prose(text))


def anchors(text):
    """The anchors that a forge makes of the headings."""
    names = re.findall(r"^#+ (.+?)\s*$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names}
