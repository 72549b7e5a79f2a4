# build/bin/NAME_bench for each bench/NAME_bench.cpp.
find_package(benchmark REQUIRED)

# Debian has Google Benchmark as a shared library only. A copy in build/lib, found by a relative run path, lets what was
# built here run where the package is not.
get_target_property(benchmark_type benchmark::benchmark TYPE)
if(benchmark_type STREQUAL "SHARED_LIBRARY")
  get_target_property(benchmark_file benchmark::benchmark LOCATION)
  get_target_property(benchmark_soname benchmark::benchmark IMPORTED_SONAME_NONE)
  if(NOT benchmark_soname)
    get_filename_component(benchmark_soname ${benchmark_file} NAME)
  endif()
  file(REAL_PATH ${benchmark_file} benchmark_file)
  configure_file(${benchmark_file} ${PROJECT_BINARY_DIR}/lib/${benchmark_soname} COPYONLY)
endif()

file(GLOB benches CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*_bench.cpp)
foreach(source ${benches})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE shardproof::reports shardproof_flags benchmark::benchmark)
  set_target_properties(${name} PROPERTIES BUILD_RPATH "\$ORIGIN/../lib")
endforeach()

# build/bin/NAME_bench for each bench/gpu/NAME_bench.cpp, with what they share.
if(TARGET shardproof_gpu)
  file(GLOB gpu_bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/gpu/*.cpp)
  set(gpu_benches ${gpu_bench_sources})
  list(FILTER gpu_benches INCLUDE REGEX "_bench\\.cpp$")
  list(FILTER gpu_bench_sources EXCLUDE REGEX "_bench\\.cpp$")
  foreach(source ${gpu_benches})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source} ${gpu_bench_sources})
    target_link_libraries(${name} PRIVATE shardproof::reports shardproof::gpu shardproof_flags)
  endforeach()
endif()
