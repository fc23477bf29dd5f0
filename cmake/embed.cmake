# Writes OUTPUT, a C++ file that defines FUNCTION() as a std::string_view of INPUT's bytes. A part
# of INPUT that reads @@file@@ stands for that file, from INPUT's folder.
get_filename_component(folder ${INPUT} DIRECTORY)
file(READ ${INPUT} hex HEX)

file(STRINGS ${INPUT} lines REGEX "@@[a-z_.]+@@")
foreach(line IN LISTS lines)
  string(REGEX MATCH "@@([a-z_.]+)@@" mark "${line}")
  string(HEX "${mark}" mark_hex)
  file(READ ${folder}/${CMAKE_MATCH_1} part_hex HEX)
  string(REPLACE "${mark_hex}" "${part_hex}" hex "${hex}")
endforeach()

string(REGEX REPLACE "(::)?[a-z_]+$" "" namespace "${FUNCTION}")
string(REGEX REPLACE "^.*::" "" name "${FUNCTION}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
string(REGEX REPLACE "(......,......,......,......,......,......,......,......,......,......,......,......,)"
  "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <string_view>

namespace ${namespace} {
namespace {
constexpr char kBytes[] = {
${bytes}
};
}  // namespace
std::string_view ${name}();
std::string_view ${name}() { return {kBytes, sizeof(kBytes)}; }
}  // namespace ${namespace}
")
