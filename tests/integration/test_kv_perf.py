"""`baton kv-perf`: two processes of one host, a server and a client, and what goes wrong."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import threading
import xml.etree.ElementTree as ElementTree

import pytest

from harness import BATON, LIMIT, run_baton, wait_until

QUICK = ("--shape", "8x4096", "--repetitions", 3)


def kv_perf(*arguments, code=0):
    result = run_baton("kv-perf", *arguments)
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result


def one_line(result):
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("baton kv-perf: "), result.stderr
    return lines[0]


@contextlib.contextmanager
def served(listen="127.0.0.1:0"):
    """A `baton kv-perf --serve`; gives its address and its process."""
    child = subprocess.Popen([BATON, "kv-perf", "--serve", "--listen", listen],
                             stdout=subprocess.PIPE, text=True)
    try:
        words = child.stdout.readline().split()
        assert words[:3] == ["baton", "kv-perf", "ready:"], words
        yield words[3], child
    finally:
        child.terminate()
        assert child.wait(LIMIT) == 0
        child.stdout.close()


@contextlib.contextmanager
def scripted(*answers, then=None):
    """A server that answers the first line of each connection with the next of these, and hangs up;
    what comes after them is passed on to the server `then`. Gives its address."""
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(4096):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def serve(listener):
        with contextlib.suppress(OSError):
            for answer in answers:
                with listener.accept()[0] as connection:
                    connection.makefile("rb").readline()
                    connection.sendall(answer)
            while then:
                host, port = then.rsplit(":", 1)
                client, server = listener.accept()[0], socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(client, server), daemon=True).start()
                threading.Thread(target=pump, args=(server, client), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def children():
    """Processes that serve: their command lines have the flag."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = open(f"/proc/{entry.name}/cmdline", "rb").read().split(b"\0")
                if words[:3] == [b"baton", b"kv-perf", b"--serve"]:
                    found.append(entry.name)
    return found


def test_two_processes_of_this_host(tmp_path):
    before = set(children())
    result = kv_perf("--shape", "8x4096", "--shape", "1x8", "--repetitions", 3,
                     "--json", tmp_path / "r.json", "--plot", tmp_path / "r.svg")
    got = json.loads((tmp_path / "r.json").read_text())
    assert got["kind"] == "kv-perf" and got["server"] is None and got["not_measured"] == []
    rows = got["results"]
    assert [(r["blocks"], r["block_bytes"], r["transport"]) for r in rows] == [
        (blocks, size, transport) for blocks, size in ((8, 4096), (1, 8))
        for transport in ("shm", "tcp", "ucx")]
    for row in rows:
        assert len(row["seconds"]) == 3 and row["bytes"] == row["blocks"] * row["block_bytes"]
        assert row["best_seconds"] == min(row["seconds"]) > 0
        assert row["median_seconds"] == sorted(row["seconds"])[1]
        assert row["best_gb_per_s"] == pytest.approx(row["bytes"] / row["best_seconds"] / 1e9)
        assert row["median_gb_per_s"] <= row["best_gb_per_s"]
        assert row["first_seconds"] > 0
    assert "8 x 4 KiB" in result.stdout and result.stdout.count("\n") == 7
    assert result.stderr == ""
    svg = ElementTree.parse(tmp_path / "r.svg")
    bars = [e for e in svg.iter() if e.get("class") == "bar"]
    assert len(bars) == 6
    wait_until(lambda: set(children()) <= before, what="the producer's process has ended")


