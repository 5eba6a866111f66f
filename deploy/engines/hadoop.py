"""Apache Hadoop: YARN (a ResourceManager and NodeManagers) and HDFS (a NameNode and a DataNode), each process on loopback."""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.directory_processes import none_outlives
from deploy.engines.jars import Tell, fetch
from deploy.engines.processes import EngineProcess, fetched, free_ports, holds, java, make_storage
from deploy.local_layout import HOST

NODE_MEMORY_MB = 6_144
NODE_CORES = 8
HEARTBEAT_MS = 250
"""How often a node tells of itself, and takes and gives back containers: of itself every second."""
IDLE_S = 3.0
"""Within this the containers of an application that has ended are gone, its master's too."""
EXPIRY_MS = 12_000
"""Within this the ResourceManager notes that a node is dead; of itself it waits for ten minutes."""
MASTER_EXPIRY_MS = 60_000
"""The same of a master whose node lives, which tells of its end at once: on a busy machine one may take so long to begin."""
AGAIN_MS = 5_000
"""Between two looks of a master or client for a ResourceManager that is gone, each of which takes 10 s of its own."""
LOOKS_MAX = 2
"""After the first one: 40 s in all, where it was killed with its command; of themselves they look for 20 minutes. TonY's master
(0.4.7) gives up its workers then, and stays.
"""
MASTERS_MAX = 20
"""How many an application may ask for, one after the other; one that does not ask has two."""
LOG4J = """\
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{2}: %m%n
"""
_YARN = "org.apache.hadoop.yarn.server"
_HDFS = "org.apache.hadoop.hdfs.server"


