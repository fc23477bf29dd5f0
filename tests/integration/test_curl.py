"""curl, as a person types it."""

import json
import subprocess


def curl(*arguments):
    result = subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def body(system, **more):
    return json.dumps({"model": system.model_name, "prompt": "Two ships left the harbour",
                       "temperature": 0, "max_tokens": 12, **more})


def test_completion(system):
    answer = json.loads(curl(f"{system.url}/v1/completions",
                             "-H", "Content-Type: application/json", "-d", body(system)))
    assert answer["choices"][0]["text"]


def test_stream_is_server_sent_events(system):
    text = curl("-N", "-i", f"{system.url}/v1/completions",
                "-H", "Content-Type: application/json", "-d", body(system, stream=True))
    head, _, events = text.replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert "content-type: text/event-stream" in head.lower()
    lines = [line for line in events.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(c["text"] for p in pieces for c in p["choices"])


def test_body_of_several_megabytes_with_expect_continue(system, tmp_path):
    """curl asks before it sends a large body; the prompt is beyond the context, which is a 400."""
    path = tmp_path / "body.json"
    path.write_text(body(system, prompt="word " * 600_000))
    text = curl("-i", f"{system.url}/v1/completions", "-H", "Content-Type: application/json",
                "-H", "Expect: 100-continue", "-d", f"@{path}")
    assert "HTTP/1.1 400" in text
    assert '"param":"prompt"' in text.replace(" ", "")


def test_unknown_path_is_not_found(system):
    status = curl("-o", "/dev/null", "-w", "%{http_code}", f"{system.url}/metrics")
    assert status == "404"
