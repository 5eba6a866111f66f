"""A local cluster has a master key, so that containers can be encrypted."""

from __future__ import annotations

from pathlib import Path

from deploy.local_directory import LocalDirectory
from deploy.local_layout import Shape
from frontend.encryption.held import parse


def made(path: Path) -> LocalDirectory:
    """The files of a cluster that was never started."""
    files = LocalDirectory(path / "cluster")
    files.create(lambda: Shape(cluster="c", datacenters=1))
    files.write_files()
    return files


def test_its_owner_alone_reads_it_and_frontends_know_where_it_is(tmp_path: Path) -> None:
    files = made(tmp_path)
    assert files.master.file.stat().st_mode & 0o777 == 0o600
    assert list(parse(files.master.file.read_text())) == ["1"]
    frontend = next(member for member in files.members if member.role == "frontend")
    config = frontend.config.read_text()
    assert 'provider = "file"' in config and f'path = "{files.master.file}"' in config
    node = next(member for member in files.members if member.role == "datanode")
    assert "encryption" not in node.config.read_text()


def test_one_that_is_lost_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Another would open nothing that was encrypted, and what is encrypted from then on would hide that."""
    files = made(tmp_path)
    files.master.file.unlink()
    files.write_files()
    assert not files.master.file.exists()


def test_a_provider_that_was_set_by_hand_stays(tmp_path: Path) -> None:
    files = made(tmp_path)
    frontend = next(member for member in files.members if member.role == "frontend")
    changed = frontend.config.read_text().replace('provider = "file"', 'provider = "command"\ncommand = ["vault"]')
    frontend.config.write_text(changed)
    files.write_files()
    assert frontend.config.read_text() == changed
