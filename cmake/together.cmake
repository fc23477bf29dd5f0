# Two ways to compile less. Headers of others that most of our files read are compiled once, which takes
# two fifths off a cold build; tools/tidy reads files without them, so a missing include shows.
option(BATON_PRECOMPILE "Compile the headers that most files share once" ON)

# And under sanitizers alone, files of one folder are compiled together, six at a time: names that they
# keep to themselves have to differ. What ships is compiled file by file, where one file's names cannot
# change what the next one means.
function(baton_compile_together target)
  if(NOT BATON_SANITIZE)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    get_filename_component(folder ${source} DIRECTORY)
    string(MD5 id "${folder}")
    math(EXPR group "0${files_${id}} / 6")
    math(EXPR files_${id} "0${files_${id}} + 1")
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${id}_${group})
  endforeach()
endfunction()

set(shared_headers <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <cstdint> <cstring>
  <deque> <expected> <filesystem> <functional> <limits> <map> <memory> <mutex> <optional> <random>
  <ranges> <set> <span> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>
  <boost/asio/awaitable.hpp> <boost/asio/co_spawn.hpp> <boost/asio/io_context.hpp>
  <boost/asio/ip/tcp.hpp> <boost/asio/post.hpp> <boost/asio/steady_timer.hpp>
  <boost/asio/use_awaitable.hpp> <boost/unordered/unordered_flat_map.hpp>
  <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)

# baton_precompile(NAME [PIC] [DEPENDS …] [HEADERS …]): compiles the shared headers and some more, for
# baton_use_precompiled(). PIC: for objects that go into a shared library; clang tells them apart.
function(baton_precompile name)
  cmake_parse_arguments(ARG "PIC" "" "DEPENDS;HEADERS" ${ARGN})
  if(BATON_PRECOMPILE)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc "")
    add_library(${name} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
    target_link_libraries(${name} PRIVATE baton_flags fmt::fmt spdlog::spdlog Boost::headers
      nlohmann_json::nlohmann_json ${ARG_DEPENDS})
    target_precompile_headers(${name} PRIVATE ${shared_headers} ${ARG_HEADERS})
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ${ARG_PIC})
  endif()
endfunction()

function(baton_use_precompiled target name)
  if(BATON_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()

baton_precompile(baton_headers)
baton_precompile(baton_pic_headers PIC)
