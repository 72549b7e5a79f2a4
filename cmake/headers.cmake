# Every header compiles alone: one translation unit a header, part of `all`. The unit's path repeats the header's, so that
# the include-direction check knows whose dependencies it reads.
file(GLOB_RECURSE headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/oracle/*.hpp ${PROJECT_SOURCE_DIR}/sim/*.hpp ${PROJECT_SOURCE_DIR}/props/*.hpp
  ${PROJECT_SOURCE_DIR}/bench/*.hpp ${PROJECT_SOURCE_DIR}/reports/*.hpp)
if(TARGET shardproof_gpu)
  file(GLOB_RECURSE gpu_headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/gpu/*.hpp ${PROJECT_SOURCE_DIR}/gpu/*.cuh)
  list(APPEND headers ${gpu_headers})
else()
  # What stands on gpu/ needs CUDA's headers.
  list(FILTER headers EXCLUDE REGEX "^bench/gpu/")
  foreach(header ${headers})
    file(STRINGS ${PROJECT_SOURCE_DIR}/${header} of_gpu REGEX "#include (\"gpu/|<cuda)" LIMIT_COUNT 1)
    if(of_gpu)
      list(REMOVE_ITEM headers ${header})
    endif()
  endforeach()
endif()
set(header_units "")
foreach(header ${headers})
  set(header_unit ${PROJECT_BINARY_DIR}/headers/${header}.cpp)
  file(CONFIGURE OUTPUT ${header_unit} CONTENT "#include \"@header@\"\n" @ONLY)
  list(APPEND header_units ${header_unit})
endforeach()
add_library(shardproof_headers OBJECT ${header_units})
target_link_libraries(shardproof_headers PRIVATE shardproof_flags Eigen3::Eigen nlohmann_json::nlohmann_json
  CLI11::CLI11)
if(TARGET shardproof_gpu)
  target_link_libraries(shardproof_headers PRIVATE CUDA::cudart_static)
endif()
target_compile_options(shardproof_headers PRIVATE -O0 -g0)
