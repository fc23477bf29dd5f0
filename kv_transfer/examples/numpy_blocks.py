#!/usr/bin/env python3
"""Moves numpy arrays from one process to another through Baton's C API. usage: numpy_blocks.py

Two processes, as two engines would be: the producer computes the KV of a prompt, block by block,
straight into the node's memory (a numpy array that *is* the slot, nothing is copied), and publishes
each block when it is done. The consumer receives them while the producer still computes, and sees
them as numpy arrays in its own node's memory.
"""
import ctypes
import json
import subprocess
import sys
from ctypes import byref, c_uint64

import numpy
from baton_kv import (BLOCK, RECEIVE_END, Block, Layout, LeaseOptions, Node, ReceiveOptions, Slot,
                      TransferId, call)

BLOCKS, BLOCK_TOKENS = 32, 16
SHAPE = (2, 4, BLOCK_TOKENS, 64)  # of a block: keys and values, heads, tokens, elements
DTYPE = numpy.float16
BLOCK_BYTES = int(numpy.prod(SHAPE)) * numpy.dtype(DTYPE).itemsize


def layout_hash():
    """Two nodes talk only if they agree on what the bytes mean."""
    layout = Layout(engine=b"numpy-example/1", model=b"none", key_type=b"f16", value_type=b"f16",
                    order=b"kv,head,token", layers=1, kv_heads=4, key_dim=64, value_dim=64,
                    block_tokens=BLOCK_TOKENS)
    number = c_uint64()
    call("layout_hash", byref(layout), byref(number))
    return number.value


def start(engine_id):
    return Node(engine_id=engine_id, layout_hash=layout_hash(), slot_bytes=BLOCK_BYTES,
                slots=BLOCKS)


def as_array(node, slot):
    """The slot's own memory as an array."""
    memory = (ctypes.c_uint8 * BLOCK_BYTES).from_address(node.address_of(slot))
    return numpy.frombuffer(memory, dtype=DTYPE).reshape(SHAPE)


def computed_kv(block):
    """What stands for prefill: both processes can compute it, so that the consumer can check."""
    return numpy.random.default_rng(block).standard_normal(SHAPE, dtype=numpy.float32).astype(DTYPE)


def produce():
    with start(b"producer") as node:
        transfer = TransferId()
        call("draw_transfer_id", byref(transfer))
        node.call("lease_open", transfer, byref(LeaseOptions(prompt_tokens=BLOCKS * BLOCK_TOKENS)))
        # What the router of a real system would carry to the consumer.
        print(json.dumps({"peer": node.address.decode(), "epoch": node.epoch,
                          "transfer": [transfer.high, transfer.low]}), flush=True)
        for i in range(BLOCKS):
            slot, block = Slot(), Block()
            node.call("slot_allocate", byref(slot))
            as_array(node, slot)[:] = computed_kv(i)
            node.call("describe_block", slot, BLOCK_BYTES, i * BLOCK_TOKENS, BLOCK_TOKENS,
                      byref(block))
            node.call("lease_publish", transfer, byref(block), 1)
            node.call("slot_free", slot)  # the lease keeps it until the consumer has it
        node.call("lease_seal", transfer)
        sys.stdin.read()  # until the consumer closes it


def consume(producer):
    facts = json.loads(producer.stdout.readline())
    with start(b"consumer") as node:
        receive = c_uint64()
        node.call("receive", byref(ReceiveOptions(
            peer=facts["peer"].encode(), engine_id=b"producer", epoch=facts["epoch"],
            transfer=TransferId(*facts["transfer"]), timeout_ms=10_000)), byref(receive))
        equal = 0
        while (event := node.next_event(timeout_ms=20_000)) is not None:
            if event.kind == BLOCK:
                array = as_array(node, event.block.slot)
                wanted = computed_kv(event.block.first_token // BLOCK_TOKENS)
                equal += numpy.array_equal(array, wanted)
                node.call("slot_unpin", event.block.slot)  # `array` is void from here on
                node.call("slot_free", event.block.slot)
            elif event.kind == RECEIVE_END:
                if event.status != 0:
                    raise SystemExit(f"the hand-off failed: {event.message.decode()}")
                print(f"{event.blocks} blocks, {event.bytes} bytes by {event.transport.decode()} "
                      f"in {event.seconds * 1e3:.1f} ms; {equal} equal what was sent")
                return 0 if equal == BLOCKS == event.blocks else 1
    raise SystemExit("no event came within 20 s")


def main():
    if sys.argv[1:] == ["produce"]:
        return produce()
    with subprocess.Popen([sys.executable, __file__, "produce"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as producer:
        return consume(producer)


if __name__ == "__main__":
    sys.exit(main())
