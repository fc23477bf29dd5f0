"""What an autoscaler reads: a real Prometheus scrapes a real router before mock pods, and every query
of deploy/ and docs/autoscaling.md is asked of it as the adapter, KEDA or a person would ask."""

import json
import math
import os
import pathlib
import re
import shutil
import threading

import pytest
import yaml
from harness import LIMIT, ROOT, Process, Server, free_port, wait_until, web
from mocks import MockSystem, completion

DEPLOY = ROOT / "deploy"
NAMESPACE = "serving"
SCRAPE_CONFIG = """
global: {{scrape_interval: 200ms}}
scrape_configs:
  - job_name: baton
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{namespace: {namespace}}}}}]
"""
# By which type of target an HPA may scale on a metric, and how its values add up over routers.
MEANS = {"baton_pool_saturation": "max", "baton_pool_queue_seconds": "sum",
         "baton_pool_prefill_utilisation": "max", "baton_pool_kv_usage": "max"}
SUMS = {"baton_pool_uncached_tokens_inflight": "sum", "baton_pool_running": "max"}


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def rules():
    """The adapter's rules by the name of the external metric, which is the series' where no `name` is."""
    (config_map,) = documents("prometheus-adapter.yaml")
    found = {}
    for rule in yaml.safe_load(config_map["data"]["config.yaml"])["externalRules"]:
        assert "name" not in rule and "seriesFilters" not in rule
        found[re.match(r"\w+", rule["seriesQuery"]).group()] = rule
    return found


