# Target baton_llama: libllama with its chat-template engine. Source: `vendor/llama.cpp` of the PyPI
# sdist llama-cpp-python, fetched by hash; or the tree that BATON_LLAMA_DIR names. Every build
# folder shares what is built once in BATON_DEPS_DIR.
set(BATON_LLAMA_VERSION 0.3.36)
set(deps_default ${CMAKE_SOURCE_DIR}/.deps)
if(DEFINED ENV{BATON_DEPS_DIR})
  set(deps_default $ENV{BATON_DEPS_DIR})
endif()
set(BATON_DEPS_DIR ${deps_default} CACHE PATH "Where third-party code is fetched to and built")
set(BATON_LLAMA_DIR ${BATON_DEPS_DIR}/llama.cpp-${BATON_LLAMA_VERSION} CACHE PATH
  "An unpacked llama.cpp source tree")

set(llama_bundle ${BATON_DEPS_DIR}/llama.cpp-${BATON_LLAMA_VERSION}-bundle)
file(SHA256 ${CMAKE_SOURCE_DIR}/cmake/llama_cpp/CMakeLists.txt llama_recipe)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/cmake/llama_cpp/CMakeLists.txt)
set(llama_stamp ${llama_bundle}/${llama_recipe}.stamp)
if(NOT EXISTS ${llama_stamp})
  message(STATUS "Building llama.cpp ${BATON_LLAMA_VERSION} (once; about 90 seconds on two cores)")
  if(NOT EXISTS ${BATON_LLAMA_DIR}/include/llama.h)
    execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/fetch_llama_cpp ${BATON_LLAMA_DIR}
      COMMAND_ERROR_IS_FATAL ANY)
  endif()
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${CMAKE_SOURCE_DIR}/cmake/llama_cpp -B ${llama_bundle}/build
      -G Ninja -DCMAKE_BUILD_TYPE=Release
      -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
      -DCMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER}
      -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
      -DLLAMA_SOURCE_DIR=${BATON_LLAMA_DIR} -DBUNDLE_DIR=${llama_bundle}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${llama_bundle}/build --target bundle
    COMMAND_ERROR_IS_FATAL ANY)
  file(TOUCH ${llama_stamp})
endif()

add_library(baton_llama INTERFACE)
target_include_directories(baton_llama SYSTEM INTERFACE ${llama_bundle}/include)
foreach(library llama-jinja llama ggml ggml-cpu ggml-base)
  target_link_libraries(baton_llama INTERFACE ${llama_bundle}/lib/lib${library}.a)
endforeach()
target_link_libraries(baton_llama INTERFACE ${llama_bundle}/lib/libggml-cpu.a
  ${llama_bundle}/lib/libggml-base.a Threads::Threads ${CMAKE_DL_LIBS} m)
