"""What requests ask for in `x-slo-…-ms`, before a router that refuses what would miss it."""

import json

import openai
import pytest
from harness import run_baton
from mocks import MockSystem, chat, completion, system

TIGHT = {"x-slo-ttft-ms": "0.5"}  # no hand-off is so quick


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("slo"), prefill=1, decode=1,
                    pool="    slo: {ttft_ms: 60000, admission: refuse}\n") as system:
        yield system


def test_a_request_that_would_miss_its_slo_is_refused_and_others_are_served(system):
    misses = ("baton_slo_misses_predicted_total", 0)
    before = system.router_metrics()
    refused = system.post("/v1/completions", completion(), headers=TIGHT)
    assert refused.status_code == 429, refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    error = refused.json()["error"]
    assert error["code"] == "slo_unreachable" and "x-slo-ttft-ms" in error["message"], error
    assert not any(system.legs().values())

    served = system.post("/v1/completions", completion())
    assert served.status_code == 200, served.text
    legs = system.legs()
    assert [len(legs[leg]) for leg in ("prefill", "decode")] == [1, 1]
    after = system.router_metrics()
    assert after.value(*misses, reason="ttft") == before.value(*misses, reason="ttft") + 1
    assert after.value(*misses, reason="tpot") == before.value(*misses, reason="tpot")
    assert after.value("baton_requests_total", 0, outcome="refused") == 1
    assert not any(pod["in_flight"] for pod in system.pod_states().values())
    system.check_clean()


def test_the_official_client_sees_a_rate_limit(system):
    client = system.client()
    with pytest.raises(openai.RateLimitError) as failure:
        client.chat.completions.create(**chat(), extra_headers=TIGHT)
    assert failure.value.code == "slo_unreachable"
    with pytest.raises(openai.BadRequestError) as failure:
        client.chat.completions.create(**chat(), extra_headers={"x-slo-tpot-ms": "quick"})
    assert failure.value.param == "x-slo-tpot-ms"
    assert not any(system.legs().values())


def test_explain_says_so_before(system):
    asked = ("explain", "--admin", system.admin_url, "--tokens", 500)
    table = run_baton(*asked, "--slo-ttft-ms", 0.5)
    assert table.returncode == 0 and "misses its SLO: TTFT" in table.stdout, table
    assert "it would be refused" in table.stdout, table
    plan = json.loads(run_baton(*asked, "--slo-ttft-ms", 0.5, "--json").stdout)
    assert plan["verdict"]["refused"] and plan["verdict"]["ttft_over_ms"] > 0, plan
    assert "misses" not in run_baton(*asked).stdout
