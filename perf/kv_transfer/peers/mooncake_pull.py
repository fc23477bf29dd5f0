"""Mooncake's transfer engine over TCP: one engine reads another's blocks."""
import os

import blocks

os.environ.setdefault("GLOG_minloglevel", "3")
os.environ.setdefault("MC_LOG_LEVEL", "ERROR")
os.environ.setdefault("MC_FORCE_TCP", "1")


def engine(memory):
    from mooncake.engine import TransferEngine
    made = TransferEngine()
    if made.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") != 0:
        raise SystemExit("Mooncake's engine did not start")
    if made.register_memory(memory.ctypes.data, memory.nbytes) != 0:
        raise SystemExit("Mooncake's engine did not take the memory")
    return made


def serve(pipe, memory):
    holder = engine(memory)
    pipe.send((holder.get_rpc_port(), memory.ctypes.data))
    pipe.recv()


def pull(pipe, memory):
    port, remote = pipe.recv()
    reader = engine(memory)

    def prepare(shape):
        ours = [memory.ctypes.data + offset for offset in shape.offsets(2)]
        theirs = [remote + offset for offset in shape.offsets(1)]
        sizes = [shape.bytes] * shape.blocks

        def fetch():
            code = reader.batch_transfer_sync_read(f"127.0.0.1:{port}", ours, theirs, sizes)
            if code != 0:
                raise RuntimeError(f"the transfer failed with {code}")
        return fetch
    return prepare


if __name__ == "__main__":
    blocks.main("Mooncake (tcp)", serve, pull)
