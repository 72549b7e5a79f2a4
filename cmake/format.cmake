# Targets to run by hand: `format` rewrites, `format-check` complains, `tidy` runs clang-tidy 19 over every source of the
# build (minutes on two cores, so no part of the test run).
add_custom_target(format COMMAND bash ${PROJECT_SOURCE_DIR}/cmake/format_check.sh -i VERBATIM)
add_custom_target(format-check COMMAND bash ${PROJECT_SOURCE_DIR}/cmake/format_check.sh VERBATIM)
find_program(SHARDPROOF_RUN_CLANG_TIDY NAMES run-clang-tidy-19)
find_program(SHARDPROOF_CLANG_TIDY NAMES clang-tidy-19)
if(SHARDPROOF_RUN_CLANG_TIDY AND SHARDPROOF_CLANG_TIDY)
  add_custom_target(tidy COMMAND ${SHARDPROOF_RUN_CLANG_TIDY} -quiet -clang-tidy-binary ${SHARDPROOF_CLANG_TIDY}
    -p ${PROJECT_BINARY_DIR} -extra-arg=-Wno-unknown-warning-option
    "^${PROJECT_SOURCE_DIR}/(oracle|sim|props|bench|reports)/.*\\.cpp$" VERBATIM USES_TERMINAL)
endif()
