"""What TonY reads, as text: its configuration, that of YARN with a class path, and the command of its client. Nothing is done.

TonY 0.4.7 is taken as it is. Its jars are those of `com.linkedin.tony:tony-core` with all that it needs, azkaban too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree  # nosec B405 # the configuration of the user's own Hadoop
from xml.sax.saxutils import escape  # nosec B406 # it writes

from ambry.errors import InvalidRequest
from ambry.ml.hadoop_xml import parse_hadoop, settings_of
from ambry.ml.training.bundle import ARCHIVE
from ambry.ml.training.jobs import TrainingJob

CLIENT = "com.linkedin.tony.TonyClient"
CLASS_PATH = "yarn.application.classpath"
RESOURCES = "tony.containers.resources"
UMASK = "fs.permissions.umask-mode"
_SHORT_LIVED = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Of each Java of a job: most of what it does is to begin."""
_FILES = ("fs.defaultFS", "fs.default.name")
_HOST = "yarn.resourcemanager.hostname"
FRAMEWORKS = {"torch": "pytorch", "tensorflow": "tensorflow"}
_SETTING = re.compile(r"tony\.[A-Za-z0-9.-]+")


def check_tony(framework: str, settings: Mapping[str, str]) -> None:
    """Raises InvalidRequest for a framework that TonY is not used with, and for settings that are not its own."""
    if framework not in FRAMEWORKS:
        raise InvalidRequest(f"{framework!r} is no framework; there are {', '.join(FRAMEWORKS)}")
    if wrong := [name for name in settings if not _SETTING.fullmatch(name)]:
        raise InvalidRequest(f"{wrong[0]!r} is no setting of TonY; they begin with tony.")


def tony_xml(
    job: TrainingJob,
    *,
    framework: str,
    max_restarts: int,
    history: Path,
    settings: Mapping[str, str],
    shipped: Sequence[Path] = (),
) -> str:
    """tony.xml of a job. `settings` come last: they say what ours do not, or otherwise. `shipped` are files of this machine for
    every container, beside what settings send: TonY stages them in the cluster's files, and has them first in class paths.

    Raises what `check_tony` does.
    """
    check_tony(framework, settings)
    told = {
        "tony.application.name": job.job,
        "tony.application.framework": FRAMEWORKS[framework],
        "tony.application.security.enabled": "false",
        "tony.worker.instances": str(job.workers),
        "tony.worker.memory": "2g",
        "tony.am.memory": "512m",
        "tony.task.am.jvm.opts": _SHORT_LIVED,
        "tony.task.executor.jvm.opts": f"-Xmx128m {_SHORT_LIVED}",
        "tony.task.gpu-metrics.enabled": "false",
        "tony.am.retry-count": str(max_restarts),
        # Without it a job in which worker 1 was killed ends SUCCEEDED.
        "tony.application.fail-on-worker-failure-enabled": "true",
        "tony.history.location": str(history),
        "tony.history.intermediate": str(history / "intermediate"),
        "tony.history.finished": str(history / "finished"),
        **settings,
    }
    if shipped:
        told[RESOURCES] = ",".join([*map(str, shipped), *filter(None, [told.get(RESOURCES)])])
    return _document(told)


def shares_files(core_of_cluster: str | bytes) -> bool:
    """Whether nodes see the files of this machine, by core-site.xml: no file system is named, or that which all mount.

    Raises InvalidRequest for what is no configuration of Hadoop.
    """
    told = settings_of(parse_hadoop("core-site.xml", core_of_cluster))
    return all(told[name].strip().startswith("file:") for name in _FILES if name in told)


def webs_of(yarn_of_cluster: str | bytes) -> tuple[str, ...]:
    """Where ResourceManagers answer, by yarn-site.xml, in its order; none where that does not say it.

    Raises InvalidRequest for what is no configuration of Hadoop.
    """
    told = {name: value.strip() for name, value in settings_of(parse_hadoop("yarn-site.xml", yarn_of_cluster)).items()}
    ids = (
        told.get("yarn.resourcemanager.ha.rm-ids", "") if told.get("yarn.resourcemanager.ha.enabled") == "true" else ""
    )
    ofs = [f".{each.strip()}" for each in ids.split(",") if each.strip()] or [""]
    return tuple(filter(None, (_web_of(told, of) for of in ofs)))


def _web_of(told: Mapping[str, str], of: str) -> str:
    """Where the ResourceManager of an id answers; empty where that is not said."""
    secure = told.get("yarn.http.policy") == "HTTPS_ONLY"
    host = told.get(f"{_HOST}{of}", "")
    address = told.get(f"yarn.resourcemanager.webapp.{'https.' if secure else ''}address{of}", "")
    if not address and host:
        address = f"{host}:{8090 if secure else 8088}"
    address = address.replace(f"${{{_HOST}}}", told.get(_HOST, ""))
    return "" if not address or address.startswith(":") or "$" in address else f"http{'s' * secure}://{address}"


def yarn_xml(of_cluster: str | bytes, class_path: Sequence[str]) -> str:
    """yarn-site.xml of a cluster, with where containers find the classes of TonY, unless the cluster says that itself.

    Raises InvalidRequest for what is no configuration of Hadoop.
    """
    told = settings_of(parse_hadoop("yarn-site.xml", of_cluster))
    told.setdefault(CLASS_PATH, ",".join(class_path))
    return _document(told)


def core_xml(of_cluster: str | bytes) -> str:
    """core-site.xml of a cluster, by which what TonY stages is its user's alone. Raises InvalidRequest."""
    root = parse_hadoop("core-site.xml", of_cluster)
    added = ElementTree.SubElement(root, "property")
    for name, text in (("name", UMASK), ("value", "077")):
        ElementTree.SubElement(added, name).text = text
    return ElementTree.tostring(root, encoding="unicode")


def tony_command(*, java: str, conf: Path, jars: Path, xml: Path, sources: Path, python: str) -> list[str]:
    """What submits a job and follows it."""
    return [
        *(java, "-Xmx256m", *_SHORT_LIVED.split(), "-cp", f"{conf}:{jars}/*", CLIENT),
        *("-conf_file", str(xml), "-src_dir", str(sources), "-executes", ARCHIVE, "-python_binary_path", python),
    ]


def _document(told: Mapping[str, str]) -> str:
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in told.items()
    ]
    return "\n".join(["<configuration>", *lines, "</configuration>"]) + "\n"
