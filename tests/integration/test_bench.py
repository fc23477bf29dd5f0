"""`baton bench` as people use it: against a router, servers that misbehave, bad input, Ctrl-C."""

import contextlib
import csv
import http.server
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest
from harness import BATON, LIMIT, ROOT, free_port, run_baton, wait_until

READER = pathlib.Path(__file__).with_name("read_vllm_result.py")


@contextlib.contextmanager
def reference_server(*options):
    """A server of known timing in a process of its own; yields its URL."""
    port = free_port()
    child = subprocess.Popen([BATON, "bench", "--reference-server", "--port", str(port),
                              *map(str, options)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline().split() == ["ready", str(port)]
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(LIMIT)
        child.stdout.close()


def bench(*arguments, timeout=60):
    return run_baton("bench", "--quiet", *arguments, timeout=timeout)


SHORT = ("--requests", 12, "--concurrency", 4, "--input-tokens", 32, "--output-tokens", 6)


def measured(tmp_path, *arguments, code=0):
    file = tmp_path / "result.json"
    result = bench(*arguments, "--json", file)
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(file.read_text()), result


def one_line(result, code):
    """A failure is told in one line, with that exit status."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("baton bench: "), result.stderr
    return lines[0]


def test_a_run_against_a_server_of_known_timing(tmp_path):
    with reference_server("--ttft-ms", 30, "--itl-ms", 5) as url:
        got, result = measured(tmp_path, url, "--rate", 40, "--requests", 60, "--input-tokens", 100,
                               "--output-tokens", 8, "--goodput", "ttft:5000,e2el:20000",
                               "--csv", tmp_path / "all.csv", "--html", tmp_path / "page.html")
    assert got["completed"] == 60 and got["failed"] == 0
    assert got["total_output_tokens"] == 60 * 8
    # The chat's own tokens are taken off, so that the server counts what was asked for.
    assert got["total_input_tokens"] == 60 * 100
    assert got["baton"]["prompt_source"] == "server /tokenize"
    assert got["baton"]["prompt_error"]["max_tokens_off"] == 0
    # Never less than what the server waits; how much more is a figure in perf/.
    assert got["median_ttft_ms"] >= 30 and got["median_tpot_ms"] >= 4.9
    assert got["baton"]["goodput"]["offered"] == 60
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert len(rows) == 60 and {row["outcome"] for row in rows} == {"completed"}
    page = (tmp_path / "page.html").read_text()
    assert "reference" in page and "<script src" not in page
    assert "TTFT" in result.stdout and "goodput" in result.stdout


def test_what_reads_vllms_files_reads_ours(tmp_path):
    with reference_server("--itl-ms", 1) as url:
        measured(tmp_path, url, *SHORT, "--save-detailed", "--percentiles", "50,99,99.9",
                 "--goodput", "ttft:500", "--label", "mine", "--metadata", "gpu=none")
    result = subprocess.run([sys.executable, READER, tmp_path / "result.json"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    got = json.loads((tmp_path / "result.json").read_text())
    assert got["label"] == "mine" and got["gpu"] == "none" and "p99.9_ttft_ms" in got


def test_ttft_is_split_by_stage_for_a_router(system, tmp_path):
    got, result = measured(tmp_path, system.url, "--rate", 10, "--requests", 20,
                           "--input-tokens", 200, "--output-tokens", 12,
                           "--vocabulary", system.model.gguf)
    split = got["baton"]["split"]
    assert split["requests"] == 20 and split["decode_only"] == 0
    assert set(split["prefill_pods"]) <= {"prefill-0", "prefill-1"}
    assert split["kv_bytes"]["total"] > 20 * 100_000 and sum(split["transports"].values()) == 20
    assert split["stages_ms"]["prefill"]["mean"] > 0
    assert sum(s["mean"] for s in split["stages_ms"].values()) == pytest.approx(
        got["mean_ttft_ms"], rel=0.01)
    assert got["total_input_tokens"] == 20 * 200
    assert "exposed transfer" in result.stdout


def test_completions_token_ids_and_answers_in_one_piece(system, tmp_path):
    got, _ = measured(tmp_path, system.url, *SHORT, "--api", "completions", "--token-ids", 90,
                      "--no-stream", "--ignore-eos")
    assert got["completed"] == 12 and got["total_output_tokens"] == 12 * 6
    assert got["total_input_tokens"] == 12 * 32
    assert got["baton"]["prompt_source"] == "token ids"


def test_sessions_carry_the_answers(system, tmp_path):
    got, _ = measured(tmp_path, system.url, "--workload", "sessions", "--sessions", 3, "--turns", 3,
                      "--first-tokens", 150, "--turn-tokens", 40, "--output-tokens", 10,
                      "--concurrency", 3, "--vocabulary", system.model.gguf)
    assert got["completed"] == 9
    assert got["baton"]["split"]["cached_tokens"]["total"] > 0


def test_a_lora_mix_priorities_and_cancellations(system, tmp_path):
    got, _ = measured(tmp_path, system.url, "--requests", 40, "--concurrency", 8,
                      "--input-tokens", 60, "--output-tokens", 30, "--ignore-eos",
                      "--model-mix", f"{system.model_name}=1,shout=1",
                      "--priority-mix", "0=0.5,5=0.5", "--cancel-share", 0.3,
                      "--vocabulary", system.model.gguf)
    assert {row["model"] for row in got["baton"]["by_model"]} == {system.model_name, "shout"}
    outcomes = got["baton"]["outcomes"]
    assert outcomes["left"] > 0 and outcomes["completed"] + outcomes["left"] == 40
    assert got["failed"] == 0  # leaving on purpose is no failure


@pytest.mark.skipif("BATON_TEST_DATA" not in __import__("os").environ,
                    reason="BATON_TEST_DATA is not set: the traces are not here")
@pytest.mark.parametrize("kind, name", [("mooncake", "mooncake_conversation.jsonl"),
                                        ("azure", "azure_2023_code.csv")])
def test_traces_play_at_their_own_times(tmp_path, kind, name):
    import os
    path = pathlib.Path(os.environ["BATON_TEST_DATA"]) / "traces" / name
    with reference_server() as url:
        got, _ = measured(tmp_path, url, "--workload", kind, "--file", path, "--requests", 40,
                          "--time-scale", 30, "--max-input-tokens", 2000,
                          "--max-output-tokens", 20)
    assert got["completed"] == 40 and name in got["baton"]["workload"]


def test_a_closed_loop_of_a_duration(tmp_path):
    with reference_server("--ttft-ms", 5) as url:
        got, _ = measured(tmp_path, url, "--concurrency", 4, "--duration", 1, "--warmup", 0.3,
                          "--input-tokens", 32, "--output-tokens", 2)
    assert got["completed"] > 10 and got["max_concurrency"] == 4


def test_repeats_give_intervals(tmp_path):
    with reference_server("--ttft-ms", 10) as url:
        got, result = measured(tmp_path, url, *SHORT, "--repeats", 3, "--csv", tmp_path / "all.csv")
    runs = [row["run"] for row in csv.DictReader((tmp_path / "all.csv").open())]
    assert sorted(set(runs)) == ["run 1 of 3", "run 2 of 3", "run 3 of 3"] and len(runs) == 36
    interval = got["baton"]["intervals"]["median_ttft_ms"]
    assert interval["low"] <= interval["mean"] <= interval["high"] and interval["repeats"] == 3
    assert len(got["baton"]["repeats"]) == 3


def test_a_sweep_finds_where_the_slo_breaks(tmp_path):
    # One request at a time takes 50 ms: beyond 20 a second they queue.
    with reference_server("--ttft-ms", 50) as url:
        got, result = measured(tmp_path, url, "--sweep", "--sweep-from", 5, "--duration", 1.5,
                               "--max-concurrency", 1, "--goodput", "ttft:150",
                               "--input-tokens", 16, "--output-tokens", 1, "--burstiness", "inf",
                               "--sweep-points", 8, "--sweep-tolerance", 0.2)
    assert got["kind"] == "sweep"
    assert 5 <= got["best"]["request_rate"] <= 25
    assert len(got["points"]) >= 3
    assert "goodput" in result.stdout


def test_a_comparison_gives_ratios(tmp_path):
    with reference_server("--ttft-ms", 20) as quick, reference_server("--ttft-ms", 60) as slow:
        got, result = measured(tmp_path, "--compare", f"quick={quick}", f"slow={slow}",
                               *SHORT, "--repeats", 3)
    assert [side["name"] for side in got["sides"]] == ["quick", "slow"]
    ratio = next(r for r in got["ratios"] if r["metric"] == "median_ttft_ms")
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"] and ratio["ratio"] > 1
    assert "slow" in result.stdout


# Servers that misbehave

@pytest.mark.parametrize("fault, outcome, words", [
    ("html", "not_openai", "HTML"),
    ("empty", "no_tokens|cut_stream|not_openai", ""),
    ("no-done", "cut_stream", r"\[DONE\]"),
    ("error-event", "stream_error", ""),
    ("cut", "cut_stream|unreachable", ""),
    ("reset", "unreachable", "reset|closed"),
    ("status", "rejected", "429"),
])
def test_half_of_the_answers_are_broken(tmp_path, fault, outcome, words):
    with reference_server("--fault", fault, "--fault-every", 2) as url:
        # Probes before the run are answered, or not, by turns: a few tries find a good start.
        for _ in range(3):
            file = tmp_path / "result.json"
            result = bench(url, *SHORT, "--prompts", "server", "--goodput", "ttft:5000",
                           "--json", file)
            if file.exists():
                break
    assert result.returncode == 0, result.stderr
    got = json.loads(file.read_text())
    if fault != "reset":  # a reset of a kept connection is tried once more on a new one
        assert got["completed"] == 6
    assert got["completed"] > 0 and got["failed"] == 12 - got["completed"]
    failure, = got["baton"]["failures"]
    assert re.fullmatch(outcome, failure["outcome"]) and failure["count"] == got["failed"]
    assert re.search(words, failure["reason"])
    assert got["baton"]["goodput"]["offered"] == 12
    assert got["baton"]["goodput"]["good"] == got["completed"]
    assert failure["reason"] in result.stdout


def test_usage_said_twice_is_counted_once_and_told(tmp_path):
    with reference_server("--fault", "usage-twice") as url:
        got, _ = measured(tmp_path, url, *SHORT)
    assert got["completed"] == 12 and got["total_output_tokens"] == 12 * 6
    assert got["baton"]["usage"]["repeated"] == 12


def test_a_server_that_is_not_there():
    line = one_line(bench(f"http://127.0.0.1:{free_port()}", *SHORT), 1)
    assert "refused" in line


class Page(http.server.BaseHTTPRequestHandler):
    asked = []  # headers of each POST

    def do_GET(self):
        body = b"<html><body>It works!</body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        Page.asked.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *_):
        pass


def test_a_server_that_speaks_html():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert "no JSON" in one_line(bench(url, *SHORT), 1)
        Page.asked.clear()
        result = bench(url, *SHORT, "--model", "m", "--goodput", "ttft:250,tpot:40.5",
                       "--slo-headers", "--header", "x-tenant: blue")
        assert "HTML" in one_line(result, 1)
        headers = Page.asked[-1]
        assert headers["x-slo-ttft-ms"] == "250" and headers["x-slo-tpot-ms"] == "40.5"
        assert headers["x-tenant"] == "blue"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("fault", ["html", "empty", "no-done", "cut", "status"])
def test_when_nothing_is_answered_it_says_why(tmp_path, fault):
    with reference_server("--fault", fault) as url:
        line = one_line(bench(url, *SHORT, "--prompts", "server", timeout=90), 1)
    assert "failed" in line or "not one of" in line


# Bad input

def test_a_broken_line_of_a_trace_is_named(tmp_path):
    trace = tmp_path / "trace.jsonl"
    good = '{"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]}\n'
    trace.write_text(good * 7311 + '{"timestamp": 0, "input_length": "many"}\n' + good)
    with reference_server() as url:
        line = one_line(bench(url, "--workload", "mooncake", "--file", trace), 2)
    assert "trace.jsonl:7312" in line


@pytest.mark.parametrize("arguments, words", [
    (["--rate", "0"], "--rate"),
    (["--rate", "5", "--concurrency", "2"], "three ways"),
    ([], "--rate R"),
    (["--rate", "1", "--goodput", "speed:3"], "speed"),
    (["--sweep"], "--goodput"),
    (["--rate", "1", "--workload", "tetris"], "mooncake"),
    (["--rate", "1", "--workload", "mooncake"], "file"),
    (["--rate", "1", "--workload", "custom", "--file", "/nowhere/x.jsonl"], "/nowhere/x.jsonl"),
    (["--rate", "1", "--extra-body", "[1]"], "--extra-body"),
    (["--rate", "1", "--vocabulary", "/nowhere/x.gguf"], "/nowhere/x.gguf"),
    (["--ramp", "1-5"], "FROM:TO"),
    (["--rate", "inf", "--duration", "3"], "--requests"),
    (["--concurrency", "2", "--max-concurrency", "4"], "open loop"),
    (["--concurrency", "2", "--warmup", "4"], "--duration"),
    (["--concurrency", "100000"], "ulimit"),
    (["--sweep", "--goodput", "ttft:5"], "--duration"),
    (["--sweep", "--goodput", "ttft:5", "--duration", "1", "--require-good", "1"], "--require-good"),
    (["--rate", "1", "--json", "-", "--csv", "-"], "stdout"),
    (["--rate", "5", "--duration", "1", "--warmup", "0", "--token-ids", "50"], "completions"),
])
def test_bad_options_are_told_in_a_line(arguments, words):
    with reference_server() as url:
        line = one_line(bench(url, *arguments), 2)
    assert words in line


def test_a_target_must_be_a_url():
    assert "http://HOST:PORT" in one_line(bench("localhost:8000", "--rate", "1"), 2)
    assert "URL" in one_line(bench("--rate", "1"), 2)


def test_a_share_of_good_requests_can_be_required(tmp_path):
    with reference_server("--ttft-ms", 50) as url:
        arguments = [url, *SHORT, "--goodput", "ttft:20", "--require-good", 0.5]
        result = bench(*arguments)
    assert result.returncode == 3 and "good" in result.stderr


def test_ctrl_c_writes_what_was_measured(tmp_path):
    file = tmp_path / "partial.json"
    with reference_server("--ttft-ms", 5) as url:
        child = subprocess.Popen([BATON, "bench", url, "--rate", "50", "--requests", "100000",
                                  "--input-tokens", "16", "--output-tokens", "2", "--json", file],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        shown = []
        reader = threading.Thread(target=lambda: shown.extend(child.stderr), daemon=True)
        reader.start()
        wait_until(lambda: any("completed" in line for line in shown), 30)  # the first plain line
        child.send_signal(signal.SIGINT)
        output = child.stdout.read()
        assert child.wait(LIMIT) == 1
        reader.join(LIMIT)
    got = json.loads(file.read_text())
    assert got["baton"]["partial"] and got["completed"] > 0
    assert "partial" in output.lower() or "partial" in "".join(shown)


def test_keys_are_not_written_down(tmp_path):
    with reference_server() as url:
        got, result = measured(tmp_path, "--header", "Authorization: Bearer s3cr3t", url, *SHORT,
                               "--header=x-key: s3cr3t", "--html", tmp_path / "page.html")
    everything = json.dumps(got) + result.stdout + result.stderr + (tmp_path / "page.html").read_text()
    assert "s3cr3t" not in everything
