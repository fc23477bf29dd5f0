# Every target is one line in `make help`.
.DEFAULT_GOAL := help
BUILD := build/release
DEPS := $(abspath $(or $(BATON_DEPS_DIR),.deps))

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## Install, build and run two prefill and two decode pods on a few real requests
	@tools/setup build
	@tools/build release baton
	@$(BUILD)/baton up --demo

test: ## Install, build and run every test; ends with `N passed, N failed, N skipped`
	@tools/setup test
	@tests/run

soak: ## Run the long tests: pods killed in 5,000 requests and 100,000 hand-offs, long fuzzers
	@tools/setup test
	@tests/run --soak

test-vllm: ## Run the tests before real vLLM servers on CPU (installs about 5 GB once)
	@tools/setup test
	@tools/build release baton
	@tests/engines/run

test-gpu: ## Build with the CUDA kernels and run the tests that need a GPU
	@tools/setup test
	@tools/build cuda gpu_test
	@BATON_REQUIRE_GPU=1 build/cuda/tests/gpu/gpu_test

test-ucx: ## Build with UCX 1.22 (a PyPI wheel) and run the tests of the ucx transport
	@tools/setup test
	@tools/fetch_wheels tools/wheels/ucx.txt $(DEPS)/ucx-1.22
	@cmake --preset release -B build/ucx-1.22 -DBATON_UCX_ROOT=$(DEPS)/ucx-1.22/libucx > /dev/null
	@cmake --build build/ucx-1.22 --target kv_transfer_test
	@build/ucx-1.22/tests/unit/kv_transfer/kv_transfer_test --gtest_filter='*/ucx' --gtest_brief=1

build: ## Build everything in build/release
	@tools/setup build
	@tools/build release all

format: ## Format the sources in place
	@tools/setup test
	@git ls-files -z '*.h' '*.cc' '*.cu' | xargs -0 clang-format-19 -i

tidy: ## Run clang-tidy over all sources
	@tools/setup test
	@tools/tidy --all

bench: ## Measure everything (perf/run --list), results in perf/results/, and compare with the baseline
	@tools/setup bench
	@cmake --preset release -DBATON_BENCHMARKS=ON > /dev/null
	@cmake --build $(BUILD) --target baton benchmarks
	@perf/run --check

clean: ## Remove what was built; keeps the third-party code in .deps
	rm -rf build .venv tests/integration/javascript/node_modules

.PHONY: help demo test soak test-vllm test-gpu test-ucx build format tidy bench clean
