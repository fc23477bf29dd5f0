"""Reads perf/results for perf/report."""
import ast
import json
import re
import shlex

DATE = re.compile(r"\d{4}-\d\d-\d\d")
MEMBERS = {"command": str, "date": str, "commit": str, "machine": dict, "figures": list,
           "notes": list}


class Malformed(Exception):
    """A file that is no result; says which and why."""


def load(path):
    """One result, as common.Report writes it."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Malformed(f"{path}: no JSON: {error}") from error
    for name, kind in MEMBERS.items():
        if not isinstance(result, dict) or not isinstance(result.get(name), kind):
            raise Malformed(f"{path}: no result of a command in perf/: `{name}` is missing")
    return result


def read(folder):
    """The results of each command, newest first. Folders are dates; a file is named after its
    command."""
    commands = {}
    dates = [d for d in folder.iterdir() if d.is_dir() and DATE.fullmatch(d.name)]
    for date in sorted(dates, reverse=True):
        for path in sorted(date.glob("*.json")):
            commands.setdefault(path.stem, []).append(load(path))
    return dict(sorted(commands.items()))


def number(value):
    """Three digits, or all of a larger whole part, with commas."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def portable(command):
    """A command line without where its results went; folders of the machine become the names of
    their options."""
    kept, words = [], iter(shlex.split(command))
    for word in words:
        if word == "--json":
            next(words, None)
        elif word.startswith("/") and kept and kept[-1].startswith("--"):
            kept.append(kept[-1].lstrip("-").upper())
        elif not word.startswith("--json="):
            kept.append(word)
    return shlex.join(kept)


def description(path):
    """The first paragraph of a command's docstring; empty where there is none."""
    if not path.is_file():
        return ""
    try:
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (SyntaxError, ValueError):
        return ""
    return text.split("\n\n", 1)[0]
