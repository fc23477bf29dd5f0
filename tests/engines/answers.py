"""What two servers of one model answer, compared: texts, tokens and logprobs."""

import json
import random

WORDS = ("permission is hereby granted free of charge to any person obtaining copy this software "
         "and associated documentation files deal without restriction including rights use modify "
         "merge publish distribute sublicense sell copies the work derivative source object form").split()

# Between a server's two best logprobs: below it the order of additions may choose.
GAP = 0.01
LOGPROBS = 1e-2


def text(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def request(index):
    """The index-th of a row of requests of all shapes; no two share a block of their prompts."""
    rng = random.Random(index)
    prompt = f"{rng.randrange(10**9)} {text(rng, rng.randrange(1, 200))}"
    body = {"max_tokens": rng.randrange(2, 17), "temperature": 0, "ignore_eos": True}
    if index % 2:
        return "/v1/chat/completions", {
            **body, "messages": [{"role": "system", "content": prompt},
                                 {"role": "user", "content": text(rng, 6)}],
            "logprobs": True, "top_logprobs": 5}
    return "/v1/completions", {**body, "prompt": prompt, "logprobs": 5}


def events(body):
    """The chunks of a stream, which must end with [DONE]."""
    lines = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    assert lines and lines[-1] == "[DONE]", body[-300:]
    return [json.loads(line) for line in lines[:-1]]


def joined(chunks):
    """A stream as the answer that it would have been without one."""
    whole = {"text": "", "logprobs": [], "usage": None, "finish_reason": None}
    for chunk in chunks:
        whole["usage"] = chunk.get("usage") or whole["usage"]
        for choice in chunk["choices"]:
            delta = choice.get("delta")
            whole["text"] += (delta.get("content") or "") if delta else choice.get("text", "")
            whole["logprobs"] += listed(choice.get("logprobs"))
            whole["finish_reason"] = choice["finish_reason"] or whole["finish_reason"]
    return whole


def read(response):
    assert response.status_code == 200, response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        return joined(events(response.text))
    answer = response.json()
    choice = answer["choices"][0]
    content = choice["message"]["content"] if "message" in choice else choice["text"]
    return {"text": content, "logprobs": listed(choice.get("logprobs")), "usage": answer["usage"],
            "finish_reason": choice["finish_reason"]}


def listed(logprobs):
    """(token, logprob, the best others) of each token, of either API."""
    if not logprobs:
        return []
    if "content" in logprobs:
        return [(entry["token"], entry["logprob"],
                 {top["token"]: top["logprob"] for top in entry["top_logprobs"]})
                for entry in logprobs["content"]]
    return list(zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]))


def differs(split, single):
    """How far two greedy answers are the same: None if they are, or the gap between the two
    candidates where they part. Fails where rounding cannot be the reason."""
    assert split["finish_reason"] == single["finish_reason"]
    for (token, logprob, _), (other, its, best) in zip(split["logprobs"], single["logprobs"]):
        if token != other:
            assert token in best, f"{token!r} is none of the candidates {best}"
            gap = abs(best[token] - its)
            assert gap < GAP, f"{token!r} instead of {other!r}, {gap} apart"
            return gap
        assert abs(logprob - its) < LOGPROBS, (token, logprob, its)
    assert split["text"] == single["text"]
    return None
