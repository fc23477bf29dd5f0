"""`baton explain` and /plan, before a router with mock pods, and a router that was saved."""

import json

import pytest
from harness import free_port, run_baton, wait_until, web
from mocks import MockSystem, chat, completion

LONG = "The river goes down to the harbour, and the ships go out to sea. " * 60


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("explain"), prefill=2, decode=2) as system:
        yield system


@pytest.fixture
def system(mocks):
    mocks.forget()
    yield mocks
    mocks.forget()


def explain(system, *arguments, code=0):
    result = run_baton("explain", "--admin", system.admin_url, *arguments)
    assert result.returncode == code, result
    return result


def write(path, body):
    path.write_text(json.dumps(body))
    return path


def asked(system):
    return sum(len(system.requests(name)) for name in system.members)


@pytest.mark.parametrize("body", [completion(), chat(), completion(prompt=list(range(300, 420)))],
                         ids=["completion", "chat", "token ids"])
def test_the_table_shows_each_pod_and_what_would_change_the_choice(system, tmp_path, body):
    out = explain(system, write(tmp_path / "request.json", body)).stdout
    assert all(len(line) <= 100 for line in out.splitlines()), out
    for words in ("prefill  prefill-0", "prefill  prefill-1", "decode  decode-0",
                  "decode  decode-1", "queue", "transfer", "chosen    prefill-", " -> decode-",
                  "predicted TTFT", "what would change the choice", "the pool always splits"):
        assert words in out, out
    assert out.count("  chosen\n") == 2, out
    assert asked(system) == 0


def test_the_plan_is_what_the_next_request_gets(system, tmp_path):
    body = completion(prompt=LONG)
    file = write(tmp_path / "request.json", body)
    before = json.loads(explain(system, file, "--json").stdout)
    assert before["prefill_cached"] == 0
    answer = system.post("/v1/completions", body)
    assert answer.status_code == 200, answer.text

    def planned():
        plan = json.loads(explain(system, file, "--json").stdout)
        return plan if plan["prefill_cached"] > 0 else None
    plan = wait_until(planned, what="the plan counts on the prefix")
    assert plan["prefill"] == answer.headers["x-baton-prefill"]
    assert plan["alternatives"][0]["differs"] == "prefill"
    again = system.post("/v1/completions", body)
    assert again.headers["x-baton-prefill"] == plan["prefill"]


def test_a_prompt_or_its_length_is_enough(system):
    assert "pool test" in explain(system, "--prompt", LONG).stdout
    sized = explain(system, "--tokens", 5000, "--model", "mock-model", "--json").stdout
    assert json.loads(sized)["prompt_tokens"] == 5000
    piped = run_baton("explain", "--tokens", 10, BATON_ADMIN=system.admin_url)
    assert piped.returncode == 0 and "10 prompt tokens" in piped.stdout, piped


def test_a_drained_pod_is_why_another_is_chosen(system):
    web.post(f"{system.admin_url}/pods/prefill-0/drain")
    try:
        out = explain(system, "--tokens", 5000).stdout
    finally:
        web.post(f"{system.admin_url}/pods/prefill-0/undrain")
    assert "chosen    prefill-1 -> " in out and "draining" in out, out


def test_a_saved_router_plans_as_the_running_one(system, tmp_path):
    saved = tmp_path / "router.json"
    file = write(tmp_path / "request.json", completion(prompt="Nobody has asked this. " * 50))
    live = json.loads(explain(system, file, "--save", saved, "--json").stdout)
    offline = run_baton("explain", file, "--snapshot", saved, "--json")
    assert offline.returncode == 0, offline
    plan = json.loads(offline.stdout)
    for what in ("kind", "pool", "prefill", "decode", "prompt_tokens"):
        assert plan[what] == live[what], (what, plan, live)
    table = run_baton("explain", "--tokens", 100, "--snapshot", saved)
    assert table.returncode == 0 and "of a saved router" in table.stdout, table


def test_saving_needs_no_request(system, tmp_path):
    saved = tmp_path / "router.json"
    assert explain(system, "--save", saved).stdout == ""
    assert json.loads(saved.read_text())["baton_explain"] == 1
    assert run_baton("explain", "--tokens", 9, "--snapshot", saved).returncode == 0


def test_bad_input_is_told_from_failure(system, tmp_path):
    def fails(code, *arguments):
        result = run_baton("explain", *arguments)
        assert result.returncode == code, result
        assert result.stderr and not result.stdout, result
        return result.stderr

    live = ("--admin", system.admin_url)
    request = write(tmp_path / "request.json", completion())
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert "--tokens" in fails(2, *live)
    assert "cannot read" in fails(2, *live, tmp_path / "nowhere.json")
    fails(2, *live, broken)
    fails(2, *live, write(tmp_path / "empty.json", {"model": "mock-model"}))
    assert "nobody" in fails(2, *live, "--tokens", 5, "--model", "nobody")
    assert "nobody" in fails(2, *live, write(tmp_path / "model.json", completion(model="nobody")))
    fails(2, *live, "--tokens", 0)
    fails(2, *live, request, "--prompt", "x")
    fails(2, *live, request, "--tokens", 5)
    fails(2, *live, request, "--model", "mock-model")
    assert "http://HOST:PORT" in fails(2, request, "--admin", "nowhere")
    assert "--save" in fails(2, request, "--snapshot", broken)
    assert "cannot read" in fails(2, request, "--snapshot", tmp_path / "nowhere.json")
    assert "no router at" in fails(1, request, "--admin", f"http://127.0.0.1:{free_port()}")
    assert "cannot write" in fails(1, *live, "--save", tmp_path / "no" / "folder.json")


def test_the_admin_port_refuses_in_the_shape_of_openai(system):
    url = f"{system.admin_url}/plan"

    def refused(answer, status):
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["message"] and error["type"], error
        return error

    assert "POST /plan" in refused(web.get(url), 400)["message"]
    refused(web.delete(url), 405)
    refused(web.post(url, content=b""), 400)
    refused(web.post(url, content=b"{"), 400)
    refused(web.post(url, json=[]), 400)
    assert refused(web.post(url, json=completion(max_tokens=0)), 400)["param"] == "max_tokens"
    assert refused(web.post(url, json=completion(kv_transfer_params={})), 400)["param"] \
        == "kv_transfer_params"
    assert refused(web.post(url, json=completion(model="nobody")), 404)["code"] == "model_not_found"
    refused(web.post(url, content=b" " * (11 << 20)), 413)
    assert asked(system) == 0