def external_metrics():
    """Of every HPA: its name and the metric as the spec has it."""
    found = []
    for hpa in documents("hpa.yaml"):
        assert (hpa["apiVersion"], hpa["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")
        for metric in hpa["spec"]["metrics"]:
            assert metric["type"] == "External"
            found.append((hpa["metadata"]["name"], metric["external"]))
    return found


def filled_in(rule, series, selector):
    """The query that prometheus-adapter makes of a rule (its pkg/naming/metrics_query.go)."""
    matchers = [f'{label}="{value}"' for label, value in sorted(selector.items())]
    (namespace_label,) = [label for label, resource in rule["resources"]["overrides"].items()
                          if resource == {"resource": "namespace"}]
    matchers.append(f'{namespace_label}="{NAMESPACE}"')
    query = rule["metricsQuery"].replace("<<.Series>>", series)
    query = query.replace("<<.LabelMatchers>>", ",".join(matchers))
    assert "<<" not in query
    return query


def keda_queries():
    (scaled,) = documents("keda.yaml")
    assert scaled["kind"] == "ScaledObject"
    return [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]


def queries_of_docs():
    text = (ROOT / "docs" / "autoscaling.md").read_text()
    blocks = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def as_here(query):
    """A query of an example, asked of the pool and the namespace of the test."""
    query = re.sub(r'\b(pool|name)="chat"', r'\1="test"', query)
    return query.replace('namespace="default"', f'namespace="{NAMESPACE}"')


def quantity(text):
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


# What is written fits together.


def test_hpas_ask_for_what_the_adapter_serves_and_by_the_right_kind_of_target():
    served = rules()
    assert {metric["metric"]["name"] for _, metric in external_metrics()} <= set(served)
    for hpa, external in external_metrics():
        name, target = external["metric"]["name"], external["target"]
        kind = "AverageValue" if name in SUMS else "Value"
        assert target["type"] == kind, f"{hpa}: {name}"
        assert quantity(target["averageValue" if name in SUMS else "value"]) > 0
        selector = external["metric"]["selector"]["matchLabels"]
        assert set(selector) == {"pool", "role"}
        assert hpa == f"{selector['pool']}-{selector['role']}"


def test_each_pool_has_an_hpa_a_role_that_goes_up_faster_than_down():
    found = {}
    for hpa in documents("hpa.yaml"):
        spec = hpa["spec"]
        assert spec["scaleTargetRef"]["name"] == hpa["metadata"]["name"]
        assert 1 <= spec["minReplicas"] < spec["maxReplicas"]
        up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
        assert up["stabilizationWindowSeconds"] < down["stabilizationWindowSeconds"] <= 3600
        assert all(0 < p["periodSeconds"] <= 1800 for p in up["policies"] + down["policies"])
        pool, _, role = hpa["metadata"]["name"].rpartition("-")
        found.setdefault(pool, set()).add(role)
    assert found and all(roles == {"prefill", "decode"} for roles in found.values())


def test_rules_add_up_over_routers_what_each_knows_alone():
    assert set(rules()) == set(MEANS) | set(SUMS)
    for name, rule in rules().items():
        over = {**MEANS, **SUMS}[name]
        assert rule["metricsQuery"].startswith(f"{over}("), name
        assert rule["metricsQuery"].endswith(" by (pool, role)"), name


def test_the_page_tells_of_every_signal():
    page = (ROOT / "docs" / "autoscaling.md").read_text()
    reference = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+[a-z])` \| ", page, re.MULTILINE)
    exported = re.findall(r"^\| `baton_pool_(\w+)` \|", reference, re.MULTILINE)
    assert exported and sorted(rows) == sorted(exported)
    for name in re.findall(r"^\| `((?:inference_pool|llm_d_epp)_\w+)` \|", reference, re.MULTILINE):
        assert f"`{name}`" in page


# What Prometheus answers.


class Prometheus:
    def __init__(self, folder, target):
        port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(SCRAPE_CONFIG.format(port=target, namespace=NAMESPACE))
        process = Process("prometheus", [
            self.program(), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            folder / "prometheus.log")
        self.server = Server(process, port, port, "/-/ready")

    @staticmethod
    def program():
        """Installed, or where tools/setup unpacks it."""
        deps = pathlib.Path(os.environ.get("BATON_DEPS_DIR", ROOT / ".deps"))
        unpacked = [deps, ROOT / ".deps"]
        for path in [shutil.which("prometheus"), *(d / "prometheus/usr/bin/prometheus"
                                                   for d in unpacked)]:
            if path and os.access(path, os.X_OK):
                return path
        raise AssertionError("there is no prometheus: tools/setup test")

    def __enter__(self):
        self.server.start()
        try:
            self.server.wait_ready()
        except BaseException:
            self.server.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.server.process.kill()

    def ask(self, path, **parameters):
        answer = web.get(f"{self.server.url}/api/v1/{path}", params=parameters, timeout=LIMIT)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def vector(self, query):
        """Labels and value of each element."""
        data = self.ask("query", query=query)
        assert data["resultType"] == "vector", query
        return [(e["metric"], float(e["value"][1])) for e in data["result"]]

    def value(self, query):
        """Of a query that has one element."""
        found = self.vector(query)
        assert len(found) == 1, f"{query}: {found}"
        value = found[0][1]
        assert math.isfinite(value), query
        return value


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("mocks"), prefill=2, decode=2,
                    pool="    slo: {ttft_ms: 500, tpot_ms: 50}\n",
                    mock_options=["--latency-profile", "prefill_ms=100,step_ms=10",
                                  "--kv-blocks", "512"]) as system:
        yield system


@pytest.fixture(scope="module")
def prometheus(mocks, tmp_path_factory):
    with Prometheus(tmp_path_factory.mktemp("prometheus"), mocks.admin_port) as running:
        wait_until(lambda: running.vector('baton_pool_ready_pods{pool="test"} == 2'),
                   what="Prometheus has scraped a router with all its pods")
        yield running


@pytest.fixture
def load(mocks):
    """Eight clients that ask for new prompts until the test ends."""
    stop, failures = threading.Event(), []

    def run(client):
        number = 0
        while not stop.is_set():
            number += 1
            body = completion(prompt=f"{client}/{number}: " + "of the sea " * 60, max_tokens=40)
            answer = mocks.post("/v1/completions", body)
            if answer.status_code != 200:
                failures.append(answer.text)

    threads = [threading.Thread(target=run, args=(client,)) for client in range(8)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    mocks.check_clean()


def test_the_adapter_discovers_every_rule(prometheus):
    for name, rule in rules().items():
        series = prometheus.ask("series", **{"match[]": rule["seriesQuery"]})
        assert {s["__name__"] for s in series} == {name}
        assert {s["role"] for s in series} == {"prefill", "decode"}
        assert {s["namespace"] for s in series} == {NAMESPACE}


def test_an_idle_pool_is_hardly_saturated(prometheus):
    query = 'max(baton_pool_saturation{pool="test"})'
    wait_until(lambda: prometheus.value(query) < 0.1, 3 * LIMIT)  # of tests before, some is left
    headroom = prometheus.value('baton_pool_tpot_headroom{pool="test"}')
    assert 0 < headroom < 1


def test_every_hpa_gets_one_sensible_number(prometheus, load):
    def busy(name, role, least):
        return prometheus.vector(f'{name}{{pool="test",role="{role}"}} > {least}')

    wait_until(lambda: busy("baton_pool_prefill_utilisation", "prefill", 0.02))
    wait_until(lambda: busy("baton_pool_saturation", "prefill", 0.02))
    wait_until(lambda: busy("baton_pool_uncached_tokens_inflight", "prefill", 0))
    wait_until(lambda: busy("baton_pool_queue_seconds", "prefill", 0))
    wait_until(lambda: busy("baton_pool_running", "decode", 0))
    wait_until(lambda: busy("baton_pool_kv_usage", "decode", 0))
    wait_until(lambda: busy("baton_pool_saturation", "decode", 0.02))
    served = rules()
    for _, external in external_metrics():
        name = external["metric"]["name"]
        selector = {**external["metric"]["selector"]["matchLabels"], "pool": "test"}
        query = filled_in(served[name], name, selector)
        assert 0 < prometheus.value(query) < 100, query
    for name, rule in served.items():  # and those that no HPA of ours uses
        for role in ("prefill", "decode"):
            query = filled_in(rule, name, {"pool": "test", "role": role})
            value = prometheus.value(query)
            assert 0 <= value < (1e5 if name in SUMS else 100), query


def test_keda_gets_one_sensible_number(prometheus, load):
    assert keda_queries()
    for query in keda_queries():
        wait_until(lambda asked=as_here(query): 0 < prometheus.value(asked) < 100)


@pytest.mark.parametrize("query", queries_of_docs())
def test_queries_of_the_page_have_answers(prometheus, query):
    found = prometheus.vector(as_here(query))
    assert found and all(math.isfinite(value) for _, value in found)


def test_the_extensions_names_say_the_same(prometheus):
    for extension, epp in (("average_kv_cache_utilization",) * 2, ("average_queue_size",) * 2,
                           ("average_running_requests",) * 2, ("ready_pods", "ready_endpoints")):
        both = (f'inference_pool_{extension}{{name="test"}}', f'llm_d_epp_{epp}{{name="test"}}')
        assert prometheus.value(both[0]) == prometheus.value(both[1])
    assert prometheus.value('inference_pool_ready_pods{name="test"}') == 4


def test_a_pool_that_is_not_there_has_no_value(prometheus):
    """Where an HPA gets nothing, it does not scale down; a 0 would do so."""
    for name, rule in rules().items():
        query = filled_in(rule, name, {"pool": "nobody", "role": "decode"})
        assert prometheus.vector(query) == []


def test_a_pool_without_pods_is_full_while_a_request_waits(prometheus, mocks):
    def reads(name, value):
        query = f'baton_pool_{name}{{pool="test",role="decode"}} == {value}'
        return lambda: prometheus.vector(query)

    for name in ("decode-0", "decode-1"):
        mocks.kill(name)
    wait_until(reads("ready_pods", 0))
    wait_until(reads("saturation", 0))
    answers = []
    client = threading.Thread(
        target=lambda: answers.append(mocks.post("/v1/completions", completion())))
    client.start()
    wait_until(reads("saturation", 1))
    for name in ("decode-0", "decode-1"):
        mocks.restart(name)
    client.join()
    assert answers[0].status_code == 200, json.dumps(answers[0].json())
    wait_until(reads("ready_pods", 2))
