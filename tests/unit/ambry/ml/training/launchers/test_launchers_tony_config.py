"""What TonY 0.4.7 reads, and what it made of it as jobs ran with it on YARN 3.5.0 (../golden)."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training.bundle import ARCHIVE
from ambry.ml.training.jobs import named_job
from ambry.ml.training.launchers.tony_config import shares_files, tony_command, tony_xml, webs_of, yarn_xml
from tests.support import launcher_golden
from tests.unit.ambry.ml.training.test_training_jobs import JOB

GOLDEN = """\
<configuration>
<property><name>tony.application.name</name><value>digits &amp; more</value></property>
<property><name>tony.application.framework</name><value>pytorch</value></property>
<property><name>tony.application.security.enabled</name><value>false</value></property>
<property><name>tony.worker.instances</name><value>2</value></property>
<property><name>tony.worker.memory</name><value>4g</value></property>
<property><name>tony.am.memory</name><value>512m</value></property>
<property><name>tony.task.am.jvm.opts</name><value>-XX:+UseSerialGC -XX:TieredStopAtLevel=1</value></property>
<property><name>tony.task.executor.jvm.opts</name><value>-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1</value></property>
<property><name>tony.task.gpu-metrics.enabled</name><value>false</value></property>
<property><name>tony.am.retry-count</name><value>3</value></property>
<property><name>tony.application.fail-on-worker-failure-enabled</name><value>true</value></property>
<property><name>tony.history.location</name><value>/var/tony</value></property>
<property><name>tony.history.intermediate</name><value>/var/tony/intermediate</value></property>
<property><name>tony.history.finished</name><value>/var/tony/finished</value></property>
<property><name>tony.evaluator.instances</name><value>1</value></property>
</configuration>
"""


def test_a_job_is_configured_as_it_ran() -> None:
    job = named_job({**JOB, "job": "digits"})
    made = tony_xml(
        job,
        framework="torch",
        max_restarts=3,
        history=Path("/var/tony"),
        settings={
            "tony.worker.memory": "4g",
            "tony.evaluator.instances": "1",
            "tony.application.name": "digits & more",
        },
    )
    assert made == GOLDEN


TAKEN, FINAL = launcher_golden.read_golden()
_OF_TASKS = re.compile(r"tony\.[a-z]+\.(instances|memory|resources)")


@pytest.mark.parametrize("case", launcher_golden.TONY, ids=lambda case: case.name)
def test_tony_takes_every_setting_of_ours_as_it_was_meant(case: launcher_golden.Case) -> None:
    """Its client merges tony.xml into its defaults, and hands the whole to its master: nothing of ours is lost or unknown."""
    job = launcher_golden.job_of(case)
    made = ElementTree.fromstring(
        tony_xml(job, framework=case.framework, max_restarts=3, history=Path("/h"), settings=case.settings)
    )
    ours = {each.findtext("name") or "": each.findtext("value") or "" for each in made.iter("property")}
    defaults, final = FINAL[launcher_golden.DEFAULTS], FINAL[case.name]
    unknown = [name for name in ours if name not in defaults and not _OF_TASKS.fullmatch(name)]
    assert unknown == []
    differing = {name for name, value in ours.items() if {**defaults, **final}[name] != value}
    assert differing == {"tony.history.location", "tony.history.intermediate", "tony.history.finished"}, (
        "places of the run"
    )
    assert final["tony.containers.command"].endswith(f"python3 {ARCHIVE}")


def test_settings_of_somebody_else_and_other_frameworks_are_refused() -> None:
    job = named_job(JOB)
    with pytest.raises(InvalidRequest, match=r"'spark.x' is no setting of TonY"):
        tony_xml(job, framework="torch", max_restarts=0, history=Path("/h"), settings={"spark.x": "1"})
    with pytest.raises(InvalidRequest, match="there are torch, tensorflow"):
        tony_xml(job, framework="mxnet", max_restarts=0, history=Path("/h"), settings={})


@pytest.mark.parametrize(
    ("files", "shares"), [("", True), ("file:///", True), ("hdfs://nn:8020", False), (" hdfs://nn:8020 ", False)]
)
def test_nodes_see_the_files_of_this_machine_where_the_cluster_names_no_others(files: str, shares: bool) -> None:
    named = f"<property><name>fs.defaultFS</name><value>{files}</value></property>" if files else ""
    assert shares_files(f"<configuration>{named}</configuration>") is shares


def test_jars_go_to_every_container_beside_what_settings_send() -> None:
    def made(**settings: str) -> str:
        jars = [Path("/tony/a.jar"), Path("/tony/b.jar")]
        return tony_xml(
            named_job(JOB), framework="torch", max_restarts=0, history=Path("/h"), settings=settings, shipped=jars
        )

    name = "tony.containers.resources"
    assert f"<name>{name}</name><value>/tony/a.jar,/tony/b.jar</value>" in made()
    assert f"<name>{name}</name><value>/tony/a.jar,/tony/b.jar,hdfs:///data</value>" in made(**{name: "hdfs:///data"})


def test_containers_find_tony_unless_the_cluster_says_where() -> None:
    of_cluster = "<configuration><property><name>a.b</name><value> 1 </value></property></configuration>"
    made = yarn_xml(of_cluster, ["/conf", "/tony/*"])
    assert "<name>yarn.application.classpath</name><value>/conf,/tony/*</value>" in made
    assert "<name>a.b</name><value> 1 </value>" in made
    assert yarn_xml(made, ["/elsewhere"]) == made
    with pytest.raises(InvalidRequest, match="no configuration of Hadoop"):
        yarn_xml("<configuration>", [])


def test_the_client_is_started_with_the_bundle_as_its_sources() -> None:
    made = tony_command(
        java="/usr/bin/java",
        conf=Path("/job/conf"),
        jars=Path("/tony"),
        xml=Path("/job/tony.xml"),
        sources=Path("/job/src"),
        python="/usr/bin/python3",
    )
    assert " ".join(made) == (
        "/usr/bin/java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp /job/conf:/tony/* com.linkedin.tony.TonyClient "
        "-conf_file /job/tony.xml -src_dir /job/src -executes ambry-node.pyz -python_binary_path /usr/bin/python3"
    )


@pytest.mark.parametrize(
    ("said", "web"),
    [
        ({}, ""),
        ({"yarn.resourcemanager.hostname": " a "}, "http://a:8088"),
        ({"yarn.resourcemanager.hostname": "a", "yarn.http.policy": "HTTPS_ONLY"}, "https://a:8090"),
        ({"yarn.resourcemanager.hostname": "a", "yarn.resourcemanager.webapp.address": "b:1"}, "http://b:1"),
        ({"yarn.resourcemanager.webapp.address": "${yarn.resourcemanager.hostname}:1"}, ""),
        (
            {
                "yarn.resourcemanager.hostname": "a",
                "yarn.resourcemanager.webapp.address": "${yarn.resourcemanager.hostname}:1",
            },
            "http://a:1",
        ),
        ({"yarn.resourcemanager.webapp.address": "${env.HOST}:1"}, ""),
        (
            {
                "yarn.resourcemanager.ha.enabled": "true",
                "yarn.resourcemanager.ha.rm-ids": "rm1, rm2",
                "yarn.resourcemanager.hostname.rm1": "a",
            },
            "http://a:8088",
        ),
    ],
)
def test_where_yarn_answers_is_read_from_its_configuration(said: dict[str, str], web: str) -> None:
    properties = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>" for name, value in said.items()
    )
    assert webs_of(f"<configuration>{properties}</configuration>") == ((web,) if web else ())


def test_all_that_take_turns_are_known() -> None:
    """The first one alone was, whether it was active or not."""
    said = {"yarn.resourcemanager.ha.enabled": "true", "yarn.resourcemanager.ha.rm-ids": "rm1, rm2 ,rm3"}
    said |= {"yarn.resourcemanager.hostname.rm1": "a", "yarn.resourcemanager.webapp.address.rm3": "c:1"}
    properties = "".join(f"<property><name>{each}</name><value>{said[each]}</value></property>" for each in said)
    assert webs_of(f"<configuration>{properties}</configuration>".encode()) == ("http://a:8088", "http://c:1")
