// C API of Baton's KV transfer (libbaton_kv.so): KV blocks from the process that computed a prompt
// to the one that decodes, for engines in any language. docs/kv_c_api.md walks through it.
//
// Results. A function that can fail returns a baton_kv_status. When that is not BATON_KV_OK,
//   baton_kv_last_error() says in a sentence what is wrong and how to mend it, and nothing was done
//   or written, unless it is said otherwise. Null pointers, sizes that cannot be, unknown names and
//   stale slots are errors; only a node or a plan that was freed already cannot be noticed.
// Structs. One that begins with `struct_size` grows at its end from version to version: set all of
//   it to zero, then struct_size to its sizeof. Zero means the default. A shorter struct, of an
//   older header, gets defaults for the rest; a longer one, of a newer header, is refused. Structs
//   without it stand in arrays or are passed by value, and never change.
// Strings are UTF-8 and end with a zero byte. Those passed in are copied before the call returns.
// Threads. Any function may be called from any thread, at any time, but for the free functions,
//   which must be the last call with their object. Nothing blocks but what says so.
// Processes. A node does not survive fork(): start it afterwards.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BATON_KV_API __attribute__((visibility("default")))
#else
#define BATON_KV_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

// NOLINTBEGIN(readability-identifier-naming): the names of a C library

// Changes when a program that was built before has to be built again; it is the number of the
// library's soname.
#define BATON_KV_ABI_VERSION 1

typedef int32_t baton_kv_status;
enum {
  BATON_KV_OK = 0,
  BATON_KV_INVALID_ARGUMENT = 1,  // the call is wrong: mend the program
  BATON_KV_UNSUPPORTED = 2,       // the peer, its layout, its transports or this library cannot
  BATON_KV_UNAVAILABLE = 3,       // the peer cannot be reached or died, a port is in use
  BATON_KV_TIMEOUT = 4,           // a deadline passed
  BATON_KV_CANCELLED = 5,         // given up, by either side
  BATON_KV_STALE = 6,             // a slot, lease or epoch of another time was named
  BATON_KV_CORRUPT = 7,           // a block did not have its checksum
  BATON_KV_UPSTREAM = 8,          // the peer said what cannot be
  BATON_KV_INTERNAL = 9,          // a defect of the library, or what no other code says
  BATON_KV_NO_MEMORY = 10,
  BATON_KV_NO_SLOT = 11,   // every slot is used, or freed but still being read
  BATON_KV_NO_EVENT = 12,  // none came in time
  BATON_KV_STOPPED = 13    // baton_kv_node_stop() was called
};

// A name in lower case, as "stale"; "unknown" for a number that is none. Lives for ever.
BATON_KV_API const char* baton_kv_status_name(baton_kv_status status);
// What was wrong with this thread's last call that failed. Valid until its next one that fails.
BATON_KV_API const char* baton_kv_last_error(void);
// As "0.1.0". Lives for ever.
BATON_KV_API const char* baton_kv_version(void);

enum {
  BATON_KV_LOG_DEBUG = 0,
  BATON_KV_LOG_INFO = 1,
  BATON_KV_LOG_WARN = 2,  // the default
  BATON_KV_LOG_ERROR = 3
};
// From which level on the process's nodes write lines to standard error. Errors:
// INVALID_ARGUMENT, also once a node was started.
BATON_KV_API baton_kv_status baton_kv_set_log_level(int32_t level);

// ---- Node: one end of every hand-off of a process, with its memory and one thread of its own ----

typedef struct baton_kv_node baton_kv_node;

