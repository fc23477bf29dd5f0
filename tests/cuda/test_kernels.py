"""What nvcc made has code for every GPU that it is to run on; what cannot be fetched is said."""

import os
import pathlib
import re
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "cuda" / "kv_transfer"
PTX, ELF = 1, 2


def images():
    """The images of the fatbin: (kind, compute capability, bytes). A container has a header of 16
    bytes; each image one that says its kind, the lengths of itself and of what follows, and at 28
    the architecture."""
    data = (BUILT / "strided_copy.fatbin").read_bytes()
    magic, _, header, size = struct.unpack_from("<IHHQ", data)
    assert magic == 0xBA55ED50 and header + size == len(data)
    at = header
    while at < len(data):
        kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
        yield kind, struct.unpack_from("<I", data, at + 28)[0], data[at + header:at + header + size]
        at += header + size
    assert at == len(data)


def kernels():
    header = (ROOT / "kv_transfer" / "cuda" / "strided_copy.h").read_text()
    return re.findall(r"F\(\d+, [^)]*?(baton_\w+)\)", header)


def test_there_is_code_for_each_generation_and_ptx_for_the_next():
    found = [(kind, capability) for kind, capability, _ in images()]
    assert sorted(found) == [(PTX, 100), (ELF, 80), (ELF, 90), (ELF, 100)]


def test_each_has_every_kernel():
    assert len(kernels()) == 5
    for kind, capability, image in images():
        if kind == ELF:
            assert image.startswith(b"\x7fELF")
            for kernel in kernels():
                assert f".text.{kernel}\0".encode() in image, f"sm_{capability}: {kernel}"


def test_the_binary_carries_just_that():
    source = (BUILT / "strided_copy_fatbin.cc").read_text()
    carried = bytes(int(byte, 16) for byte in re.findall(r"'\\x(..)'", source))
    assert carried == (BUILT / "strided_copy.fatbin").read_bytes()


@pytest.mark.parametrize("wheels", ["cuda", "ucx"])
def test_wheels_that_cannot_be_had_are_a_failure_that_says_so(tmp_path, wheels):
    result = subprocess.run(
        [ROOT / "tools" / "fetch_wheels", ROOT / "tools" / "wheels" / f"{wheels}.txt",
         tmp_path / "deps" / wheels],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0",
             "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""})
    assert result.returncode == 1
    assert "pip could not fetch" in result.stderr and "PIP_INDEX_URL" in result.stderr
    assert list((tmp_path / "deps").iterdir()) == []
