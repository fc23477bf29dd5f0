"""What README.md and docs/ say is so: links lead somewhere, and every command runs as pasted."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

import pytest
from documents import ROOT, anchors, blocks, documents, links, prose

JAVASCRIPT = ROOT / "tests" / "integration" / "javascript"
DOCUMENTS = documents()
COMMAND_LIMIT = 120
KNOWN = {"sh": {"", "background", "pods", "make", "machine"}, "python": {"", "test"}, "js": {""}}


def read(document):
    return (ROOT / document).read_text(encoding="utf-8")


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md",
            "docs/quickstart.md", "docs/operations.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for link in links(read(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{document}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_are_of_a_known_kind(document):
    for block in blocks(read(document)):
        if block.language in KNOWN:
            assert block.kind in KNOWN[block.language], f"{document}:{block.line}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    """A path in backquotes whose first folder is ours is a file or folder of ours."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build", ".deps", ".venv"}
    for name in re.findall(r"`([\w.\-]+(?:/[\w.\-]+)+/?)`", prose(read(document))):
        if name.split("/")[0] in tops:
            assert (ROOT / name).exists(), f"{document}: {name}"


def make_targets():
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def is_runnable(document):
    return any(b.language in KNOWN and b.kind != "test" for b in blocks(read(document)))


class Session:
    """Runs the blocks of one document in a scratch folder in which the tree seems to lie. The ports
    8080 and 9090 of the text become free ones."""

    def __init__(self, folder):
        self.folder, self.background = folder, []
        self.ports = {name: free_port() for name in ("8080", "9090")}
        for entry in ROOT.iterdir():
            if entry.name != ".git":
                (folder / entry.name).symlink_to(entry)
        self.env = {**os.environ, "BATON_PORT": self.ports["8080"],
                    "BATON_ADMIN_PORT": self.ports["9090"],
                    "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}

    def local(self, text):
        for name, port in self.ports.items():
            text = re.sub(rf"\b{name}\b", port, text)
        return text

    def run(self, block):
        text = self.local(block.text)
        if block.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        elif block.language == "python":
            command = [str(ROOT / ".venv/bin/python"), "-c", text]
        else:
            command = ["node", "--input-type=module", "-e", text]
        where = JAVASCRIPT if block.language == "js" else self.folder
        return subprocess.run(command, cwd=where, env=self.env, capture_output=True, text=True,
                              timeout=COMMAND_LIMIT, stdin=subprocess.DEVNULL)

    def start(self, block):
        log = self.folder / f"background-{len(self.background)}.log"
        with open(log, "w") as sink:
            child = subprocess.Popen(["bash", "-euc", "exec " + self.local(block.text).strip()],
                                     cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                     stdout=sink, stderr=sink, start_new_session=True)
        self.background.append((child, log))
        end = time.monotonic() + COMMAND_LIMIT
        ready = self.answers if block.kind == "background" else lambda: "ready" in log.read_text()
        while not ready():
            assert child.poll() is None, f"it ended: {block.text}\n{self.logs()}"
            assert time.monotonic() < end, f"not ready: {block.text}\n{self.logs()}"
            time.sleep(0.1)

    def answers(self):
        try:
            url = f"http://127.0.0.1:{self.ports['9090']}/readyz"
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def logs(self):
        return "".join(log.read_text(errors="replace")[-4000:] for _, log in self.background)

    def close(self):
        """Ends what runs as a person does, with Ctrl-C."""
        for child, _ in self.background:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise AssertionError("Ctrl-C did not end it") from None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if is_runnable(d)])
def test_commands_run_as_pasted(document, tmp_path):
    session = Session(tmp_path)
    try:
        for block in blocks(read(document)):
            place = f"{document}:{block.line}"
            if block.language not in KNOWN or block.kind == "test":
                continue
            if block.kind == "make":
                for line in block.text.splitlines():
                    words = line.split("#")[0].split()
                    if words:
                        assert words[0] == "make" and words[1] in make_targets(), f"{place}: {line}"
            elif block.kind == "machine":
                subprocess.run(["bash", "-n", "-c", block.text], check=True)
            elif block.kind in ("background", "pods"):
                session.start(block)
            else:
                result = session.run(block)
                assert result.returncode == 0, \
                    f"{place}\n{block.text}\n{result.stdout}{result.stderr}{session.logs()}"
    finally:
        session.close()


def test_a_failing_command_is_seen(tmp_path):
    session = Session(tmp_path)
    bad = next(blocks("```sh\nfalse | true\n```\n"))
    assert session.run(bad).returncode != 0


def test_make_help_lists_every_target():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert set(re.findall(r"make (\w+)", text)) >= make_targets()


def test_flags_that_are_named_exist():
    """`baton COMMAND --flag` in any document is a flag that the command's help shows."""
    baton = pathlib.Path(os.environ.get("BATON_BIN", ROOT / "build" / "release" / "baton"))
    helps = {}
    for document in DOCUMENTS:
        for command, rest in re.findall(r"\bbaton (\w[\w-]*)((?: [^\n`|&]*)?)", read(document)):
            flags = re.findall(r"(?<=\s)--[a-z][\w-]*", rest)
            if not flags:
                continue
            if command not in helps:
                helps[command] = subprocess.run([baton, command, "--help"], capture_output=True,
                                                text=True).stdout
            for flag in flags:
                assert re.search(rf"{flag}\b", helps[command]), f"{document}: {command} {flag}"
