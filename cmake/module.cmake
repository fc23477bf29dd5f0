# baton_module(NAME DEPENDS …): a static library of every .cc in this folder, and in
# the folders under it that have no CMakeLists.txt of their own.
function(baton_module name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB_RECURSE ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
    file(GLOB_RECURSE nested CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*/CMakeLists.txt)
    foreach(list_file ${nested})
      get_filename_component(dir ${list_file} DIRECTORY)
      list(FILTER ARG_SOURCES EXCLUDE REGEX "^${dir}/")
    endforeach()
  endif()
  if(NOT ARG_SOURCES)  # headers only
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE baton_flags ${ARG_DEPENDS})
    return()
  endif()
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC baton_flags ${ARG_DEPENDS})
endfunction()

# baton_unit_test(NAME [CONCURRENT] DEPENDS …): one GoogleTest program of every *_test.cc in this
# folder. CONCURRENT: it runs threads, so `make test` runs it under the thread sanitizer too.
function(baton_unit_test name)
  cmake_parse_arguments(ARG "CONCURRENT" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE baton_flags ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 120)
  add_dependencies(unit_tests ${name})
  file(APPEND ${CMAKE_BINARY_DIR}/unit_tests.txt "${CMAKE_CURRENT_BINARY_DIR}/${name}\n")
  if(ARG_CONCURRENT)
    add_dependencies(concurrent_tests ${name})
    file(APPEND ${CMAKE_BINARY_DIR}/concurrent_tests.txt "${CMAKE_CURRENT_BINARY_DIR}/${name}\n")
  endif()
endfunction()

# baton_fuzz_target(NAME DEPENDS …): the libFuzzer program NAME of NAME.cc in this folder.
function(baton_fuzz_target name)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  add_executable(${name} ${name}.cc)
  target_link_libraries(${name} PRIVATE baton_flags ${ARG_DEPENDS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers ${name})
  file(APPEND ${CMAKE_BINARY_DIR}/fuzzers.txt "${CMAKE_CURRENT_BINARY_DIR}/${name}\n")
endfunction()
