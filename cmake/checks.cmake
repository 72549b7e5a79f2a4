# Checks of the sources themselves, as ctest tests: what must not compile, who includes whom, format, tracked files.

# Each file is compiled twice, with and without its bad line.
file(GLOB bad_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/*/must_not_compile/*.cpp
  ${PROJECT_SOURCE_DIR}/*/*/must_not_compile/*.cpp)
foreach(file ${bad_files})
  get_filename_component(name ${file} NAME_WE)
  add_test(NAME must_not_compile.${name} COMMAND ${CMAKE_COMMAND} -DCXX=${CMAKE_CXX_COMPILER} -DFILE=${file}
    -DROOT=${PROJECT_SOURCE_DIR} -P ${PROJECT_SOURCE_DIR}/cmake/must_not_compile.cmake)
endforeach()

function(shardproof_script_test name)
  add_test(NAME ${name} COMMAND bash ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
endfunction()

set(checks ${PROJECT_SOURCE_DIR}/cmake)
shardproof_script_test(include_direction ${checks}/include_direction.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
shardproof_script_test(include_direction.sees_planted_includes ${checks}/include_direction_test.sh)
shardproof_script_test(format ${checks}/format_check.sh)
shardproof_script_test(tracked_files ${checks}/tracked_files.sh)
get_target_property(eigen Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
shardproof_script_test(new_attention_is_refused ${checks}/new_attention.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR}
  ${eigen})
shardproof_script_test(records ${checks}/records_test.sh ${PROJECT_SOURCE_DIR})
shardproof_script_test(records.are_written_whole ${PROJECT_SOURCE_DIR}/reports/records/record_test.sh)
shardproof_script_test(fresh_machine.refuses_folders_of_others ${PROJECT_SOURCE_DIR}/.ci/fresh_machine_test.sh)
shardproof_script_test(compare.says_what_it_lacks ${PROJECT_SOURCE_DIR}/bench/peers/compare_test.sh)
