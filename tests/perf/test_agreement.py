"""perf/agreement with tools that are played: the same figures under each tool's own names."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = ROOT / "perf" / "agreement" / "run"

FIGURES = {"ttft_ms": 200.0, "tpot_ms": 20.0, "itl_ms": 20.0, "e2el_ms": 1200.0,
           "request_throughput": 10.0, "output_throughput": 500.0, "request_goodput": 7.0,
           "completed": 20, "total_output_tokens": 1000, "duration": 2.0}
AIPERF = {"ttft_ms": "time_to_first_token", "tpot_ms": "inter_token_latency",
          "itl_ms": "inter_chunk_latency", "e2el_ms": "request_latency",
          "request_throughput": "request_throughput",
          "output_throughput": "output_token_throughput", "request_goodput": "goodput",
          "completed": "request_count", "total_output_tokens": "total_osl",
          "duration": "benchmark_duration"}


def vllm_result(figures):
    result = {}
    for name, value in figures.items():
        if name.endswith("_ms"):
            result.update({f"{s}_{name}": value for s in ("mean", "median", "p99")})
        else:
            result[name] = value
    return result


def aiperf_result(figures):
    return {AIPERF[name]: {"avg": value, "p50": value, "p99": value}
            for name, value in figures.items()}


class Setting:
    """Fake tools that keep their arguments and write the figures that they are given."""

    def __init__(self, folder):
        self.folder = folder
        for venv in ("vllm", "aiperf"):
            (folder / venv / "bin").mkdir(parents=True)
            # What makes the tokenizer, and asks for versions.
            self.program(f"{venv}/bin/python", "import pathlib, sys\n"
                         "if 'Tokenizer' in sys.argv[2]:\n"
                         "    pathlib.Path(sys.argv[3], 'tokenizer.json').write_text('{}')\n"
                         "else:\n    print('1.2.3')\n")
        self.tools = {"Baton": dict(FIGURES), "vLLM": dict(FIGURES), "AIPerf": dict(FIGURES)}
        self.broken = self.late = None

    def program(self, name, text):
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)

    def tool(self, program, name, place, result):
        if name == self.broken:
            self.program(program, "import sys\nsys.exit('no such option')\n")
            return
        if name == self.late:
            result["p99_itl_ms"] *= 1.5
        self.program(program, f"""import json, pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(print("baton 0.1.0 (commit abc)"))
pathlib.Path({str(self.folder / name)!r}).write_text(json.dumps(arguments))
pathlib.Path({place}).write_text({json.dumps(result)!r})
""")

    def run(self, *arguments):
        option = "arguments[arguments.index('{}') + 1]"
        self.tool("baton", "Baton", option.format("--json"), vllm_result(self.tools["Baton"]))
        self.tool("vllm/bin/vllm", "vLLM", option.format("--result-dir") + " + '/result.json'",
                  vllm_result(self.tools["vLLM"]))
        self.tool("aiperf/bin/aiperf", "AIPerf", option.format("--artifact-dir")
                  + " + '/profile_export_aiperf.json'", aiperf_result(self.tools["AIPerf"]))
        return subprocess.run(
            [sys.executable, COMMAND, "--url", "http://127.0.0.1:9", "--quick",
             "--vllm", self.folder / "vllm", "--aiperf", self.folder / "aiperf",
             "--baton", self.folder / "baton", "--json", self.folder / "result.json",
             "--table", self.folder / "table.md", *arguments],
            capture_output=True, text=True, timeout=60, check=False)

    def arguments(self, name):
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


def test_tools_that_agree_exit_with_0(setting):
    done = setting.run()
    assert done.returncode == 0, done.stderr
    table = (setting.folder / "table.md").read_text()
    assert table in done.stdout
    assert "| `mean_ttft_ms` | `time_to_first_token avg` | ms | 200 | 200 | 200 | 0.00 % |" in table
    assert "| `median_tpot_ms` | `inter_token_latency p50` |" in table
    assert "| `request_goodput` | `goodput` |" in table
    figures = json.loads((setting.folder / "result.json").read_text())["figures"]
    assert figures[0]["peers"] == {"Baton": 200.0, "vLLM": 200.0, "AIPerf": 200.0}
    assert all(f["met"] is not False for f in figures)


def test_all_get_the_same_trace_and_bounds(setting):
    assert setting.run().returncode == 0
    traces = set()
    for name in ("Baton", "vLLM", "AIPerf"):
        traces |= {part for part in setting.arguments(name) if part.endswith("trace.jsonl")}
    assert len(traces) == 1
    assert "ttft:300 tpot:30 e2el:1800" in " ".join(setting.arguments("vLLM"))
    assert "time_to_first_token:300 inter_token_latency:30 request_latency:1800" \
        in setting.arguments("AIPerf")


@pytest.mark.parametrize("tool", ["Baton", "vLLM", "AIPerf"])
def test_a_tool_that_is_5_percent_off_exits_with_3(setting, tool):
    setting.tools[tool]["e2el_ms"] *= 1.05
    done = setting.run()
    assert done.returncode == 3
    differing = [line for line in done.stdout.splitlines() if "**differs**" in line]
    assert len(differing) == 3
    assert all("e2el_ms" in line and "5.00 %" in line for line in differing)


def test_late_reading_is_explained_and_not_judged(setting):
    setting.late = "vLLM"
    done = setting.run()
    assert done.returncode == 0
    assert "**differs**" not in done.stdout
    row = next(line for line in done.stdout.splitlines() if "`p99_itl_ms`" in line)
    assert "how late each client reads" in row


def test_requests_that_did_not_complete_end_the_comparison(setting):
    setting.tools["vLLM"]["completed"] = 19
    done = setting.run()
    assert done.returncode == 1
    assert "vLLM: 19 of 20 requests completed" in done.stderr


def test_a_tool_that_fails_is_shown(setting):
    setting.broken = "AIPerf"
    done = setting.run()
    assert done.returncode == 1
    assert "no such option" in done.stderr


def test_a_tool_that_is_not_there_is_named(setting):
    done = setting.run("--vllm", setting.folder / "nothing")
    assert done.returncode == 1
    assert "perf/peers vllm aiperf" in done.stderr
    assert setting.run("--vllm", setting.folder / "nothing", "--only", "Baton",
                       "AIPerf").returncode == 0


def test_a_trace_is_a_function_of_its_seed(tmp_path):
    sys.path.insert(0, str(COMMAND.parent))
    import workload  # pylint: disable=import-outside-toplevel
    first = workload.write_trace(tmp_path / "a", 300, 10, 7)
    assert first == workload.write_trace(tmp_path / "b", 300, 10, 7)
    assert first != workload.write_trace(tmp_path / "c", 300, 10, 8)
    assert first == [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    times = [entry["timestamp"] for entry in first]
    assert times == sorted(times)
    assert 24_000 < times[-1] < 36_000
    assert all(64 <= entry["input_length"] < 512 for entry in first)
