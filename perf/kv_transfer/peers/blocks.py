"""What the peers' benchmarks share: blocks in random order, checked contents, one line of JSON for
each shape, as kv_link_bench prints it.

A peer's program runs as `PROGRAM REPETITIONS BLOCKSxBYTES...`.
"""
import json
import multiprocessing
import os
import random
import sys
import time

import numpy

ALIGNMENT = 64


class Shape:
    def __init__(self, text):
        self.blocks, self.bytes = map(int, text.split("x"))
        self.stride = -(-self.bytes // ALIGNMENT) * ALIGNMENT
        self.pool = self.blocks * self.stride

    def offsets(self, seed):
        order = list(range(self.blocks))
        random.Random(seed).shuffle(order)
        return [block * self.stride for block in order]


def pattern(size):
    """Bytes of which no two blocks are alike."""
    words = numpy.arange(-(-size // 8), dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    return words.view(numpy.uint8)[:size]


def same(shape, target, source):
    """Whether the target's blocks are the source's."""
    return all(numpy.array_equal(target[t:t + shape.bytes], source[s:s + shape.bytes])
               for t, s in zip(shape.offsets(2), shape.offsets(1)))


def main(name, serve, pull):
    """`serve(pipe, memory)` registers memory in another process, tells of it through the pipe and
    waits for a word; `pull(pipe, memory, shape)` gives a function that fetches all blocks once, or
    raises RuntimeError."""
    repetitions, shapes = int(sys.argv[1]), [Shape(text) for text in sys.argv[2:]]
    pool = max(shape.pool for shape in shapes)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=serve_pattern, args=(serve, theirs, pool), daemon=True)
    child.start()
    memory = numpy.zeros(pool, dtype=numpy.uint8)
    source = pattern(pool)
    prepare = pull(ours, memory)
    for shape in shapes:
        line = {"name": name, "blocks": shape.blocks, "bytes": shape.bytes}
        try:
            line |= measure(prepare(shape), repetitions)
            if not same(shape, memory, source):
                raise RuntimeError("the blocks that came are not those that were asked for")
        except RuntimeError as error:
            line["failed"] = str(error)
        print(json.dumps(line), flush=True)
        memory[:] = 0
    sys.stdout.flush()
    child.terminate()
    os._exit(0)  # the libraries' own threads do not end


def serve_pattern(serve, pipe, pool):
    memory = numpy.empty(pool, dtype=numpy.uint8)
    memory[:] = pattern(pool)
    serve(pipe, memory)


def measure(fetch, repetitions):
    seconds = []
    for _ in range(repetitions + 1):
        begun = time.perf_counter()
        fetch()
        seconds.append(time.perf_counter() - begun)
    return {"first": seconds[0], "seconds": seconds[1:]}
