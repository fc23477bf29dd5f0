"""The part of kv_transfer/baton_kv.h that numpy_blocks.py needs, by ctypes alone.

Every struct is declared as the header has it. A call that fails raises KvError with the library's
own words. The library is BATON_KV_LIBRARY, else build/release/libbaton_kv.so, else an installed one.
"""
import ctypes
import os
import pathlib
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, \
    c_uint32, c_uint64, c_void_p, sizeof

BLOCK, RECEIVE_END, LEASE_END, SHORTAGE = 1, 2, 3, 4  # kinds of events
OK, NO_EVENT = 0, 12


class Slot(ctypes.Structure):
    _fields_ = [("generation", c_uint64), ("index", c_uint32), ("reserved", c_uint32)]


class TransferId(ctypes.Structure):
    _fields_ = [("high", c_uint64), ("low", c_uint64)]


class Block(ctypes.Structure):
    _fields_ = [("first_token", c_int64), ("slot", Slot), ("token_count", c_int32),
                ("bytes", c_uint32), ("checksum", c_uint64), ("content_hash", c_uint64),
                ("reserved", c_uint64 * 2)]


class Versioned(ctypes.Structure):
    """A struct that grows with the library: all zero but for its size, then what is given."""

    def __init__(self, **fields):
        super().__init__(struct_size=sizeof(self), **fields)


class NodeOptions(Versioned):
    _fields_ = [("struct_size", c_size_t), ("engine_id", c_char_p), ("listen", c_char_p),
                ("epoch", c_uint64), ("layout_hash", c_uint64), ("slot_bytes", c_uint64),
                ("slots", c_uint32), ("lease_events", c_uint32), ("transports", c_char_p),
                ("require_transport", c_char_p), ("ucx_tls", c_char_p), ("lease_ttl_ms", c_uint32),
                ("wait_for_open_ms", c_uint32), ("quarantine_ms", c_uint32),
                ("heartbeat_ms", c_uint32), ("connect_timeout_ms", c_uint32),
                ("tcp_connections", c_uint32), ("tls_certificate", c_char_p),
                ("tls_key", c_char_p), ("tls_ca", c_char_p)]


class LeaseOptions(Versioned):
    _fields_ = [("struct_size", c_size_t), ("prompt_tokens", c_int64), ("cached_tokens", c_int64)]


class ReceiveOptions(Versioned):
    _fields_ = [("struct_size", c_size_t), ("peer", c_char_p), ("engine_id", c_char_p),
                ("epoch", c_uint64), ("transfer", TransferId), ("from_token", c_int64),
                ("user_data", c_uint64), ("timeout_ms", c_uint32), ("priority", c_int32),
                ("slices", c_void_p), ("slice_count", c_size_t)]


class Event(Versioned):
    _fields_ = [("struct_size", c_size_t), ("kind", c_int32), ("status", c_int32),
                ("receive", c_uint64), ("user_data", c_uint64), ("transfer", TransferId),
                ("block", Block), ("bytes", c_uint64), ("blocks", c_uint32),
                ("held_blocks", c_uint32), ("seconds", c_double), ("exposed_seconds", c_double),
                ("prompt_tokens", c_int64), ("cached_tokens", c_int64), ("slots", c_uint32),
                ("retryable", c_uint32), ("transport", c_char * 16), ("message", c_char * 256)]


class Layout(Versioned):
    _fields_ = [("struct_size", c_size_t), ("engine", c_char_p), ("model", c_char_p),
                ("key_type", c_char_p), ("value_type", c_char_p), ("order", c_char_p),
                ("extra", c_char_p), ("flash_attention", c_uint32), ("unified", c_uint32),
                ("layers", c_int32), ("kv_heads", c_int32), ("key_dim", c_int32),
                ("value_dim", c_int32), ("block_tokens", c_int32), ("reserved", c_uint32)]


class KvError(Exception):
    """What the library says is wrong, and how to mend it."""


def _open():
    built = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "libbaton_kv.so"
    default = built if built.exists() else "libbaton_kv.so.1"
    return ctypes.CDLL(os.environ.get("BATON_KV_LIBRARY", str(default)))


library = _open()
_NODE, _SLOT, _ID = c_void_p, Slot, TransferId
for _name, _arguments in {
    "node_start": [POINTER(NodeOptions), POINTER(c_void_p)],
    "node_address": [_NODE, POINTER(c_char_p), POINTER(c_uint64)],
    "slot_allocate": [_NODE, POINTER(Slot)],
    "slot_free": [_NODE, _SLOT],
    "slot_unpin": [_NODE, _SLOT],
    "slot_address": [_NODE, _SLOT, POINTER(c_void_p)],
    "draw_transfer_id": [POINTER(TransferId)],
    "describe_block": [_NODE, _SLOT, c_uint32, c_int64, c_int32, POINTER(Block)],
    "lease_open": [_NODE, _ID, POINTER(LeaseOptions)],
    "lease_publish": [_NODE, _ID, POINTER(Block), c_size_t],
    "lease_seal": [_NODE, _ID],
    "receive": [_NODE, POINTER(ReceiveOptions), POINTER(c_uint64)],
    "next_event": [_NODE, POINTER(Event), c_int32],
    "event_fd": [_NODE, POINTER(c_int)],
    "layout_hash": [POINTER(Layout), POINTER(c_uint64)],
}.items():
    getattr(library, f"baton_kv_{_name}").argtypes = _arguments
library.baton_kv_last_error.restype = c_char_p
library.baton_kv_status_name.restype = c_char_p
library.baton_kv_node_free.argtypes = [_NODE]
library.baton_kv_node_free.restype = None


def call(name, *arguments):
    """Calls baton_kv_NAME; raises KvError unless it is OK."""
    status = getattr(library, f"baton_kv_{name}")(*arguments)
    if status != OK:
        words = library.baton_kv_last_error().decode(errors="replace")
        raise KvError(f"{library.baton_kv_status_name(status).decode()}: {words}")


class Node:
    """A node of this process; a `with` block ends it."""

    def __init__(self, **options):
        self.handle = c_void_p()
        call("node_start", byref(NodeOptions(**options)), byref(self.handle))
        address, epoch = c_char_p(), c_uint64()
        call("node_address", self.handle, byref(address), byref(epoch))
        self.address, self.epoch = address.value, epoch.value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        library.baton_kv_node_free(self.handle)

    def call(self, name, *arguments):
        call(name, self.handle, *arguments)

    def address_of(self, slot):
        address = c_void_p()
        self.call("slot_address", slot, byref(address))
        return address.value

    def next_event(self, timeout_ms):
        """The oldest event; None where none comes in time."""
        event = Event()
        status = library.baton_kv_next_event(self.handle, byref(event), timeout_ms)
        if status == NO_EVENT:
            return None
        if status != OK:
            raise KvError(library.baton_kv_last_error().decode(errors="replace"))
        return event
