#!/usr/bin/env python3
"""Asks a server of the tiny model requests that are wrong on purpose and prints what it answers, as
the JSON that vllm_wrong_requests.json is. usage: record_wrong_requests.py URL VERSION DATE

Each record holds the request (method, path, body: JSON, or `raw` where it is none) and the status
with the parts of the error that clients act on. Figures that a server chooses are left as they are.
"""

import json
import re
import sys

import httpx

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "say something"}]
# Without remote_request_id a refused request ends the engine with a KeyError.
NIXL = {"do_remote_decode": False, "do_remote_prefill": True, "remote_engine_id": "none",
        "remote_request_id": "none", "remote_block_ids": [[1]], "remote_host": "127.0.0.1",
        "remote_port": 1}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def completion(**fields):
    return {"path": COMPLETIONS, "body": {"model": "tiny", "prompt": "a b c", "max_tokens": 4,
                                          **fields}}


def chat(**fields):
    return {"path": CHAT, "body": {"model": "tiny", "messages": USER, "max_tokens": 4, **fields}}


def raw(path, text):
    return {"path": path, "raw": text}


def without(request, *keys):
    for key in keys:
        del request["body"][key]
    return request


REQUESTS = [
    # Not a request at all
    raw(COMPLETIONS, ""), raw(COMPLETIONS, "{"), raw(COMPLETIONS, "[]"), raw(COMPLETIONS, "null"),
    raw(COMPLETIONS, '"text"'), raw(COMPLETIONS, '{"model":"tiny","prompt":"a",}'),
    raw(CHAT, "{"), raw(CHAT, "{}"),
    {"method": "GET", "path": COMPLETIONS}, {"method": "PUT", "path": CHAT, "body": {}},
    {"method": "GET", "path": "/v1/nothing"},
    # Names and prompts
    completion(model="absent"), chat(model="absent"), completion(model=7),
    without(completion(), "prompt"), completion(prompt=None), completion(prompt=7),
    completion(prompt=[]), completion(prompt=""), completion(prompt=[[]]),
    completion(prompt=[1, "a"]), completion(prompt=[-1]), completion(prompt=[5000]),
    completion(prompt={"text": "a"}),
    without(chat(), "messages"), chat(messages=None), chat(messages=[]), chat(messages="hello"),
    chat(messages=[{"role": "user"}]), chat(messages=[{"content": "no role"}]),
    chat(messages=[{"role": "user", "content": 7}]),
    chat(messages=[{"role": "user", "content": [{"type": "unknown"}]}]),
    # Lengths
    completion(max_tokens=0), completion(max_tokens=-1), completion(max_tokens="4"),
    completion(max_tokens=4.5), completion(max_tokens=5000), chat(max_tokens=5000),
    chat(max_completion_tokens=0), chat(max_completion_tokens=-3),
    completion(prompt=[5] * 2048), completion(prompt=[5] * 3000), completion(min_tokens=9),
    completion(min_tokens=-1), completion(truncate_prompt_tokens=-5),
    completion(truncate_prompt_tokens=5000),
    # Sampling
    completion(temperature=-1), completion(temperature="hot"), completion(top_p=0),
    completion(top_p=1.5), completion(top_k=-2), completion(top_k=1.5), completion(min_p=2),
    completion(presence_penalty=3), completion(frequency_penalty=-3),
    completion(repetition_penalty=0), completion(seed="x"), completion(n=0), completion(n=-1),
    completion(n="2"), completion(n=2, temperature=0), completion(best_of=2),
    completion(logprobs=-1), completion(logprobs=100), completion(logprobs=True),
    completion(prompt_logprobs=-2), completion(prompt_logprobs=100),
    completion(prompt_logprobs=1, stream=True), chat(logprobs=True, top_logprobs=100),
    chat(top_logprobs=2), chat(top_logprobs=-1, logprobs=True),
    completion(logit_bias={"5000": 1}), completion(logit_bias={"x": 1}),
    completion(stop=7), completion(stop=[""]), completion(stop_token_ids=["x"]),
    completion(allowed_token_ids=[]), completion(allowed_token_ids=[5000]),
    completion(bad_words=[""]), completion(echo="yes"),
    # Streams
    completion(stream="yes"), completion(stream_options={"include_usage": True}),
    chat(stream_options={"include_usage": True}),
    completion(stream=True, stream_options={"include_usage": "no"}),
    completion(stream=True, stream_options=7),
    # Tools and structure
    chat(tools=[]), chat(tools=[TOOL], tool_choice="sometimes"), chat(tool_choice="auto"),
    chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
    chat(tools=[{"type": "function"}]), chat(response_format={"type": "yaml"}),
    chat(response_format={"type": "json_schema"}),
    chat(structured_outputs={"regex": "("}),
    chat(structured_outputs={"regex": "a", "choice": ["b"]}),
    completion(structured_outputs={"json": "{"}),
    # Hand-off
    completion(kv_transfer_params=7), completion(kv_transfer_params="x"),
    completion(model="absent", kv_transfer_params=NIXL),
    # Salt, priority, templates
    completion(cache_salt=""), completion(cache_salt=7), completion(priority="high"),
    completion(priority=1), chat(chat_template_kwargs=7),
    chat(add_generation_prompt=True, continue_final_message=True),
    # Other paths
    {"path": "/tokenize", "body": {"model": "tiny"}},
    {"path": "/tokenize", "body": {"model": "absent", "prompt": "a"}},
    {"path": "/detokenize", "body": {"model": "tiny", "tokens": ["a"]}},
    {"path": "/detokenize", "body": {"model": "tiny", "tokens": [5000]}},
]


def ask(client, request):
    method = request.get("method", "POST")
    content = request.get("raw")
    if content is None and "body" in request:
        content = json.dumps(request["body"])
    response = client.request(method, request["path"], content=content,
                              headers={"content-type": "application/json"} if content else {})
    record = {**request, "status": response.status_code,
              "content_type": response.headers.get("content-type", "")}
    try:
        answer = response.json()
    except ValueError:
        return record
    if isinstance(answer, dict) and "error" in answer:
        record["error"] = answer["error"]
        if isinstance(message := answer["error"].get("message"), str):  # some tell the time
            record["error"]["message"] = re.sub(r"\[\d\d:\d\d:\d\d\]", "[time]", message)
    elif isinstance(answer, dict) and "detail" in answer:
        record["detail"] = answer["detail"]
    elif response.status_code == 200:
        record["object"] = answer.get("object") if isinstance(answer, dict) else None
    return record


def record_all(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        return [ask(client, request) for request in REQUESTS]


def main():
    url, version, date = sys.argv[1:4]
    records = record_all(url)
    refused = sum(record["status"] >= 400 for record in records)
    print(f"{len(records)} requests, {refused} refused", file=sys.stderr)
    json.dump({"engine": "vLLM", "version": version, "date": date, "model": "tiny",
               "max_model_len": 2048, "records": records}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
