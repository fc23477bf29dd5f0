"""The record of what a real server says to wrong requests is still what it says: the mock is held to
the same record (tests/integration)."""

import json
import pathlib

from record_wrong_requests import record_all

RECORD = pathlib.Path(__file__).with_name("vllm_wrong_requests.json")


def test_the_server_says_what_was_recorded(pair):
    recorded = json.loads(RECORD.read_text())
    version = pair.prefill_version()
    assert recorded["version"] == version, f"recorded from {recorded['version']}, not {version}"
    records = recorded["records"]
    assert sum(record["status"] >= 400 for record in records) >= 60
    for before, now in zip(records, record_all(pair.prefill.url), strict=True):
        assert now == before
    assert pair.prefill.ready()