def test_a_server_and_clients(tmp_path):
    with served() as (address, child):
        for _ in range(2):
            kv_perf(address, *QUICK, "--json", tmp_path / "r.json")
            got = json.loads((tmp_path / "r.json").read_text())
            assert got["server"] == address and len(got["results"]) == 3
        # Clients at once wait for one another.
        both = [subprocess.Popen([BATON, "kv-perf", address, *map(str, QUICK)],
                                 stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for client in both:
            assert client.communicate(timeout=60)[0].count("8 x 4 KiB") == 3
            assert client.returncode == 0
        assert child.poll() is None


def test_a_server_outlives_its_clients(tmp_path):
    with served() as (address, child):
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as rude:
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert rude.makefile("rb").readline().startswith(b"error upstream ")
        with socket.create_connection((host, int(port))) as endless:
            with contextlib.suppress(OSError):
                endless.sendall(b"x" * 100_000)
                while endless.recv(4096):
                    pass
        client = subprocess.Popen([BATON, "kv-perf", address, "--shape", "64x65536",
                                   "--repetitions", "10000", "--transport", "tcp"],
                                  stdout=subprocess.DEVNULL)
        kv_seen = f"/proc/{child.pid}/task"
        idle = len(os.listdir(kv_seen))
        wait_until(lambda: len(os.listdir(kv_seen)) > idle, what="the server has a node")
        client.kill()
        client.wait()
        kv_perf(address, *QUICK, "--transport", "tcp")


def test_another_address_of_this_host():
    """The data come from the address by which the client came."""
    with served("0.0.0.0:0") as (address, _):
        port = address.rsplit(":", 1)[1]
        kv_perf(f"127.0.0.2:{port}", *QUICK, "--transport", "tcp")


def test_a_models_handoff(tmp_path):
    kv_perf("--tokens", 64, "--transport", "shm", "--repetitions", 1, "--json", tmp_path / "r.json")
    (row,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert (row["blocks"], row["block_bytes"]) == (256, 32768)  # of Llama-3.1-8B
    kv_perf("--tokens", 10, "--bytes-per-token", 1000, "--run-bytes", 4096, "--transport", "shm",
            "--repetitions", 1, "--json", tmp_path / "r.json")
    (row,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert (row["blocks"], row["block_bytes"]) == (3, 4096)


def test_json_to_standard_output():
    result = kv_perf(*QUICK, "--transport", "shm", "--json", "-")
    assert len(json.loads(result.stdout)["results"]) == 1


def test_progress_on_a_terminal_alone():
    reader, writer = pty.openpty()
    with subprocess.Popen([BATON, "kv-perf", *map(str, QUICK), "--transport", "shm"],
                          stdout=subprocess.DEVNULL, stderr=writer,
                          env={**os.environ, "TERM": "xterm"}) as child:
        os.close(writer)
        seen = b""
        with contextlib.suppress(OSError):  # the terminal ends with the process
            while piece := os.read(reader, 4096):
                seen += piece
        assert child.wait(60) == 0
    os.close(reader)
    assert b"\r1 of 1: 8 x 4 KiB by shm, fetch 1 of 4\x1b[K" in seen
    assert seen.endswith(b"\r\x1b[K")


@pytest.mark.parametrize(("arguments", "words"), [
    (("--shape", "0x8"), "--shape 0x8: must be BLOCKSxBYTES"),
    (("--shape", "8"), "--shape 8: must be BLOCKSxBYTES"),
    (("--shape", "8x8k"), "--shape 8x8k: must be BLOCKSxBYTES"),
    (("--shape", "65537x8"), "1 to 65536 blocks"),
    (("--shape", "65536x2147483648"), "is the most on this host"),
    (("--tokens", 10_000_000), "give a larger --run-bytes"),
    (("nowhere",), "nowhere: must be HOST:PORT"),
    ((":7700",), "must be HOST:PORT"),
    (("--serve", "--listen", "nowhere"), "--listen nowhere: must be HOST:PORT"),
    (("--serve", "--listen", "127.0.0.1:x"), "--listen 127.0.0.1:x: must be HOST:PORT"),
])
def test_bad_input(arguments, words):
    assert words in one_line(kv_perf(*arguments, code=2))


@pytest.mark.parametrize("arguments", [
    ("--transport", "pigeon"), ("--repetitions", 0), ("--repetitions", "x"), ("--run-bytes", 4096),
    ("--serve", "127.0.0.1:1"), ("--serve", "--shape", "1x8"), ("--nonsense",)])
def test_flags_that_cannot_be(arguments):
    assert kv_perf(*arguments, code=2).stderr


def test_nobody_is_there():
    words = one_line(kv_perf("127.0.0.1:1", *QUICK, code=1))
    assert "127.0.0.1:1 is not reached" in words and "baton kv-perf --serve" in words


def test_a_port_in_use():
    with served() as (address, _):
        assert "cannot be bound" in one_line(kv_perf("--serve", "--listen", address, code=1))


def test_what_cannot_be_written_is_a_failure(tmp_path):
    result = kv_perf(*QUICK, "--transport", "shm", "--plot", tmp_path / "no" / "r.svg", code=1)
    assert "cannot be written" in one_line(result)


def test_the_other_side_is_something_else():
    with scripted(b"HTTP/1.1 400 Bad Request\r\n") as address:
        result = kv_perf(address, *QUICK, "--transport", "tcp", code=1)
    assert "is a `baton kv-perf` of this version at the other end?" in one_line(result)


def test_the_other_side_hangs_up():
    with scripted(b"") as address:
        result = kv_perf(address, *QUICK, "--transport", "tcp", code=1)
    assert f"{address} gave no answer" in one_line(result)


REFUSAL = b"error unsupported there is no such memory here\n"


def test_a_transport_that_was_asked_for_and_cannot_be_used():
    with scripted(REFUSAL) as address:
        result = kv_perf(address, *QUICK, "--transport", "shm", code=1)
    assert "8 x 4 KiB by shm: the other side: there is no such memory here" in one_line(result)


def test_a_transport_that_nobody_asked_for_may_be_missing(tmp_path):
    with served() as (server, _), scripted(REFUSAL, then=server) as address:
        result = kv_perf(address, *QUICK, "--json", tmp_path / "r.json")
    got = json.loads((tmp_path / "r.json").read_text())
    assert [row["transport"] for row in got["results"]] == ["tcp", "ucx"]
    assert got["not_measured"] == [{
        "transport": "shm", "blocks": 8, "block_bytes": 4096, "code": "unsupported",
        "reason": "the other side: there is no such memory here"}]
    assert "8 x 4 KiB, shm: unsupported: " in result.stdout


def test_no_transport_is_left():
    with scripted(REFUSAL, REFUSAL, REFUSAL) as address:
        assert "no transport can be used" in one_line(kv_perf(address, *QUICK, code=1))


def test_ctrl_c_ends_a_server():
    child = subprocess.Popen([BATON, "kv-perf", "--serve"], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().startswith("baton kv-perf ready: 127.0.0.1:")
    child.send_signal(signal.SIGINT)
    assert child.wait(LIMIT) == 0
    child.stdout.close()


def test_help():
    result = run_baton("kv-perf", "--help")
    assert result.returncode == 0
    for flag in ("--shape", "--tokens", "--transport", "--repetitions", "--json", "--plot",
                 "--serve", "--listen"):
        assert flag in result.stdout
    assert "kv-perf" in run_baton("--help").stdout