typedef struct baton_kv_node_options {
  size_t struct_size;
  const char*
      engine_id;         // required: what peers call this engine, 1 to 255 visible ASCII characters
  const char* listen;    // host:port for peers; null: 127.0.0.1:0. Port 0: a free one
  uint64_t epoch;        // another one at every start of the process; 0: one is drawn
  uint64_t layout_hash;  // of baton_kv_layout_hash() or baton_kv_shape_hash(); peers' must agree
  uint64_t slot_bytes;   // required: the largest block, less than 4 GiB
  uint32_t slots;        // required: 1 to 16777216, in memory taken at once
  uint32_t lease_events;          // not 0: BATON_KV_EVENT_LEASE_END comes, and has to be taken
  const char* transports;         // as "shm,tcp", the preferred first; null: shm,tcp,ucx. Only
                                  // where named: "cma" (processes of one host that trust each
                                  // other) and "nccl" (GPUs)
  const char* require_transport;  // a peer without this one is an error; null: any of the above
  const char* ucx_tls;            // UCX_TLS of transport ucx; null: tcp
  uint32_t lease_ttl_ms;          // how long a sealed lease waits for its reader; 0: 10000
  uint32_t wait_for_open_ms;      // how long a reader waits for the lease's opening; 0: 30000
  uint32_t quarantine_ms;         // longest wait for the reader of an aborted lease; 0: 3000
  uint32_t heartbeat_ms;          // three missed ones: the peer is lost; 0: 1000
  uint32_t connect_timeout_ms;    // of a handshake with a peer; 0: 3000
  uint32_t tcp_connections;       // to each peer that is read over tcp, 1 to 4; 0: 1
  // PEM files of the control service: both ends show a certificate that `tls_ca` has signed. All
  // three or none; null: no TLS, and whoever reaches the port may ask for a transfer that it knows.
  const char* tls_certificate;
  const char* tls_key;
  const char* tls_ca;
} baton_kv_node_options;

// Blocks while it takes the memory and tries the transports. On success *node is the caller's, to
// be given to baton_kv_node_free(). Errors: INVALID_ARGUMENT, UNAVAILABLE (no memory, port in use),
// UNSUPPORTED (a struct of a newer header, or a transport that this machine lacks and that is
// required or the only one).
BATON_KV_API baton_kv_status baton_kv_node_start(const baton_kv_node_options* options,
                                                 baton_kv_node** node);
// Ends every lease and receive and gives the memory back: slots' addresses are void afterwards, and
// calls with the node fail with BATON_KV_STOPPED. Events that nobody took stay to be taken. Blocks
// until the node's thread has ended. Harmless when done twice.
BATON_KV_API baton_kv_status baton_kv_node_stop(baton_kv_node* node);
// Stops it and gives it back; it must not be used by anybody any more. Null is ignored.
BATON_KV_API void baton_kv_node_free(baton_kv_node* node);

// What consumers need to know of a producer: its host:port and its epoch. The address lives as long
// as the node, also when it is stopped. Either pointer may be null.
BATON_KV_API baton_kv_status baton_kv_node_address(const baton_kv_node* node, const char** address,
                                                   uint64_t* epoch);
// The node's metrics in the Prometheus text format, ended by a zero byte: at most `capacity` bytes
// into `text`. *needed becomes what all of it takes, also where that is more than `capacity`, which
// is INVALID_ARGUMENT. `text` may be null where `capacity` is 0.
BATON_KV_API baton_kv_status baton_kv_node_metrics(baton_kv_node* node, char* text, size_t capacity,
                                                   size_t* needed);

// ---- Slots: the node's memory ----

// One use of one slot. A reference to an earlier use is stale, and never reaches the bytes of a
// later one.
typedef struct baton_kv_slot {
  uint64_t generation;  // 1 and up
  uint32_t index;
  uint32_t reserved;  // 0
} baton_kv_slot;

typedef struct baton_kv_slot_counts {
  size_t struct_size;
  uint32_t total;
  uint32_t used;         // allocated and not freed
  uint32_t pinned;       // part of `used` or of `quarantined`
  uint32_t quarantined;  // freed, but still pinned by somebody who may read them
} baton_kv_slot_counts;

// A slot that is now the caller's, contents undefined. Errors: NO_SLOT.
BATON_KV_API baton_kv_status baton_kv_slot_allocate(baton_kv_node* node, baton_kv_slot* slot);
// Gives a slot of the caller's up. While it is pinned, as by a lease, its bytes stay as they are;
// only then it is given out again. Errors: STALE (it is not the caller's any more).
BATON_KV_API baton_kv_status baton_kv_slot_free(baton_kv_node* node, baton_kv_slot slot);
// Pins count: as long as there is one, the bytes stay, even when the slot is freed. Errors: STALE.
BATON_KV_API baton_kv_status baton_kv_slot_pin(baton_kv_node* node, baton_kv_slot slot);
// Takes back one pin of the caller's, never one of a lease. Errors: STALE (the caller has none).
BATON_KV_API baton_kv_status baton_kv_slot_unpin(baton_kv_node* node, baton_kv_slot slot);
// Where a slot's bytes are: slot_bytes of them, until the slot is freed and unpinned. Write only to
// what you allocated, and only before it is published. Errors: STALE.
BATON_KV_API baton_kv_status baton_kv_slot_address(baton_kv_node* node, baton_kv_slot slot,
                                                   void** address);
