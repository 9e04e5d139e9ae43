# ms_library(<folder> HEADERS ... [SOURCES ...] [DEPS ...] [PRIVATE_DEPS ...] [TESTS ...] [TEST_DEPS ...])
#
# One static library for one folder of src/: ms_library(query/sql ...) makes the target ms_query_sql,
# used by others as ms::query_sql. Headers go in a file set, so that `all_verify_interface_header_sets`
# compiles each of them alone. TESTS become one binary, run as the ctest unit/<folder>.
function(ms_library folder)
  cmake_parse_arguments(ARG "" "" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS;TESTS;TEST_DEPS" ${ARGN})
  string(REPLACE "/" "_" flat "${folder}")
  set(target "ms_${flat}")

  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(ms::${flat} ALIAS ${target})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/src"
                                  FILES ${ARG_HEADERS})
  target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  ms_warnings(${target})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON
                                             UNITY_BUILD_BATCH_SIZE 8)

  if(ARG_TESTS AND BUILD_TESTING)
    add_executable(${target}_test ${ARG_TESTS})
    target_link_libraries(${target}_test PRIVATE ${target} ${ARG_PRIVATE_DEPS} ${ARG_TEST_DEPS} GTest::gmock_main)
    ms_warnings(${target}_test)
    add_test(NAME unit/${folder} COMMAND ${target}_test --gtest_brief=1)
    set_tests_properties(unit/${folder} PROPERTIES LABELS unit TIMEOUT 300
                         ENVIRONMENT "MS_SOURCE_DIR=${PROJECT_SOURCE_DIR};MS_TEST_PROMISES_DIR=${PROJECT_BINARY_DIR}/promises")
  endif()
endfunction()

# The project's warnings; -Werror comes from the presets.
function(ms_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual
                                           -Wno-missing-field-initializers)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${target} PRIVATE -Wshadow -Wthread-safety)
  else()
    # g++ 12 takes MS_TRY in a lambda for a shadow and a coroutine's frame for a mismatched delete, and does
    # not take a cast to void for an answer that is left alone on purpose; what it takes for uninitialized is not.
    target_compile_options(${target} PRIVATE -Wno-mismatched-new-delete -Wno-unused-result
                           -Wno-maybe-uninitialized)
  endif()
endfunction()
