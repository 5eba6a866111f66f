"""Runs the local cluster of any checkout, this one or another, until stdin ends.

    python tests/bench/host.py DIRECTORY

with PYTHONPATH at that checkout, and with its Python. When all are ready it writes one line of JSON: the port of the frontend
and the pid of each process by name. It stands on nothing of this checkout, and on no more of the other than `LocalCluster` has
had from the start.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    # The directory of this script comes first, and has names of its own.
    sys.path.pop(0)
    from deploy.local_cluster import LocalCluster

    with LocalCluster(Path(sys.argv[1]), datacenters=1, port_base=0) as cluster:
        pids = {member.name: cluster.pid(member.name) for member in cluster.members}
        print(json.dumps({"port": cluster.frontends("dc1")[0].port, "pids": pids}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
