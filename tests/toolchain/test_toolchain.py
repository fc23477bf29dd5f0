"""CMake refuses what is known to fail, with the reason; the probe shows that the reason is true."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = ROOT / "tests" / "toolchain" / "coroutine_probe.cc"


def execute(*command, timeout=300, **extra):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=timeout, env={**os.environ, **extra})


def configure(build, *options):
    return execute("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *options)


def gcc_12():
    path = shutil.which("g++-12")
    if path is None:
        pytest.skip("g++-12 is not installed")
    return path


def build_probe(tmp_path, compiler, *options):
    program = tmp_path / "probe"
    result = execute(compiler, *options, "-O1", "-g", "-fsanitize=address", PROBE, "-o", program)
    assert result.returncode == 0, result.stderr
    return execute(program, timeout=60)


def test_gcc_12_frees_a_temporary_of_a_co_await_expression_twice(tmp_path):
    result = build_probe(tmp_path, gcc_12(), "-std=c++20", "-fcoroutines")
    assert result.returncode != 0
    assert "AddressSanitizer: attempting double-free" in result.stderr \
        or "AddressSanitizer: heap-use-after-free" in result.stderr


def test_clang_19_frees_it_once(tmp_path):
    result = build_probe(tmp_path, "clang++-19", "-std=c++23", "-stdlib=libstdc++")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "3\n"


def test_cmake_refuses_gcc_12_with_the_reason(tmp_path):
    result = configure(tmp_path, f"-DCMAKE_CXX_COMPILER={gcc_12()}")
    assert result.returncode != 0
    message = " ".join(result.stderr.split())
    assert "miscompiles temporaries in co_await expressions" in message
    assert "clang 19" in message


def test_cmake_refuses_boost_1_74_with_the_reason(tmp_path):
    boost = tmp_path / "boost"
    header = boost / "include" / "boost" / "version.hpp"
    header.parent.mkdir(parents=True)
    header.write_text('#define BOOST_VERSION 107400\n#define BOOST_LIB_VERSION "1_74"\n')
    result = configure(
        tmp_path / "build", "-DCMAKE_C_COMPILER=clang-19", "-DCMAKE_CXX_COMPILER=clang++-19",
        "-DBoost_NO_BOOST_CMAKE=ON", "-DBoost_NO_SYSTEM_PATHS=ON", f"-DBOOST_ROOT={boost}")
    assert result.returncode != 0
    message = " ".join(result.stderr.split())
    assert "Boost 1.81 or later was not found" in message
    assert "per-operation cancellation" in message


@pytest.mark.parametrize("system", ['ID=fedora\nVERSION_ID=40\n', 'ID=debian\nVERSION_ID="13"\n', ""])
def test_setup_on_another_system_lists_what_is_needed(tmp_path, system):
    release = tmp_path / "os-release"
    release.write_text(system)
    result = subprocess.run([ROOT / "tools" / "setup", "run"], capture_output=True, text=True,
                            env={**os.environ, "BATON_OS_RELEASE": str(release)})
    assert result.returncode == 2
    assert "Debian 12" in result.stdout and "libucx0" in result.stdout.split()


def test_setup_changes_nothing_where_nothing_is_missing():
    result = subprocess.run([ROOT / "tools" / "setup", "build"], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.strip() == "tools/setup: nothing is missing"
