"""NIXL's UCX backend: one agent reads another's blocks. UCX_TLS says over what."""
import os

import blocks

os.environ.setdefault("UCX_TLS", "tcp")
os.environ.setdefault("UCX_LOG_LEVEL", "error")
os.environ.setdefault("NIXL_LOG_LEVEL", "ERROR")


def agent(name, memory):
    from nixl import nixl_agent, nixl_agent_config
    made = nixl_agent(name, nixl_agent_config(enable_prog_thread=True, backends=["UCX"]))
    made.register_memory([(memory.ctypes.data, memory.nbytes, 0, "")], "DRAM")
    return made


def serve(pipe, memory):
    holder = agent("producer", memory)
    pipe.send((holder.get_agent_metadata(), memory.ctypes.data))
    pipe.recv()


def pull(pipe, memory):
    metadata, remote = pipe.recv()
    reader = agent("consumer", memory)
    peer = reader.add_remote_agent(metadata)

    def prepare(shape):
        def descriptors(base, seed):
            return reader.get_xfer_descs(
                [(base + offset, shape.bytes, 0) for offset in shape.offsets(seed)], "DRAM")
        handle = reader.initialize_xfer("READ", descriptors(memory.ctypes.data, 2),
                                        descriptors(remote, 1), peer)

        def fetch():
            state = reader.transfer(handle)
            while state != "DONE":
                if state == "ERR":
                    raise RuntimeError("the transfer failed")
                state = reader.check_xfer_state(handle)
        return fetch
    return prepare


if __name__ == "__main__":
    over = "one host" if "cma" in os.environ["UCX_TLS"] else "tcp"
    blocks.main(f"NIXL ({over})", serve, pull)
