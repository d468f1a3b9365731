"""A Ray cluster of two nodes on this machine: prints its address and the second raylet's process, ends with stdin."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="ray")  # short: paths of sockets have a limit
    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes the address of the cluster there, and makes no folder
    head = {**node, "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(**node)
        raylet = second.all_processes["raylet"][0].process.pid
        print(cluster.address, raylet, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
