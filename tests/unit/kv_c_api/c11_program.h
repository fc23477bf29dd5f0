#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// 1: a block came over as it was; 0: it did not, and `why` (with room for `room` bytes) says why.
int c11_hand_off(char* why, size_t room);

#ifdef __cplusplus
}
#endif