class YarnCluster:
    """A ResourceManager and the NodeManagers that it counts on. `conf` is what HADOOP_CONF_DIR is to be."""

    def __init__(
        self, directory: Path, jars: Path, *, files: str = "file:///", nodes: Sequence[Sequence[str]] = ((),)
    ) -> None:
        """`files` is where applications stage what they need, as HDFS or what all nodes share. `nodes` has for each NodeManager
        the command that becomes it, such as `unshare`; nothing where it is started by itself.
        """
        self.conf = directory / "conf"
        rm, scheduler, tracker, admin, web = free_ports(5)
        self.url = f"http://{HOST}:{web}"
        """Of the ResourceManager's pages and its REST API."""
        _write(self.conf, "capacity-scheduler", {
            "yarn.scheduler.capacity.root.queues": "default",
            "yarn.scheduler.capacity.root.default.capacity": 100,
            "yarn.scheduler.capacity.maximum-am-resource-percent": 0.8,
        })  # fmt: skip
        of_all = {
            "yarn.resourcemanager.hostname": HOST,
            "yarn.resourcemanager.bind-host": HOST,
            "yarn.resourcemanager.address": f"{HOST}:{rm}",
            "yarn.resourcemanager.scheduler.address": f"{HOST}:{scheduler}",
            "yarn.resourcemanager.resource-tracker.address": f"{HOST}:{tracker}",
            "yarn.resourcemanager.admin.address": f"{HOST}:{admin}",
            "yarn.resourcemanager.webapp.address": f"{HOST}:{web}",
            "yarn.resourcemanager.am.max-attempts": 2,
            "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": HEARTBEAT_MS,
            "yarn.resourcemanager.connect.max-wait.ms": LOOKS_MAX * AGAIN_MS,
            "yarn.resourcemanager.connect.retry-interval.ms": AGAIN_MS,
            "yarn.resourcemanager.am.global.max-attempts": MASTERS_MAX,
            "yarn.nm.liveness-monitor.expiry-interval-ms": EXPIRY_MS,
            "yarn.am.liveness-monitor.expiry-interval-ms": MASTER_EXPIRY_MS,
            "yarn.nodemanager.hostname": HOST,
            "yarn.nodemanager.bind-host": HOST,
            "yarn.nodemanager.resource.memory-mb": NODE_MEMORY_MB,
            "yarn.nodemanager.resource.cpu-vcores": NODE_CORES,
            "yarn.scheduler.minimum-allocation-mb": 128,
            "yarn.scheduler.maximum-allocation-mb": 4_096,
            "yarn.nodemanager.vmem-check-enabled": "false",
            # A disk over 90 % full makes a node unhealthy, and applications wait for ever without a word.
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": 100.0,
            "yarn.nodemanager.delete.debug-delay-sec": 600,
            "yarn.nodemanager.aux-services": "",
            "yarn.webapp.ui2.enable": "false",
            "yarn.node-attribute.fs-store.root-dir": (directory / "attributes").as_uri(),
        }  # fmt: skip
        _write(self.conf, "core-site", {"fs.defaultFS": files, "hadoop.tmp.dir": directory / "tmp"})
        _write(self.conf, "yarn-site", of_all)
        command = java(jars, f"{_YARN}.resourcemanager.ResourceManager", scratch=directory / "tmp", conf=self.conf)
        self.resource_manager = EngineProcess("resourcemanager", command, directory, self._answers)
        self._pages: dict[str, str] = {}
        self.places: list[Path] = []
        """Of each NodeManager, where containers work and write."""
        self.node_managers = tuple(
            self._node(directory, jars, files, of_all, number, within) for number, within in enumerate(nodes, 1)
        )

    def _node(
        self,
        directory: Path,
        jars: Path,
        files: str,
        of_all: Mapping[str, object],
        number: int,
        within: Sequence[str],
    ) -> EngineProcess:
        """A NodeManager with directories and a configuration of its own, as on another machine."""
        name = "nodemanager" if number == 1 else f"nodemanager-{number}"
        conf = directory / name / "conf"
        address, localizer, web = free_ports(3)
        _write(conf, "core-site", {"fs.defaultFS": files, "hadoop.tmp.dir": directory / name / "tmp"})
        home = directory / name / "home"  # Of itself YARN says /home to containers, where what they cache stays.
        home.mkdir(parents=True, exist_ok=True)
        _write(conf, "yarn-site", {
            **of_all,
            "yarn.nodemanager.address": f"{HOST}:{address}",
            "yarn.nodemanager.localizer.address": f"{HOST}:{localizer}",
            "yarn.nodemanager.webapp.address": f"{HOST}:{web}",
            "yarn.nodemanager.local-dirs": directory / name / "local",
            "yarn.nodemanager.user-home-dir": home,
            "yarn.nodemanager.log-dirs": directory / name / "logs",
        })  # fmt: skip
        self._pages[name] = f"http://{HOST}:{web}"
        self.places.append(directory / name)
        command = [
            *within,
            *java(jars, f"{_YARN}.nodemanager.NodeManager", scratch=directory / name / "tmp", conf=conf),
        ]
        return EngineProcess(name, command, directory, lambda: self._has_nodes(number))

    def end_nodes(self) -> None:
        """Kill the NodeManagers, once they have no containers or have had them for IDLE_S. One that is asked to end waits for
        10 s for logs that it would delete in three hours, and leaves a container that it just begins (3.5.0).
        """
        until = time.monotonic() + IDLE_S
        for node in self.node_managers:
            while node.pid is not None and not self._is_idle(node.name) and time.monotonic() < until:
                time.sleep(0.1)
            node.kill()

    def _is_idle(self, name: str) -> bool:
        return _is_idle(fetched(f"{self._pages[name]}/ws/v1/node/containers"))

    def _answers(self) -> bool:
        return bool(fetched(f"{self.url}/ws/v1/cluster/info"))

    def _has_nodes(self, count: int) -> bool:
        """Whether the ResourceManager counts on so many nodes: they run, are healthy, and their room is given out."""
        return _has_room(fetched(f"{self.url}/ws/v1/cluster/metrics"), count)