BATON_KV_API baton_kv_status baton_kv_slot_counts_of(baton_kv_node* node,
                                                     baton_kv_slot_counts* counts);

// ---- Producer ----

// Names one hand-off. Knowing it is the right to read the blocks, so draw it and tell it only to
// the reader. All zero is no id.
typedef struct baton_kv_transfer_id {
  uint64_t high;
  uint64_t low;
} baton_kv_transfer_id;

// The KV of the tokens [first_token, first_token + token_count), in one slot.
typedef struct baton_kv_block {
  int64_t first_token;
  baton_kv_slot slot;
  int32_t token_count;    // at least 1
  uint32_t bytes;         // used of the slot, at least 1
  uint64_t checksum;      // baton_kv_checksum() of those bytes; 0: nobody verifies them
  uint64_t content_hash;  // of the tokens up to its end, for a cache to know it by; 0: none
  uint64_t reserved[2];   // 0
} baton_kv_block;

typedef struct baton_kv_lease_options {
  size_t struct_size;
  int64_t prompt_tokens;  // of the whole prompt; told to the reader
  int64_t cached_tokens;  // of it, those that the producer had not to compute; told to the reader
} baton_kv_lease_options;

// Random bits of the system's.
BATON_KV_API baton_kv_status baton_kv_draw_transfer_id(baton_kv_transfer_id* transfer);
// XXH3-64 of `size` bytes.
BATON_KV_API baton_kv_status baton_kv_checksum(const void* bytes, size_t size, uint64_t* checksum);
// Fills in *block for the first `bytes` bytes of a slot, with their checksum. Errors: STALE.
BATON_KV_API baton_kv_status baton_kv_describe_block(baton_kv_node* node, baton_kv_slot slot,
                                                     uint32_t bytes, int64_t first_token,
                                                     int32_t token_count, baton_kv_block* block);

// Each of these is in order after the ones before, by one thread. For a lease that has ended they
// do nothing and are BATON_KV_OK. `options` may be null.
BATON_KV_API baton_kv_status baton_kv_lease_open(baton_kv_node* node, baton_kv_transfer_id transfer,
                                                 const baton_kv_lease_options* options);
// Offers blocks to the reader. Their slots are pinned for the lease before this returns, so they
// may be freed at once. All or none. Errors: INVALID_ARGUMENT (a block that cannot be), STALE.
BATON_KV_API baton_kv_status baton_kv_lease_publish(baton_kv_node* node,
                                                    baton_kv_transfer_id transfer,
                                                    const baton_kv_block* blocks, size_t count);
// Every block has been published.
BATON_KV_API baton_kv_status baton_kv_lease_seal(baton_kv_node* node,
                                                 baton_kv_transfer_id transfer);
// Ends the lease as failed: the reader's event has `reason`, UNSUPPORTED to INTERNAL, and `message`
// (null: none).
BATON_KV_API baton_kv_status baton_kv_lease_abort(baton_kv_node* node,
                                                  baton_kv_transfer_id transfer,
                                                  baton_kv_status reason, const char* message);
// Nobody will fetch it any more.
BATON_KV_API baton_kv_status baton_kv_lease_release(baton_kv_node* node,
                                                    baton_kv_transfer_id transfer);

// ---- Consumer ----

// A part of a block: `count` chunks of `bytes`, the first at `offset`, each next one `stride` on.
typedef struct baton_kv_slice {
  uint32_t offset;
  uint32_t bytes;
  uint32_t stride;  // not used with one chunk
  uint32_t count;   // at least 1
} baton_kv_slice;

typedef struct baton_kv_receive_options {
  size_t struct_size;
  const char* peer;       // required: host:port of the producer
  const char* engine_id;  // required: of the producer
  uint64_t epoch;         // of the producer; another one is STALE
  baton_kv_transfer_id transfer;
  int64_t from_token;   // blocks that end at or before it are held already, and not fetched
  uint64_t user_data;   // comes back in each event
  uint32_t timeout_ms;  // of all of it; 0: 30000
  int32_t priority;     // of two that read from one peer, the larger one's blocks come first
  // What is wanted of each block, as baton_kv_plan_slices() says; it lands packed, and
  // `block.bytes` of its event are those. Null and 0: the whole block. At most 1024.
  const baton_kv_slice* slices;
  size_t slice_count;
} baton_kv_receive_options;

