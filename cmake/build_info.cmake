# Writes OUTPUT from INPUT with the commit that is checked out; run at every build, touches OUTPUT
# only when something changed.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --abbrev=12 --dirty --exclude=*
  OUTPUT_VARIABLE BATON_GIT_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
  RESULT_VARIABLE git_status)
if(NOT git_status EQUAL 0 OR BATON_GIT_COMMIT STREQUAL "")
  set(BATON_GIT_COMMIT unknown)
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
