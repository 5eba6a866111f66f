"""`ambry doctor`: what is unsafe about frontends and data nodes, or about a whole local cluster.

Exit codes: 0 nothing but notes, 3 warnings, 4 dangers; 1 where it could not look, 2 for wrong arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.service.diagnosis import Finding
    from deploy.inspection import Diagnosis

EXIT_WARNING = 3
EXIT_DANGER = 4


@click.command()
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE",
    type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="The configuration of a frontend or a data node; may be repeated.",
)
@click.option(
    "--dir",
    "directory",
    metavar="D",
    type=LocalPath(exists=True, file_okay=False, path_type=Path),
    help="All processes of the local cluster in D, its own files, and its containers if it runs.",
)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(configs: tuple[Path, ...], directory: Path | None, output: str) -> None:
    """Name what is unsafe in configurations, in the files that they name, and about the processes that run with them.

    Looks only; changes nothing, and prints no secret. Run it on the machine of the process, as root or as its user.

    Exits with 0 where nothing but notes was found, 3 for warnings, 4 for dangers.
    """
    from deploy.inspection import Diagnosis, examine
    from deploy.local_layout import LocalClusterError

    if not configs and directory is None:
        raise click.UsageError("name configurations with --config FILE, or a local cluster with --dir D")
    found = list(examine(configs))
    if directory is not None:
        from deploy.cluster_diagnosis import examine_cluster

        try:
            found += [Diagnosis(place, findings) for place, findings in examine_cluster(directory)]
        except LocalClusterError as cause:
            raise click.ClickException(str(cause)) from cause
    if output == "json":
        click.echo(json.dumps([_plain(each) for each in found], indent=2))
    else:
        _show(found)
    worst = {each.severity.value for one in found for each in one.findings}
    sys.exit(EXIT_DANGER if "danger" in worst else EXIT_WARNING if "warning" in worst else 0)


def _show(found: Sequence[Diagnosis]) -> None:
    from ambry.cli.output import printable

    for one in found:
        click.echo(f"{one.config}{'' if one.findings else '  nothing found'}")
        for each in sorted(one.findings, key=_rank):
            for line in (
                f"  {each.severity.value:7}  {each.code}: {each.what}",
                *([f"           where   {each.where}"] if each.where else []),
                f"           why     {each.why}",
                f"           do      {each.remedy}",
            ):
                click.echo(printable(line))
    counts = {kind: sum(each.severity.value == kind for one in found for each in one.findings) for kind in _ORDER}
    click.echo(", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items()))


_ORDER = ("danger", "warning", "note")


def _rank(finding: Finding) -> int:
    return _ORDER.index(finding.severity.value)


def _plain(one: Diagnosis) -> dict[str, object]:
    findings = [{**asdict(each), "severity": each.severity.value} for each in sorted(one.findings, key=_rank)]
    return {"config": str(one.config), "findings": findings}
