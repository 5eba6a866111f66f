"""What is installed, by whom, and what is said where it cannot be; apt-get and sudo are scripts that write down their words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import system_packages
from tools.system_packages import main


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a shell and nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system_packages, "SERVERS", tmp_path / "servers")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def program(machine: Path, name: str, does: str = "exit 0") -> None:
    (machine / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {machine}/log\n{does}\n')
    (machine / name).chmod(0o755)


def ran(machine: Path) -> list[str]:
    return (machine / "log").read_text().splitlines() if (machine / "log").exists() else []


MADE = """\
case "$*" in *install*)
    for name in java javac mvn; do : > {machine}/$name; /bin/chmod 755 {machine}/$name; done
esac"""
INSTALL = "apt-get install --yes --no-install-recommends default-jdk-headless maven"


def test_what_is_here_is_asked_of_nobody(machine: Path) -> None:
    for name in ("java", "javac", "mvn"):
        program(machine, name)
    (machine / "servers/15/bin").mkdir(parents=True)
    (machine / "servers/15/bin/postgres").touch()
    assert (main(["java", "maven", "postgresql"]), ran(machine)) == (0, [])


def test_what_is_not_is_installed(machine: Path) -> None:
    program(machine, "java")  # Without its compiler.
    program(machine, "apt-get", MADE.format(machine=machine))
    assert (main(["java", "maven"]), ran(machine)) == (0, [INSTALL])


def test_a_machine_without_a_list_of_packages_gets_one(machine: Path) -> None:
    listed = MADE.format(machine=machine)
    does = f"[ $1 != update ] || {{ : > {machine}/listed; exit 0; }}; [ -e {machine}/listed ] || exit 100\n{listed}"
    program(machine, "apt-get", does)
    assert (main(["java", "maven"]), ran(machine)) == (0, [INSTALL, "apt-get update", INSTALL])


def test_who_is_not_root_asks_sudo(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    program(machine, "apt-get", MADE.format(machine=machine))
    program(machine, "sudo", 'exec "$@"')
    assert (main(["java", "maven"]), ran(machine)) == (0, [f"sudo {INSTALL}", INSTALL])


def test_what_cannot_be_installed_is_a_sentence(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*names: str) -> str:
        assert main(list(names)) == 1
        return capsys.readouterr().err

    assert "Maven (mvn): not here, and neither is apt-get; install it as this system does" in said("maven")
    program(machine, "apt-get", "exit 100")
    assert "apt-get did not install maven: it says why above" in said("maven")
    assert len(ran(machine)) == 2, "a list that cannot be had is not followed by another try"
    program(machine, "apt-get")
    assert "and Maven (mvn) is still not to be found" in said("maven")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = said("maven", "postgresql")
    assert "you are neither root nor have sudo; let who may run `apt-get install --no-install-recommends maven" in told
    assert "['cobol'] is none of java, maven, postgresql" in said("cobol") and "name some of" in said()
