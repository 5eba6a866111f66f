"""`ambry model ls|history|diff|parts|rollback` of a model with several versions, against a frontend."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.clock import SystemClock
from ambry.ml import models
from tests.support.whole_commands import lines, run, said

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()


@pytest.fixture
def name(here: Path) -> str:
    """Of two versions, of which the newer one serves."""
    made = f"history-{next(_numbers)}"
    for number, metrics in enumerate((["auc=0.5"], ["auc=0.75", "loss=1.5"])):
        (here / "weights.bin").write_bytes(b"%d" % number)
        said("model", "publish", made, "weights.bin", *(arg for each in metrics for arg in ("--metric", each)))
        said("model", "promote", made, "--newest", "--why", f"move {number}", "-q")
    return made


def test_versions_are_listed_with_their_metrics(name: str) -> None:
    """Which version was how good had to be asked one by one."""
    table = [line.split() for line in said("model", "ls", name).splitlines()]
    assert [row[2:] for row in table] == [
        ["ALIASES", "auc", "loss"],
        ["0.5"],
        ["champion", "0.75", "1.5"],
    ]
    assert said("model", "ls", name, "--metric", "loss").splitlines()[0].split() == [
        "VERSION",
        "MODIFIED",
        "ALIASES",
        "loss",
    ]
    told = lines("model", "ls", name)
    assert [(each["version"], each["metrics"], each["aliases"]) for each in told] == [
        ("1.0.0", {"auc": 0.5}, []),
        ("1.1.0", {"auc": 0.75, "loss": 1.5}, ["champion"]),
    ]
    assert lines("model", "show", f"{name}@sha256:{told[0]['sha256']}")[0]["model"] == f"{name}@1.0.0"


def test_two_versions_are_compared(name: str) -> None:
    changed = {each["what"]: (each["before"], each["after"]) for each in lines("model", "diff", f"{name}@1.0.0", name)}
    assert set(changed) == {"parts.weights.bin", "metrics.auc", "metrics.loss"}
    assert (changed["metrics.auc"], changed["metrics.loss"]) == ((0.5, 0.75), (None, 1.5))
    table = [line.split() for line in said("model", "diff", f"{name}@1.0.0", f"{name}@champion").splitlines()]
    assert table[0] == ["WHAT", "MODEL", "OTHER"] and ["metrics.loss", "-", "1.5"] in table


def test_moves_are_told_of_an_alias_or_to_a_version(name: str) -> None:
    assert [each["why"] for each in lines("model", "history", name)] == ["move 1", "move 0"]
    assert [each["why"] for each in lines("model", "history", f"{name}@champion")] == ["move 1", "move 0"]
    assert [each["why"] for each in lines("model", "history", f"{name}@1.0.0")] == ["move 0"]
    assert run("model", "history", f"{name}@challenger").exit_code == 3


def test_what_is_taken_back_is_what_serves(name: str) -> None:
    """Two who took a version back at the same time went back two."""
    assert lines("model", "rollback", f"{name}@1.1.0")[0]["version"] == "1.0.0"
    again = run("model", "rollback", f"{name}@1.1.0")
    assert again.exit_code == 1 and "points to 1.0.0, and not to 1.1.0; nothing was changed" in again.stderr
    assert lines("model", "history", name)[0]["version"] == "1.0.0"


def test_parts_that_no_version_uses_are_listed_and_deleted_when_that_is_said(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a publishing that was refused stayed, and nothing told of them."""
    kept = {each["sha256"]: each["versions"] for each in lines("model", "parts", name)}
    assert sorted(kept.values()) == [["1.0.0"], ["1.1.0"]]
    (here / "weights.bin").write_bytes(b"left over")
    assert run("model", "publish", name, "weights.bin", "--version", "1.1.0").exit_code != 0
    [unused] = lines("model", "parts", name, "--unused")
    assert (unused["size"], unused["versions"]) == (len(b"left over"), [])
    # The clock of this machine says nothing; the frontend has a thread of its own.
    real, ours = SystemClock.wall_ms, threading.main_thread()
    monkeypatch.setattr(
        SystemClock,
        "wall_ms",
        lambda clock: real(clock) + (30 * 86_400_000 if threading.current_thread() is ours else 0),
    )
    assert lines("model", "parts", name, "--unused", "--delete") == []
    assert run("model", "parts", name, "--delete").exit_code == 2
    assert run("model", "parts", name, "--unused", "--delete", "--older", "forever").exit_code == 2
    assert len(lines("model", "parts", name)) == 3


def test_parts_beside_a_model_of_a_later_release_are_listed_and_not_deleted(
    here: Path, name: str, client: AmbryClient
) -> None:
    """The list was refused too, which only the delete has a reason for."""
    newer = models.open(client, f"{name}@1.0.0").manifest.encode().replace(b'"format":1', b'"format":99')
    client.put_version(name, newer, "2.0.0", metadata={"model-kind": "files"})
    (here / "weights.bin").write_bytes(b"of the newer one, or of nobody")
    assert run("model", "publish", name, "weights.bin", "--version", "1.1.0").exit_code != 0
    [unused] = lines("model", "parts", name, "--unused")
    assert (unused["versions"], unused["perhaps"]) == ([], ["2.0.0"])
    assert [row.split()[3:] for row in said("model", "parts", name, "--unused").splitlines()] == [
        ["VERSIONS"],
        ["perhaps", "2.0.0"],
    ]
    refused = run("model", "parts", name, "--unused", "--delete", "--older", "1s")
    assert refused.exit_code != 0 and f"{name}@2.0.0 is a model that this release cannot read" in refused.stderr
