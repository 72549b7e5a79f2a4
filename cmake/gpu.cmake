# The CUDA part: shardproof::gpu and build/bin/gpu_test. Built where nvcc is found; without it the program says so when
# asked for a GPU. For sm_90a; SHARDPROOF_CUDA_ARCHITECTURES=80;90 and the like build the portable kernels for others.
option(SHARDPROOF_GPU "Build the CUDA part where nvcc is found" ON)
set(SHARDPROOF_CUDA_ARCHITECTURES "90a" CACHE STRING "compute capabilities to build kernels for, 90a first")
set(SHARDPROOF_CUTLASS_INCLUDE "${PROJECT_BINARY_DIR}/deps/cutlass/include" CACHE PATH "CUTLASS 4.2 headers")
set(SHARDPROOF_NCCL_INCLUDE "${PROJECT_BINARY_DIR}/deps/nccl/include" CACHE PATH "NCCL 2.32.3 headers, device API included")

if(NOT SHARDPROOF_GPU)
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER)
  find_program(nvcc nvcc PATHS /usr/local/cuda/bin)
  if(NOT nvcc)
    return()
  endif()
  set(CMAKE_CUDA_COMPILER ${nvcc})
endif()
set(CMAKE_CUDA_ARCHITECTURES OFF)  # by our own flags: sm_90a needs its own spelling
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
find_package(CUDAToolkit REQUIRED)
find_package(Threads REQUIRED)

file(GLOB_RECURSE gpu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/gpu/*.cpp ${PROJECT_SOURCE_DIR}/gpu/*.cu)
file(GLOB_RECURSE gpu_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/gpu/*_test.cpp ${PROJECT_SOURCE_DIR}/gpu/*_test.cu)
if(gpu_tests)
  list(REMOVE_ITEM gpu_sources ${gpu_tests})
endif()
if(NOT gpu_sources)
  return()
endif()

add_library(shardproof_gpu STATIC ${gpu_sources})
add_library(shardproof::gpu ALIAS shardproof_gpu)
target_include_directories(shardproof_gpu PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(shardproof_gpu PUBLIC shardproof::plan CUDA::cudart_static Threads::Threads ${CMAKE_DL_LIBS})
target_compile_definitions(shardproof_gpu PUBLIC SHARDPROOF_HAS_GPU=1)
# The warnings of the house are for our C++; of CUDA sources nvcc's own front end is the judge.
target_compile_options(shardproof_gpu PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:$<TARGET_PROPERTY:shardproof_flags,INTERFACE_COMPILE_OPTIONS>>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-unknown-pragmas,-Wno-unused-parameter
    --expt-relaxed-constexpr --extended-lambda -lineinfo>)
foreach(arch ${SHARDPROOF_CUDA_ARCHITECTURES})
  target_compile_options(shardproof_gpu PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_${arch},code=sm_${arch}>)
endforeach()

# ptxas tells of serialised wgmma in passing, and CUTLASS has it wherever its assertions are on: NDEBUG in every build, and
# a launcher that reads what ptxas said.
target_compile_definitions(shardproof_gpu PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:NDEBUG>)
set(cuda_launcher bash ${PROJECT_SOURCE_DIR}/cmake/no_serialized_wgmma.sh ${CMAKE_CUDA_COMPILER_LAUNCHER})
set_target_properties(shardproof_gpu PROPERTIES CUDA_COMPILER_LAUNCHER "${cuda_launcher}")
if(SHARDPROOF_TESTS)
  add_test(NAME serialized_wgmma_is_refused
    COMMAND bash ${PROJECT_SOURCE_DIR}/cmake/no_serialized_wgmma_test.sh ${CMAKE_CUDA_COMPILER})
endif()

if("90a" IN_LIST SHARDPROOF_CUDA_ARCHITECTURES AND EXISTS ${SHARDPROOF_CUTLASS_INCLUDE}/cutlass/cutlass.h)
  set(SHARDPROOF_HAS_CUTLASS 1)
  target_compile_definitions(shardproof_gpu PRIVATE SHARDPROOF_HAS_CUTLASS=1)
  target_include_directories(shardproof_gpu SYSTEM PRIVATE ${SHARDPROOF_CUTLASS_INCLUDE})
else()
  message(STATUS "no CUTLASS headers: the grouped GEMM is the portable one")
endif()
if(EXISTS ${SHARDPROOF_NCCL_INCLUDE}/nccl_device.h)
  set(SHARDPROOF_HAS_NCCL_DEVICE 1)
  target_compile_definitions(shardproof_gpu PRIVATE SHARDPROOF_HAS_NCCL_DEVICE=1)
  target_include_directories(shardproof_gpu SYSTEM PRIVATE ${SHARDPROOF_NCCL_INCLUDE})
else()
  message(STATUS "no NCCL 2.32.3 headers: no dispatcher by windows")
endif()