class HdfsCluster:
    """A NameNode and a DataNode. `url` is for Hadoop's clients, `web_address` for webhdfs."""

    def __init__(self, directory: Path, jars: Path) -> None:
        """Formats the NameNode where it was not. Raises EngineError."""
        self.conf = directory / "conf"
        rpc, web, data, data_ipc, data_web = free_ports(5)
        self.url = f"hdfs://{HOST}:{rpc}"
        self.web_address = f"{HOST}:{web}"
        _write(self.conf, "core-site", {"fs.defaultFS": self.url, "hadoop.tmp.dir": directory / "tmp"})
        _write(self.conf, "hdfs-site", {
            "dfs.namenode.name.dir": f"file://{directory / 'name'}",
            "dfs.datanode.data.dir": f"file://{directory / 'data'}",
            "dfs.namenode.http-address": self.web_address,
            "dfs.namenode.secondary.http-address": f"{HOST}:0",
            "dfs.datanode.address": f"{HOST}:{data}",
            "dfs.datanode.ipc.address": f"{HOST}:{data_ipc}",
            "dfs.datanode.http.address": f"{HOST}:{data_web}",
            "dfs.datanode.hostname": HOST,
            "dfs.client.use.datanode.hostname": "true",
            "dfs.replication": 1,
            "dfs.permissions.enabled": "false",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.datanode.du.reserved": 0,
        })  # fmt: skip
        name_node = java(jars, f"{_HDFS}.namenode.NameNode", scratch=directory / "tmp", conf=self.conf)
        if not (directory / "name" / "current").is_dir():
            make_storage("HDFS", [*name_node, "-format", "-force", "-nonInteractive"])
        beans = f"http://{self.web_address}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        self.name_node = EngineProcess("namenode", name_node, directory, lambda: "FSNamesystemState" in fetched(beans))
        data_node = java(jars, f"{_HDFS}.datanode.DataNode", scratch=directory / "tmp", conf=self.conf)
        self.data_node = EngineProcess("datanode", data_node, directory, lambda: _takes_files(fetched(beans)))


@contextlib.contextmanager
def yarn(
    directory: Path, tell: Tell, *, files: str = "file:///", nodes: Sequence[Sequence[str]] = ((),)
) -> Iterator[YarnCluster]:
    """A YARN that takes applications, of one node or, as YarnCluster has it, of several. Raises EngineError.

    No container outlives it, however it ends.
    """
    cluster = YarnCluster(directory, fetch("hadoop", tell), files=files, nodes=nodes)
    with contextlib.ExitStack() as running:
        running.enter_context(none_outlives(*cluster.places))
        for process in (cluster.resource_manager, *cluster.node_managers):
            running.enter_context(process)
        running.callback(cluster.end_nodes)
        yield cluster


@contextlib.contextmanager
def hdfs(directory: Path, tell: Tell) -> Iterator[HdfsCluster]:
    """An HDFS that takes files, in a directory of the caller's. Raises EngineError."""
    cluster = HdfsCluster(directory, fetch("hadoop", tell))
    with cluster.name_node, cluster.data_node:
        yield cluster


def _has_room(said: str, nodes: int) -> bool:
    """Of the metrics of a ResourceManager: a node that runs is counted a moment before its memory is."""

    def look(page: Any) -> bool:
        told = page["clusterMetrics"]
        room = int(told.get("availableMB", 0) + told.get("allocatedMB", 0))
        return bool(told.get("activeNodes", 0) >= nodes and room > (nodes - 1) * NODE_MEMORY_MB)

    return holds(look, said)


def _is_idle(said: str) -> bool:
    """Of a NodeManager that answers: no container runs on it, or is about to."""

    def look(page: Any) -> bool:
        containers = (page["containers"] or {}).get("container") or []
        told = containers if isinstance(containers, list) else [containers]
        return all(each.get("state") in ("COMPLETE", "DONE") for each in told)

    return holds(look, said)


def _takes_files(said: str) -> bool:
    """Whether the NameNode is out of safe mode and knows a place: a DataNode lives before it has told what room it has."""

    def look(page: Any) -> bool:
        bean = page["beans"][0]
        return bean.get("FSState") == "Operational" and int(bean.get("CapacityRemaining", 0)) > 0

    return holds(look, said)


def _write(conf: Path, name: str, properties: Mapping[str, object]) -> None:
    conf.mkdir(parents=True, exist_ok=True)
    lines = [
        f"<property><name>{key}</name><value>{html.escape(str(value))}</value></property>"
        for key, value in properties.items()
    ]
    text = "\n".join(["<configuration>", *lines, "</configuration>", ""])
    (conf / f"{name}.xml").write_text(text, "utf-8")
    (conf / "log4j.properties").write_text(LOG4J, "utf-8")
