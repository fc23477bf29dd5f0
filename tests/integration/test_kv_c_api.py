"""libbaton_kv.so as others use it: from an installed copy, from C, and from Python by ctypes."""

import ctypes
import importlib
import os
import re
import subprocess
import sys

import pytest

from harness import BATON, ROOT

BUILD = BATON.parent
EXAMPLES = ROOT / "kv_transfer" / "examples"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror"]


def run(*command, **env):
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60,
                            stdin=subprocess.DEVNULL, env={**os.environ, **env})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--component", "baton_kv", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def library(installed):
    (found,) = [p for p in installed.rglob("libbaton_kv.so") if p.is_symlink()]
    return found


@pytest.fixture(scope="module")
def bindings():
    os.environ.setdefault("BATON_KV_LIBRARY", str(BUILD / "libbaton_kv.so"))
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("baton_kv")
    finally:
        sys.path.remove(str(EXAMPLES))


def test_numpy_blocks_move_between_two_processes():
    out = run(sys.executable, EXAMPLES / "numpy_blocks.py",
              BATON_KV_LIBRARY=str(BUILD / "libbaton_kv.so"))
    assert re.fullmatch(r"32 blocks, 524288 bytes by shm in [\d.]+ ms; 32 equal what was sent\n",
                        out), out


def test_a_program_is_built_against_what_is_installed(installed, library, tmp_path):
    program = tmp_path / "hand_off"
    run("cc", *STRICT, "-I", installed / "include", EXAMPLES / "hand_off.c", "-L", library.parent,
        "-lbaton_kv", "-o", program)
    out = run(program, LD_LIBRARY_PATH=str(library.parent))
    assert "262144 bytes by " in out
    assert [line[-1] for line in out.splitlines()[:4]] == list("abcd")


def test_nothing_but_the_api_is_to_be_seen(installed, library):
    symbols = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    header = (installed / "include" / "baton_kv.h").read_text()
    declared = set(re.findall(r"^BATON_KV_API .*?\b(baton_kv_\w+)\(", header, re.MULTILINE))
    assert len(declared) > 30
    assert symbols == declared
    abi = re.search(r"#define BATON_KV_ABI_VERSION (\d+)", header).group(1)
    assert f"[libbaton_kv.so.{abi}]" in run("readelf", "-d", library)


def test_the_header_is_good_c_and_good_cxx(installed, tmp_path):
    for name, compiler, flags in (("a.c", "cc", STRICT),
                                  ("a.cc", "c++", ["-std=c++11", *STRICT[1:]])):
        (tmp_path / name).write_text("#include <baton_kv.h>\nint main(void) { return 0; }\n")
        run(compiler, *flags, "-I", installed / "include", "-fsyntax-only", tmp_path / name)


def test_pythons_structs_are_those_of_the_header(installed, bindings, tmp_path):
    """Each field of the example's structs lies where the header has it."""
    names = {"Slot": "slot", "TransferId": "transfer_id", "Block": "block",
             "NodeOptions": "node_options", "LeaseOptions": "lease_options",
             "ReceiveOptions": "receive_options", "Event": "event", "Layout": "layout"}
    fields = [(ours, f"baton_kv_{theirs}", field[0]) for ours, theirs in names.items()
              for field in getattr(bindings, ours)._fields_]
    lines = [f'printf("%zu %zu\\n", offsetof({struct}, {field}), sizeof((({struct}*)0)->{field}));'
             for _, struct, field in fields]
    source = tmp_path / "offsets.c"
    source.write_text("#include <baton_kv.h>\n#include <stdio.h>\nint main(void) {\n"
                      + "\n".join(lines) + "\nreturn 0;\n}\n")
    run("cc", *STRICT, "-I", installed / "include", source, "-o", tmp_path / "offsets")
    there = [tuple(map(int, line.split())) for line in run(tmp_path / "offsets").splitlines()]
    here = [(getattr(getattr(bindings, ours), field).offset,
             getattr(getattr(bindings, ours), field).size) for ours, _, field in fields]
    assert [(*f, *h) for f, h in zip(fields, here)] == [(*f, *t) for f, t in zip(fields, there)]


def test_errors_reach_python_in_the_librarys_words(bindings):
    with pytest.raises(bindings.KvError, match="invalid_argument: .*engine_id is null"):
        bindings.Node(slot_bytes=4096, slots=4)
    with bindings.Node(engine_id=b"python", slot_bytes=4096, slots=4) as node:
        with pytest.raises(bindings.KvError, match="stale: slot 7 "):
            node.address_of(bindings.Slot(generation=1, index=7))
        fd = ctypes.c_int()
        node.call("event_fd", ctypes.byref(fd))
        assert fd.value > 2
        assert node.next_event(0) is None


def certificates(folder):
    """A CA of the test's own and a certificate that it signed: the TLS options of a node."""
    def key_and(name, *more):
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / f"{name}.key",
            "-subj", f"/CN={name}", "-days", "1", *more)

    key_and("ca", "-x509", "-out", folder / "ca.pem")
    key_and("pod", "-out", folder / "pod.csr")
    run("openssl", "x509", "-req", "-in", folder / "pod.csr", "-CA", folder / "ca.pem", "-CAkey",
        folder / "ca.key", "-CAcreateserial", "-days", "1", "-out", folder / "pod.pem")
    return {"tls_certificate": bytes(folder / "pod.pem"), "tls_key": bytes(folder / "pod.key"),
            "tls_ca": bytes(folder / "ca.pem")}


def test_tls_lets_in_who_has_a_certificate(bindings, tmp_path):
    tls = certificates(tmp_path)
    common = {"layout_hash": 1, "slot_bytes": 4096, "slots": 4, "transports": b"tcp"}
    transfer = bindings.TransferId(1, 2)

    def receive(node):
        bindings.call("receive", node.handle, ctypes.byref(bindings.ReceiveOptions(
            peer=producer.address, engine_id=b"producer", epoch=producer.epoch, transfer=transfer,
            timeout_ms=10_000)), ctypes.byref(ctypes.c_uint64()))
        event = node.next_event(20_000)
        assert event.kind == bindings.RECEIVE_END
        return event.status

    with bindings.Node(engine_id=b"producer", **common, **tls) as producer, \
            bindings.Node(engine_id=b"consumer", **common, **tls) as consumer, \
            bindings.Node(engine_id=b"stranger", **common) as stranger:
        assert receive(stranger) == 3, "a node without a certificate is refused (unavailable)"
        producer.call("lease_open", transfer, None)
        producer.call("lease_seal", transfer)
        assert receive(consumer) == bindings.OK
