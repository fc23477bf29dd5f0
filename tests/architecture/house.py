"""The arrows of the house: which folder may include which, and the check of every #include."""

import pathlib
import re

# A folder of the house, and the folders that it may include beside itself. The longest prefix of a
# path decides which folder a file is in.
ARROWS = {
    "core": set(),
    "core/picking": {"core"},
    "core/engine_model": {"core", "core/picking"},
    "kv_transfer": {"core"},
    "prefill_router": {"core", "core/picking"},
    "decode_router": {"core", "core/picking"},
    "adapters/http": {"core"},
    "adapters/kv_events": {"core", "core/picking"},
    "adapters/engines": {"core", "core/picking", "adapters/http", "adapters/kv_events"},
    "adapters/engines/llama_cpp": {
        "core", "core/picking", "kv_transfer", "adapters/http", "adapters/engines"},
    "adapters/engines/mock": {
        "core", "core/picking", "core/engine_model", "adapters/http", "adapters/kv_events",
        "adapters/engines"},
    "adapters": {
        "core", "core/picking", "kv_transfer", "prefill_router", "decode_router", "adapters/http",
        "adapters/kv_events", "adapters/engines"},
    "orchestrator": {
        "core", "core/picking", "core/engine_model", "kv_transfer", "prefill_router",
        "decode_router", "adapters", "adapters/http", "adapters/kv_events", "adapters/engines",
        "adapters/engines/llama_cpp", "adapters/engines/mock"},
}

# Decisions are pure: these folders open no sockets and start no threads.
PURE = ("core", "core/picking", "core/engine_model", "prefill_router", "decode_router")
IMPURE_HEADERS = re.compile(
    r"^(boost/(asio|beast)\b.*|grpcpp/.*|sys/socket\.h|netinet/.*|thread|future|stop_token)$")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
GENERATED = re.compile(r"\.pb\.h$")


def folder_of(path):
    """The folder of the house that a path is in; None outside the house."""
    parts = pathlib.PurePosixPath(path).parts[:-1]
    for length in range(len(parts), 0, -1):
        prefix = "/".join(parts[:length])
        if prefix in ARROWS:
            return prefix
    return None


def violations_in(path, text):
    """What the includes of one file break, as lines `file:line: why`."""
    here = folder_of(path)
    found = []
    for match in INCLUDE.finditer(text):
        quoted, system = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        if system:
            if here in PURE and IMPURE_HEADERS.match(system):
                found.append(f"{path}:{line}: {here} does no I/O and starts no threads, "
                             f"but includes <{system}>")
            continue
        there = folder_of(quoted)
        if there is None:
            if not GENERATED.search(quoted):
                found.append(f'{path}:{line}: "{quoted}" is not written from the repository root')
        elif there != here and there not in ARROWS[here]:
            found.append(f"{path}:{line}: {here} must not include {there} ({quoted})")
    return found


def sources(root):
    """Every source file of the house under root, as paths from there."""
    tops = sorted({name.split("/")[0] for name in ARROWS})
    for top in tops:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu"):
                yield path.relative_to(root).as_posix()


def violations(root):
    found = []
    for path in sources(root):
        found += violations_in(path, (root / path).read_text(encoding="utf-8"))
    return found
