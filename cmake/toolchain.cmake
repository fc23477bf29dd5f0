# Refuses what is known to fail, with the reason, and sets the flags of our own code.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR
    "GCC ${CMAKE_CXX_COMPILER_VERSION} miscompiles temporaries in co_await expressions (double "
    "free; tests/toolchain/coroutine_probe.cc shows it). Use clang 19, the reference compiler, or "
    "GCC 13 and later: cmake --preset release, or -DCMAKE_CXX_COMPILER=clang++-19.")
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  message(FATAL_ERROR
    "clang ${CMAKE_CXX_COMPILER_VERSION} lacks C++23 features that Baton uses. Use clang 19, the "
    "reference compiler: -DCMAKE_CXX_COMPILER=clang++-19.")
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  # What it has to overlook to keep files that were compiled with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM})
endif()

set(BATON_SANITIZE "" CACHE STRING "Sanitizers for our own code: address,undefined or thread")

# Flags of our own code alone: third-party code is compiled without them.
add_library(baton_flags INTERFACE)
target_compile_options(baton_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  -Wold-style-cast -Woverloaded-virtual -Wimplicit-fallthrough -Werror -fno-omit-frame-pointer)
target_compile_definitions(baton_flags INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY)
target_include_directories(baton_flags INTERFACE ${CMAKE_SOURCE_DIR})
option(BATON_FUZZ "Build the libFuzzer targets of tests/fuzz instead of the other tests" OFF)
if(BATON_SANITIZE)
  # Without optimisation ASan with UBSan compiles in half the time (12 minutes of CPU against 28), and
  # the tests take two minutes more. Threads and fuzzers need the speed.
  set(optimisation -O1)
  if(BATON_SANITIZE MATCHES address AND NOT BATON_FUZZ)
    set(optimisation -O0)
  endif()
  target_compile_options(baton_flags INTERFACE -fsanitize=${BATON_SANITIZE}
    -fno-sanitize-recover=all ${optimisation} -g1)
  target_link_options(baton_flags INTERFACE -fsanitize=${BATON_SANITIZE})
  # Frames recycled by Asio would hide errors from the sanitizers.
  target_compile_definitions(baton_flags INTERFACE BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
endif()
if(BATON_FUZZ)
  target_compile_options(baton_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
find_program(LLD_PROGRAM NAMES ld.lld-19 ld.lld)
if(LLD_PROGRAM AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_link_options(baton_flags INTERFACE --ld-path=${LLD_PROGRAM})
endif()
