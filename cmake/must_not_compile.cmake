# cmake -DCXX=COMPILER -DFILE=SOURCE -DROOT=DIR -P: SOURCE must compile, and must not with MUST_NOT_COMPILE defined; the
# compiler's message then matches the regular expression of its first line, "// expects: REGEX".
file(STRINGS ${FILE} first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expects: (.+)$")
  message(FATAL_ERROR "${FILE}: the first line must be '// expects: REGEX'")
endif()
set(expected "${CMAKE_MATCH_1}")
set(ENV{LC_ALL} C)  # plain quotes in messages
set(compile ${CXX} -std=c++20 -fsyntax-only -Wall -Wextra -I${ROOT} ${FILE})

execute_process(COMMAND ${compile} RESULT_VARIABLE result ERROR_VARIABLE errors)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${FILE}: must compile without its bad line:\n${errors}")
endif()
execute_process(COMMAND ${compile} -DMUST_NOT_COMPILE RESULT_VARIABLE result ERROR_VARIABLE errors)
if(result EQUAL 0)
  message(FATAL_ERROR "${FILE}: compiles with its bad line")
endif()
if(NOT errors MATCHES "${expected}")
  message(FATAL_ERROR "${FILE}: fails for another reason than '${expected}':\n${errors}")
endif()
