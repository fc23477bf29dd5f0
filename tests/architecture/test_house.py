"""No include goes against an arrow of the house, and the check sees one that does."""

import pathlib
import re

import house
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_include_follows_the_arrows():
    assert list(house.sources(ROOT)), "found no sources to check"
    assert house.violations(ROOT) == []


def test_every_source_is_in_a_folder_of_the_house():
    homeless = [path for path in house.sources(ROOT) if house.folder_of(path) is None]
    assert homeless == []


def test_arrows_have_no_circle():
    def reachable(name, seen):
        for following in house.ARROWS[name] - seen:
            seen.add(following)
            reachable(following, seen)
        return seen

    for name in house.ARROWS:
        assert name not in reachable(name, set()), f"{name} reaches itself"


@pytest.mark.parametrize(("path", "include", "why"), [
    ("core/pod.h", '"orchestrator/config/config.h"', "core must not include orchestrator"),
    ("core/pod.h", '"core/picking/pod_load.h"', "core must not include core/picking"),
    ("kv_transfer/node.cc", '"adapters/http/server.h"', "kv_transfer must not include adapters"),
    ("prefill_router/x.cc", '"decode_router/y.h"', "prefill_router must not include decode_router"),
    ("adapters/http/server.cc", '"orchestrator/serve/serve.h"', "must not include orchestrator"),
    ("adapters/http/server.cc", '"adapters/engines/connector.h"', "must not include adapters/eng"),
    ("adapters/engines/baton.cc", '"kv_transfer/node.h"', "must not include kv_transfer"),
    ("core/ids.cc", "<boost/asio/io_context.hpp>", "does no I/O"),
    ("decode_router/x.cc", "<thread>", "starts no threads"),
    ("core/ids.cc", '"ids.h"', "not written from the repository root"),
])
def test_a_planted_violation_is_seen(tmp_path, path, include, why):
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(f"#pragma once\n\n  #  include {include}\n")
    found = house.violations(tmp_path)
    assert len(found) == 1
    assert why in found[0]
    assert found[0].startswith(f"{path}:3:")


def test_what_is_allowed_is_not_reported(tmp_path):
    allowed = tmp_path / "orchestrator" / "serve.cc"
    allowed.parent.mkdir()
    allowed.write_text('#include "core/pod.h"\n#include "adapters/http/server.h"\n#include <thread>\n')
    assert house.violations(tmp_path) == []


def test_targets_link_along_the_arrows():
    """CMake's `baton_module(NAME DEPENDS …)` says the same as the includes."""
    target_of, dependencies = {}, {}
    for path in ROOT.glob("**/CMakeLists.txt"):
        relative = path.relative_to(ROOT).parent.as_posix()
        if house.folder_of(relative + "/x") is None:
            continue
        for match in re.finditer(r"baton_module\((\w+)(?:\s+PIC)?\s+DEPENDS([^)]*)\)",
                                 path.read_text()):
            target_of[match.group(1)] = house.folder_of(relative + "/x")
            dependencies[match.group(1)] = re.findall(r"baton_\w+", match.group(2))
    assert "baton_core" in target_of
    wrong = []
    for target, needs in dependencies.items():
        here = target_of[target]
        for need in needs:
            there = target_of.get(need, here)
            if there != here and there not in house.ARROWS[here]:
                wrong.append(f"{target} ({here}) links {need} ({there})")
    assert wrong == []


def test_every_folder_of_unit_tests_is_built():
    unit = ROOT / "tests" / "unit"
    listed = re.findall(r"add_subdirectory\(([\w/]+)\)", (unit / "CMakeLists.txt").read_text())
    there = [path.parent.relative_to(unit).as_posix() for path in unit.glob("*/CMakeLists.txt")]
    assert sorted(listed) == sorted(there)


def test_every_fuzz_target_is_built():
    fuzz = ROOT / "tests" / "fuzz"
    listed = re.findall(r"baton_fuzz_target\((\w+)", (fuzz / "CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(path.stem for path in fuzz.glob("*.cc"))
    for name in listed:
        assert any((fuzz / "corpus" / name.removesuffix("_fuzz")).iterdir()), f"{name} has no corpus"
