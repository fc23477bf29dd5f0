# Target cuda_kernels: the fatbin of kv_transfer/cuda, which the library then carries, and the check
# of its driver declarations against cuda.h. nvcc is that of PyPI's wheels, fetched by hash into
# BATON_DEPS_DIR, or of the toolkit that BATON_CUDA_ROOT names. Nothing links CUDA: libcuda is opened
# at run time.
set(cuda_wheels ${BATON_DEPS_DIR}/cuda-13.5)
set(BATON_CUDA_ROOT ${cuda_wheels}/nvidia/cu13 CACHE PATH "A CUDA toolkit, 13 or later")
find_program(BATON_CUDA_HOST_COMPILER g++-12 DOC "nvcc's host compiler")
if(NOT BATON_CUDA_HOST_COMPILER)
  message(FATAL_ERROR
    "BATON_CUDA needs g++-12 as the host compiler of nvcc. Install the Debian package g++, or name "
    "another one that this nvcc takes: -DBATON_CUDA_HOST_COMPILER=PATH.")
endif()
if(BATON_CUDA_ROOT STREQUAL "${cuda_wheels}/nvidia/cu13")
  message(STATUS "Looking for nvcc (fetched once: 124 MiB)")
  execute_process(
    COMMAND ${CMAKE_SOURCE_DIR}/tools/fetch_wheels ${CMAKE_SOURCE_DIR}/tools/wheels/cuda.txt
      ${cuda_wheels}
    RESULT_VARIABLE fetched ERROR_VARIABLE why)
  if(NOT fetched EQUAL 0)
    message(FATAL_ERROR
      "BATON_CUDA is ON, but nvcc could not be had. Name an installed toolkit with "
      "-DBATON_CUDA_ROOT=DIR, or build without the kernels: -DBATON_CUDA=OFF.\n${why}")
  endif()
endif()
set(nvcc ${BATON_CUDA_ROOT}/bin/nvcc)
if(NOT EXISTS ${nvcc})
  message(FATAL_ERROR
    "BATON_CUDA_ROOT is ${BATON_CUDA_ROOT}, where there is no bin/nvcc. Name the folder of a CUDA "
    "toolkit, or leave it out and nvcc is fetched.")
endif()

set(cuda_sources ${CMAKE_SOURCE_DIR}/kv_transfer/cuda)
set(nvcc_compile ${nvcc} -std=c++17 -O3 -ccbin ${BATON_CUDA_HOST_COMPILER} -I ${CMAKE_SOURCE_DIR}
  -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror)
# Code for each generation of data-centre GPUs, and PTX for what comes after them.
set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/strided_copy.fatbin)
add_custom_command(OUTPUT ${fatbin}
  COMMAND ${nvcc_compile} -fatbin
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90
    -gencode arch=compute_100,code=sm_100 -gencode arch=compute_100,code=compute_100
    -o ${fatbin} ${cuda_sources}/strided_copy.cu
  DEPENDS ${cuda_sources}/strided_copy.cu ${cuda_sources}/strided_copy.h
  COMMENT "Compiling strided_copy.cu for sm_80, sm_90 and sm_100" VERBATIM)
set(checked ${CMAKE_CURRENT_BINARY_DIR}/driver_functions_check.o)
add_custom_command(OUTPUT ${checked}
  COMMAND ${nvcc_compile} -arch=sm_90 -c -o ${checked} ${cuda_sources}/driver_functions_check.cu
  DEPENDS ${cuda_sources}/driver_functions_check.cu ${cuda_sources}/driver_functions.h
  COMMENT "Holding driver_functions.h against cuda.h" VERBATIM)
set(embedded ${CMAKE_CURRENT_BINARY_DIR}/strided_copy_fatbin.cc)
add_custom_command(OUTPUT ${embedded}
  COMMAND ${CMAKE_COMMAND} -DINPUT=${fatbin} -DOUTPUT=${embedded}
    -DFUNCTION=baton::kv::cuda::strided_copy_fatbin -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${fatbin} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  COMMENT "Embedding strided_copy.fatbin" VERBATIM)
add_custom_target(cuda_kernels DEPENDS ${fatbin} ${checked} ${embedded})

target_sources(baton_kv_transfer PRIVATE ${embedded})
set_property(SOURCE cuda/kernels.cc APPEND PROPERTY COMPILE_DEFINITIONS BATON_CUDA)
add_dependencies(baton_kv_transfer cuda_kernels)