// Fetches a lease's blocks into slots of this node, each as it is published. Its events are
// BATON_KV_EVENT_BLOCK for each block, in any order, then one BATON_KV_EVENT_RECEIVE_END, whatever
// happens. *receive names it.
BATON_KV_API baton_kv_status baton_kv_receive(baton_kv_node* node,
                                              const baton_kv_receive_options* options,
                                              uint64_t* receive);
// BATON_KV_EVENT_RECEIVE_END with BATON_KV_CANCELLED follows, unless it had ended before. Errors:
// INVALID_ARGUMENT (no receive of this node had that number).
BATON_KV_API baton_kv_status baton_kv_cancel(baton_kv_node* node, uint64_t receive);

// ---- Events ----

enum {
  // A verified block is in `block.slot`, which is the caller's from now on, with one pin: unpin and
  // free it when it is done with, also where the receive fails later.
  BATON_KV_EVENT_BLOCK = 1,
  // A receive ended, as `status` says.
  BATON_KV_EVENT_RECEIVE_END = 2,
  // A lease ended: OK where its reader had it all or it was released.
  BATON_KV_EVENT_LEASE_END = 3,
  // Receives wait for `slots` slots: free some. Said once until it is taken.
  BATON_KV_EVENT_SHORTAGE = 4
};

typedef struct baton_kv_event {
  size_t struct_size;
  int32_t kind;
  baton_kv_status status;         // RECEIVE_END, LEASE_END
  uint64_t receive;               // BLOCK, RECEIVE_END
  uint64_t user_data;             // BLOCK, RECEIVE_END
  baton_kv_transfer_id transfer;  // BLOCK, RECEIVE_END, LEASE_END
  baton_kv_block block;           // BLOCK
  // RECEIVE_END, where the status is OK:
  uint64_t bytes;
  uint32_t blocks;
  uint32_t held_blocks;    // not fetched, since they end before from_token
  double seconds;          // from baton_kv_receive() to the last block
  double exposed_seconds;  // of them, those after the lease was sealed
  int64_t prompt_tokens;   // as the producer opened the lease
  int64_t cached_tokens;
  uint32_t slots;      // SHORTAGE
  uint32_t retryable;  // not 0: trying again, or another peer, may succeed
  char transport[16];  // RECEIVE_END
  char message[256];   // where the status is not OK; cut where it is longer
} baton_kv_event;

// The oldest event. Waits for one: 0: not at all, below 0: without end. Blocks so long. Errors:
// NO_EVENT, STOPPED (and there are no more).
BATON_KV_API baton_kv_status baton_kv_next_event(baton_kv_node* node, baton_kv_event* event,
                                                 int32_t timeout_ms);
// A file descriptor that is readable while there are events, for poll(), epoll, asyncio or another
// loop: then call baton_kv_next_event() with 0 until it says NO_EVENT. Do not read from it or close
// it; it is the node's until that is freed.
BATON_KV_API baton_kv_status baton_kv_event_fd(baton_kv_node* node, int* fd);

// ---- Layouts ----

// How KV lies in a block whose bytes only engines of one kind understand.
typedef struct baton_kv_layout {
  size_t struct_size;
  const char* engine;  // format of a block's bytes, with version, as "myengine/3"; null: ""
  const char* model;   // fingerprint of the weights
  const char* key_type;
  const char* value_type;
  const char* order;         // how layers, K and V, heads and tokens nest
  const char* extra;         // whatever else must agree
  uint32_t flash_attention;  // 0 or 1, as the next
  uint32_t unified;
  int32_t layers;
  int32_t kv_heads;
  int32_t key_dim;
  int32_t value_dim;
  int32_t block_tokens;
  uint32_t reserved;  // 0
} baton_kv_layout;

// For baton_kv_node_options.layout_hash; never 0.
BATON_KV_API baton_kv_status baton_kv_layout_hash(const baton_kv_layout* layout, uint64_t* hash);

// One part of a token's KV in a layer: keys, values, an MLA latent, scales.
typedef struct baton_kv_part {
  const char* name;    // as "k"
  uint32_t row_bytes;  // of one token and head
  uint32_t reserved;   // 0
} baton_kv_part;

