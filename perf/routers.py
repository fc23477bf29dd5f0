"""Starts the routers of others, in prefill/decode mode, before pods on loopback. `pods` has the ports
of each role; `venv` is the environment that `perf/peers routers` made. Each returns the process and
its port."""
import common


def start_sglang(processes, pods, venv, bootstrap_port=8998):
    port, prometheus = common.free_port(), common.free_port()
    argv = [f"{venv}/bin/python", "-m", "sglang_router.launch_router", "--pd-disaggregation",
            "--host", "127.0.0.1", "--port", port, "--policy", "cache_aware",
            "--prometheus-port", prometheus, "--log-level", "error", "--disable-health-check",
            "--max-concurrent-requests", "100000"]
    for pod in pods["prefill"]:
        argv += ["--prefill", f"http://127.0.0.1:{pod}", bootstrap_port]
    for pod in pods["decode"]:
        argv += ["--decode", f"http://127.0.0.1:{pod}"]
    child = processes.start(argv)
    common.wait_ready(port, "/health")
    return child, port


def start_vllm(processes, pods, venv, _bootstrap_port=None):
    port, prometheus = common.free_port(), common.free_port()
    argv = [f"{venv}/bin/vllm-router", "--vllm-pd-disaggregation", "--kv-connector", "nixl",
            "--host", "127.0.0.1", "--port", port, "--policy", "cache_aware",
            "--prometheus-port", prometheus, "--log-level", "error"]
    for pod in pods["prefill"]:
        argv += ["--prefill", f"http://127.0.0.1:{pod}"]
    for pod in pods["decode"]:
        argv += ["--decode", f"http://127.0.0.1:{pod}"]
    child = processes.start(argv)
    common.wait_ready(port, "/health")
    return child, port
