// Opened by nccl_library_test.cc: an NCCL that is too old, or one that lacks functions.
extern "C" {
int ncclGetVersion(int* version) {
  *version = 2708;  // 2.7.8, in the coding of its time
  return 0;
}
const char* ncclGetErrorString(int) { return "none"; }
int ncclGetUniqueId(void*) { return 0; }
int ncclSend() { return 0; }
#ifdef NCCL_OLD
int ncclCommInitRankConfig() { return 0; }
int ncclCommGetAsyncError() { return 0; }
int ncclRecv() { return 0; }
int ncclCommAbort() { return 0; }
#endif
}