// What engines must have in common to exchange KV, however each lays it out.
typedef struct baton_kv_shape {
  size_t struct_size;
  const char* model;  // fingerprint of the weights
  const char* dtype;  // element type, as "bf16"
  int32_t layers;
  int32_t kv_heads;  // 1 where all heads share a latent
  const baton_kv_part* parts;
  size_t part_count;
} baton_kv_shape;

BATON_KV_API baton_kv_status baton_kv_shape_hash(const baton_kv_shape* shape, uint64_t* hash);

// Where the row of part p, layer l, block b, head h and token t, each counted from the rank's
// first, begins: in region `region` (+ l with region_per_layer) at
//   offset + l * layer_stride + b * block_stride + h * head_stride + t * token_stride   bytes.
typedef struct baton_kv_placement {
  uint32_t region;            // a number of the caller's for a piece of memory
  uint32_t region_per_layer;  // 0 or 1
  uint64_t offset;
  uint64_t layer_stride;  // not used with region_per_layer
  uint64_t block_stride;
  uint64_t head_stride;
  uint64_t token_stride;
} baton_kv_placement;

// One rank's share of the KV.
typedef struct baton_kv_paged_layout {
  size_t struct_size;
  const baton_kv_shape* shape;
  int32_t first_layer;  // of the model's, that this rank has (pipeline parallelism)
  int32_t layer_count;
  int32_t first_head;  // likewise (tensor parallelism); ranks beyond the heads hold replicas
  int32_t head_count;
  int32_t block_tokens;
  int32_t reserved;                      // 0
  const baton_kv_placement* placements;  // shape->part_count of them
} baton_kv_paged_layout;

enum { BATON_KV_NHD = 0, BATON_KV_HND = 1 };  // of a block: token, head or head, token
enum {
  BATON_KV_PARTS_APART = 0,     // [part, block, ...], as vLLM's FlashAttention
  BATON_KV_PARTS_PER_BLOCK = 1  // [block, part, ...], as vLLM's FlashInfer
};
typedef struct baton_kv_dense_options {
  size_t struct_size;
  uint32_t blocks;      // that the rank's memory has
  int32_t token_order;  // BATON_KV_NHD or BATON_KV_HND
  int32_t part_order;
  uint32_t one_region;  // 0: a region for each layer, from number 0 on; 1: region 0 has them all
} baton_kv_dense_options;

// The placements of a rank that packs its blocks densely: shape->part_count of them, into
// `placements`. `layout` says everything but its placements, which may be null. *region_bytes
// (or null) becomes the size of one region.
BATON_KV_API baton_kv_status baton_kv_dense_placements(const baton_kv_paged_layout* layout,
                                                       const baton_kv_dense_options* how,
                                                       baton_kv_placement* placements,
                                                       uint64_t* region_bytes);

// ---- Copies between ranks of unlike layouts ----

// What a rank with these layers and heads asks for of a peer that has a block in each slot, laid
// out as `slot` says (block 0, region 0, offsets from the slot's beginning): all of both, and no
// byte more. At most `capacity` slices into `slices`; *count becomes how many there are, also where
// there is no room for them, which is INVALID_ARGUMENT. `landed` (or null) becomes the placements,
// slot->shape->part_count of them, of what arrives: packed, block 0 of region 0, tokens and heads
// in `token_order` (the slot's own takes the fewest slices). From there baton_kv_plan_copy() takes
// it to the engine's pages. Errors: INVALID_ARGUMENT (a bad layout, nothing in common), UNSUPPORTED
// (more than 1024 slices, or a slot beyond 4 GiB: fetch whole blocks).
BATON_KV_API baton_kv_status baton_kv_plan_slices(const baton_kv_paged_layout* slot,
                                                  int32_t first_layer, int32_t layer_count,
                                                  int32_t first_head, int32_t head_count,
                                                  int32_t token_order, baton_kv_slice* slices,
                                                  size_t capacity, size_t* count,
                                                  baton_kv_placement* landed);

// A rank's layout and the blocks in which a sequence lies there: block i holds the tokens
// [i * block_tokens, (i + 1) * block_tokens).
typedef struct baton_kv_holder {
  const baton_kv_paged_layout* layout;
  const uint32_t* blocks;
  size_t block_count;
} baton_kv_holder;

// `count` chunks of `bytes` each, at equal distances on both sides.
typedef struct baton_kv_run {
  uint32_t holder;  // which of the sources
  uint32_t source_region;
  uint32_t target_region;
  uint32_t reserved;
  uint64_t source;  // offset of the first chunk in its region
  uint64_t target;
  uint64_t bytes;
  uint64_t source_stride;  // 0 where there is one chunk
  uint64_t target_stride;
  uint64_t count;
} baton_kv_run;

