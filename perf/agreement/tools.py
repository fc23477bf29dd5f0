"""Runs each tool on one endpoint and one trace, and gives its figures under common names.

Names are those of vLLM's result file; the values of a figure are its mean, median and 99th
percentile, or one number.
"""
import json
import os
import pathlib
import subprocess

import workload

STATISTICS = ("mean", "median", "p99")
LATENCIES = {"ttft_ms": "time_to_first_token", "tpot_ms": "inter_token_latency",
             "itl_ms": "inter_chunk_latency", "e2el_ms": "request_latency"}
SINGLE = {"request_throughput": "request_throughput", "output_throughput": "output_token_throughput",
          "request_goodput": "goodput", "completed": "request_count",
          "total_output_tokens": "total_osl", "duration": "benchmark_duration"}
LIMIT_S = 900


class Task:
    """What the tools are to measure."""

    def __init__(self, url, model, trace, slo, folder, words):
        self.url, self.model = url, model
        self.trace, self.slo = pathlib.Path(trace), slo
        self.folder, self.words = pathlib.Path(folder), pathlib.Path(words)
        self.requests = sum(1 for _ in self.trace.open())


def execute(argv, folder, env=None):
    """Runs a tool; its output is kept, and shown where it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("w") as out:
        status = subprocess.run([str(a) for a in argv], stdout=out, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, cwd=folder, timeout=LIMIT_S, check=False,
                                env={**os.environ, **(env or {})}).returncode
    if status != 0:
        raise SystemExit(f"{argv[0]} exited with {status}:\n{log.read_text()[-2000:]}")


def of_vllm_keys(result):
    """The figures of a file with vLLM's keys; Baton writes the same ones."""
    figures = {key: result[key] for key in SINGLE}
    for name in LATENCIES:
        figures[name] = {s: result[f"{s}_{name}"] for s in STATISTICS}
    return figures


def of_aiperf(result):
    figures = {key: result[theirs]["avg"] for key, theirs in SINGLE.items()}
    for name, theirs in LATENCIES.items():
        figures[name] = {"mean": result[theirs]["avg"], "median": result[theirs]["p50"],
                         "p99": result[theirs]["p99"]}
    return figures


def run_baton(program, task, folder):
    result = folder / "result.json"
    execute([program, "bench", task.url, "--model", task.model, "--api", "completions",
             "--workload", "mooncake", "--file", task.trace, "--ignore-eos",
             "--goodput", ",".join(f"{key}:{ms:g}" for key, ms in task.slo.items()),
             "--quiet", "--json", result], folder)
    return of_vllm_keys(json.loads(result.read_text()))


def run_vllm(venv, task, folder):
    execute([f"{venv}/bin/vllm", "bench", "serve", "--backend", "openai", "--base-url", task.url,
             "--endpoint", "/v1/completions", "--model", task.model, "--tokenizer", task.words,
             "--dataset-name", "timed_trace", "--dataset-path", task.trace,
             "--timed-trace-chunk-hash-size", "512", "--timed-trace-sec-multiplier", "0.001",
             "--num-prompts", task.requests, "--disable-shuffle", "--ignore-eos",
             "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99",
             "--goodput", *(f"{key}:{ms:g}" for key, ms in task.slo.items()),
             "--disable-tqdm", "--save-result", "--result-dir", folder,
             "--result-filename", "result.json"], folder,
            {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    return of_vllm_keys(json.loads((folder / "result.json").read_text()))


def run_aiperf(venv, task, folder):
    names = {"ttft": "time_to_first_token", "tpot": "inter_token_latency",
             "e2el": "request_latency"}
    execute([f"{venv}/bin/aiperf", "profile", "--model", task.model, "--url", task.url,
             "--endpoint-type", "completions", "--streaming", "--tokenizer", workload.NAME,
             "--input-file", task.trace, "--custom-dataset-type", "mooncake_trace",
             "--fixed-schedule", "--fixed-schedule-auto-offset", "--use-server-token-count",
             "--use-legacy-max-tokens", "--extra-inputs", "ignore_eos:true",
             "--goodput", " ".join(f"{names[key]}:{ms:g}" for key, ms in task.slo.items()),
             "--random-seed", "7", "--ui", "none", "--no-server-metrics", "--no-gpu-telemetry",
             "--artifact-dir", folder], folder,
            {"HF_HUB_OFFLINE": "1", "HF_HOME": str(task.folder / "huggingface")})
    return of_aiperf(json.loads((folder / "profile_export_aiperf.json").read_text()))


def version(python, package):
    run = subprocess.run([python, "-c", "import importlib.metadata as m, sys; "
                          "print(m.version(sys.argv[1]))", package],
                         capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"
