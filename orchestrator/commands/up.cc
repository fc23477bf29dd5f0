#include "orchestrator/up/up.h"

#include <memory>

#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {

void add_up_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<UpOptions>();
  CLI::App* command = app.add_subcommand(
      "up", "Run a whole system on this machine: a router, prefill pods and decode pods");
  command->add_option("--model", options->model, "GGUF file; without it, a small made model")
      ->envname("BATON_MODEL")
      ->type_name("FILE");
  command->add_option("--prefill", options->prefill, "Prefill pods")
      ->envname("BATON_PREFILL")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--decode", options->decode, "Decode pods")
      ->envname("BATON_DECODE")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  CLI::Option* port =
      command->add_option("--port", options->port, "Port of the OpenAI API on loopback")
          ->envname("BATON_PORT")
          ->capture_default_str();
  CLI::Option* admin_port =
      command->add_option("--admin-port", options->admin_port, "Port of the admin API on loopback")
          ->envname("BATON_ADMIN_PORT")
          ->capture_default_str();
  command->add_option("--lora", options->loras, "LoRA adapter, as NAME=FILE; repeatable")
      ->type_name("NAME=FILE");
  command
      ->add_option("--transport", options->transport,
                   "How KV is moved: auto, shm, cma, tcp, ucx or nccl")
      ->check(CLI::IsMember(transport_choices()))
      ->capture_default_str();
  command->add_flag("--verbose", options->verbose, "Log more");
  command->add_flag("--demo", options->demo,
                    "Send a few requests, compare the answers with those of one pod, and stop");
  command->callback([options, port, admin_port, &exit_code] {
    // A demo is no service; it must not fail because something else has the usual ports.
    if (options->demo && port->count() == 0) options->port = 0;
    if (options->demo && admin_port->count() == 0) options->admin_port = 0;
    exit_code = run_up(*options);
  });
}

}  // namespace baton::orchestrator
