"""Opens a result file as scripts for `vllm bench serve` do: read_vllm_result.py FILE

Reads every key that vLLM 0.32.0 writes of a generation run (vllm/benchmarks/serve.py: benchmark()
and main_async()), checks its type and what vLLM makes true of it. Exit code 0, or 1 with what is
wrong, a line each. Left out: keys of speech (rtfx), speculative decoding and diffusion, and
latencies and queue_times, which older releases do not write.
"""

import json
import math
import sys

TEXT, COUNT, NUMBER = (str,), (int,), (int, float)
NULL = type(None)

HEAD = {
    "date": TEXT,
    "endpoint_type": TEXT,
    "backend": TEXT,
    "label": (str, NULL),
    "model_id": TEXT,
    "tokenizer_id": (str, NULL),
    "num_prompts": COUNT,
    "request_rate": (int, float, str),  # "inf"
    # vLLM: 1.0 where no gaps are drawn, and Infinity, which is no JSON; Baton: null and "inf".
    "burstiness": (int, float, str, NULL),
    "max_concurrency": (int, NULL),
}
RATES = {
    "duration": NUMBER,
    "completed": COUNT,
    "failed": COUNT,
    "total_input_tokens": COUNT,
    "total_output_tokens": COUNT,
    "request_throughput": NUMBER,
    "request_goodput": (int, float, NULL),  # null without --goodput
    "output_throughput": NUMBER,
    "total_token_throughput": NUMBER,
    "max_output_tokens_per_s": NUMBER,
    "max_concurrent_requests": COUNT,
}
LATENCIES = {
    f"{figure}_{metric}_ms": NUMBER
    for metric in ("ttft", "tpot", "itl", "e2el")
    for figure in ("mean", "median", "std", "p99")
}
# With --save-detailed: one element a request, in seconds.
DETAILED = {
    "input_lens": COUNT,
    "output_lens": COUNT,
    "ttfts": NUMBER,
    "itls": (list,),
    "start_times": NUMBER,
    "generated_texts": TEXT,
    "errors": TEXT,
}


def is_of(value, types):
    return isinstance(value, types) and not (isinstance(value, bool) and bool not in types)


def wrong_types(result):
    for key, types in {**HEAD, **RATES, **LATENCIES}.items():
        names = " or ".join("null" if t is NULL else t.__name__ for t in types)
        if key not in result:
            yield f"{key} is missing"
        elif not is_of(result[key], types):
            yield f"{key} is {result[key]!r}, not {names}"
        elif isinstance(result[key], float) and not math.isfinite(result[key]):
            yield f"{key} is {result[key]!r}"


def wrong_figures(result):
    if isinstance(result["request_rate"], str) and result["request_rate"] != "inf":
        yield f"request_rate is {result['request_rate']!r}, not a number or 'inf'"
    if result["completed"] + result["failed"] > result["num_prompts"]:
        yield "completed and failed are more than num_prompts"
    if result["duration"] > 0:
        throughput = result["completed"] / result["duration"]
        if not math.isclose(throughput, result["request_throughput"], rel_tol=1e-9):
            yield f"request_throughput is {result['request_throughput']}, not {throughput}"
    if result["mean_ttft_ms"] > result["mean_e2el_ms"] + 1e-9:
        yield "mean_ttft_ms is above mean_e2el_ms"
    for metric in ("ttft", "tpot", "itl", "e2el"):
        if result[f"p99_{metric}_ms"] < result[f"median_{metric}_ms"]:
            yield f"p99_{metric}_ms is below the median"


def wrong_details(result):
    found = [key for key in DETAILED if key in result]
    if not found:
        return
    for key, types in DETAILED.items():
        values = result.get(key)
        if not isinstance(values, list):
            yield f"{key} is no list, though {found[0]} is there"
        elif len(values) != result["num_prompts"]:
            yield f"{key} has {len(values)} elements for {result['num_prompts']} requests"
        elif not all(is_of(value, types) for value in values):
            yield f"{key} has an element of another type"
        elif key == "itls" and not all(is_of(gap, NUMBER) for gaps in values for gap in gaps):
            yield "itls has a gap that is no number"


def complaints(result):
    yield from (found := list(wrong_types(result)))
    if found:
        return
    yield from wrong_figures(result)
    yield from wrong_details(result)


def main(arguments):
    if len(arguments) != 1:
        print("usage: read_vllm_result.py FILE", file=sys.stderr)
        return 1
    try:
        with open(arguments[0], encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    if not isinstance(result, dict):
        print(f"{arguments[0]}: no JSON object", file=sys.stderr)
        return 1
    found = list(complaints(result))
    for complaint in found:
        print(f"{arguments[0]}: {complaint}", file=sys.stderr)
    if not found:
        print(f"{arguments[0]}: reads as a result of vllm bench serve, {result['completed']} of "
              f"{result['num_prompts']} requests completed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
