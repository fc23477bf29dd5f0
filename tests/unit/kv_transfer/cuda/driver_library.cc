// A library that has every function Baton wants of libcuda, each of which answers with its number.

#include "kv_transfer/cuda/driver_functions.h"

using baton::kv::cuda::Context;
using baton::kv::cuda::Device;
using baton::kv::cuda::DeviceAddress;
using baton::kv::cuda::Event;
using baton::kv::cuda::Function;
using baton::kv::cuda::Module;
using baton::kv::cuda::Status;
using baton::kv::cuda::Stream;

namespace {
enum Number : Status {
  kNone,
#define BATON_NUMBER(member, symbol, parameters) kNumber_##symbol,
  BATON_CUDA_DRIVER_FUNCTIONS(BATON_NUMBER)
};
}  // namespace

#pragma clang diagnostic ignored "-Wunused-parameter"
#define BATON_DEFINE(member, symbol, parameters) \
  extern "C" Status symbol parameters;           \
  extern "C" Status symbol parameters { return kNumber_##symbol; }
BATON_CUDA_DRIVER_FUNCTIONS(BATON_DEFINE)