typedef struct baton_kv_plan baton_kv_plan;

// What the target rank copies from which source for the tokens [first_token, end_token): every byte
// of its share once and no other. Heads that several sources hold are read from one of them, the
// `turn`th in turn: give the target ranks turns 0, 1, ... and they spread over the replicas. On
// success *plan is the caller's, to be given to baton_kv_plan_free(). Pure computing, of a time
// that grows with the runs. Errors: UNSUPPORTED (shapes that differ), INVALID_ARGUMENT (a bad
// layout, too few blocks, a head or a layer that nobody holds).
BATON_KV_API baton_kv_status baton_kv_plan_copy(const baton_kv_holder* sources, size_t source_count,
                                                const baton_kv_holder* target, int64_t first_token,
                                                int64_t end_token, size_t turn,
                                                baton_kv_plan** plan);
// The runs, by source. They are the plan's, and live as long as it.
BATON_KV_API baton_kv_status baton_kv_plan_runs(const baton_kv_plan* plan,
                                                const baton_kv_run** runs, size_t* count);
BATON_KV_API void baton_kv_plan_free(baton_kv_plan* plan);  // null is ignored

// ---- Copies on a GPU: paged KV to and from contiguous staging, heads cut out, NHD to HND ----

// A GPU and what its copies need. It has a stream of its own in the device's primary context, which
// it shares with the engine, and leaves the context of the caller's thread as it is.
typedef struct baton_kv_copier baton_kv_copier;

typedef struct baton_kv_copier_options {
  size_t struct_size;
  int32_t device;        // CUDA's ordinal
  uint32_t most_blocks;  // of threads, in a launch; 0: as many as the GPU runs at once
} baton_kv_copier_options;

// `options` may be null. On success *copier is the caller's, to be given to
// baton_kv_copier_free(). Errors: UNSUPPORTED (no kernels in this library, no driver, no GPU, one
// that the kernels do not run on), INVALID_ARGUMENT (no such device), UNAVAILABLE (the driver's).
BATON_KV_API baton_kv_status baton_kv_copier_create(const baton_kv_copier_options* options,
                                                    baton_kv_copier** copier);
// Waits for the copies under way, and gives it back. Null is ignored.
BATON_KV_API void baton_kv_copier_free(baton_kv_copier* copier);

// Memory that the GPU reaches: its own, or pinned memory of the host.
typedef struct baton_kv_region {
  uint64_t address;
  uint64_t bytes;
} baton_kv_region;

typedef struct baton_kv_copy {
  size_t struct_size;
  const baton_kv_run* runs;  // of baton_kv_plan_runs(), those of one holder
  size_t run_count;
  const baton_kv_region* sources;  // by the numbers that the runs have, likewise `targets`
  size_t source_count;
  const baton_kv_region* targets;
  size_t target_count;
  void* after;  // a CUevent behind which it begins; null: at once
} baton_kv_copy;

// Starts a copy and returns. *ticket names it; copies of one copier end in the order of their
// tickets. The memory must stay until it has ended; all else may go. Blocks while 32 copies are
// under way, and while another thread waits. Errors: INVALID_ARGUMENT (a run that is not within
// its regions; nothing was done), UNAVAILABLE (the driver's; nothing goes on, unless the message
// says that waiting failed too).
BATON_KV_API baton_kv_status baton_kv_copier_begin(baton_kv_copier* copier,
                                                   const baton_kv_copy* copy, uint64_t* ticket);
// *is_done becomes 1 when the copy has ended, 0 before. Blocks while another thread waits, as
// hold().
BATON_KV_API baton_kv_status baton_kv_copier_poll(baton_kv_copier* copier, uint64_t ticket,
                                                  int32_t* is_done);
// Blocks until it has ended.
BATON_KV_API baton_kv_status baton_kv_copier_wait(baton_kv_copier* copier, uint64_t ticket);
// What is given to `stream`, a CUstream (null: the default one), from now on begins after the copy.
BATON_KV_API baton_kv_status baton_kv_copier_hold(baton_kv_copier* copier, uint64_t ticket,
                                                  void* stream);

// NOLINTEND(readability-identifier-naming)

#ifdef __cplusplus
}
#endif
