#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton::orchestrator {

// Exit codes, beside 0.
inline constexpr int kFailed = 1;    // at run time
inline constexpr int kBadInput = 2;  // or a bad configuration

// Says on stderr what stopped `baton COMMAND`, and gives the exit code.
int complain(std::string_view command, const std::string& message, int exit_code = kBadInput);
int complain(std::string_view command, const Error& error);

// Each adds its subcommand to `app`; when that one was asked for, CLI11 runs it from parse() and it
// sets `exit_code`. An option comes from its flag, else from its BATON_… variable, else from the
// configuration file. One file each, named as the subcommand; the list that `baton --help` shows is
// in main.cc.
void add_serve_command(CLI::App& app, int& exit_code);
void add_up_command(CLI::App& app, int& exit_code);
void add_pod_command(CLI::App& app, int& exit_code);
void add_mock_command(CLI::App& app, int& exit_code);
void add_make_model_command(CLI::App& app, int& exit_code);
void add_check_command(CLI::App& app, int& exit_code);
void add_bench_command(CLI::App& app, int& exit_code);
void add_kv_perf_command(CLI::App& app, int& exit_code);
void add_simulate_command(CLI::App& app, int& exit_code);
void add_fit_profile_command(CLI::App& app, int& exit_code);
void add_explain_command(CLI::App& app, int& exit_code);

// Writes a result of `baton COMMAND` to a file, or to stdout where `path` is "-". False, and stderr
// says so, where that failed.
[[nodiscard]] bool write_result(std::string_view command, const std::string& path,
                                const std::string& text);

// What --transport of `pod` and `up` may be: auto, or one that is demanded.
[[nodiscard]] std::vector<std::string> transport_choices();

}  // namespace baton::orchestrator
