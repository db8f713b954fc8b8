"""A Ray cluster of two nodes with one CPU each, on this machine; it ends when standard input does, and each line of it
adds a node.

    python tests/two_nodes.py

prints its address. A process of its own, since Ray reads its settings from the environment when it is imported.
"""

import sys

from ray.cluster_utils import Cluster

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    try:
        cluster.add_node(**SMALL)
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.add_node(**SMALL)
    finally:
        cluster.shutdown()
