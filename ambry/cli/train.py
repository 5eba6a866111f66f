"""`ambry train`: jobs whose sources, environment, checkpoints and model lie in the store."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_pairs, connecting, shows
from ambry.cli.interrupts import first_interrupt_told, signals_interrupt
from ambry.cli.output import remark_unless, show_fields, show_rows
from ambry.cli.unused_parts import age_of, unused_options
from ambry.errors import BlobNotFound, DataCorrupt
from ambry.ml.engines import ENGINES
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.ml.models.stored_parts import ListedPart
    from ambry.ml.training.launchers.launch import Launch, Launcher, LaunchPlan
    from ambry.ml.training.outcomes import JobOutcome
    from ambry.ml.training.packing import Kind
    from ambry.ml.training.submitting import EndedJob

DIRECTORY = LocalPath(exists=True, file_okay=False, path_type=Path)


@click.group()
def train() -> None:
    """Training jobs: a script and its workers, whose checkpoints and model lie in the store.

    The script asks `ambry.ml.training.current()` who it is and where things go, and runs unchanged by any launcher.

    \b
    ambry train submit train.py --workers 2 --snapshot members --publish fraud -- --epochs 3
    ambry train submit src/train.py --src src --venv env --engine tony --jars tony/lib --hadoop-conf conf
    ambry train show train-3f2a91c07b55
    """


class _OfScript(click.Command):
    """Says where options of the script stand: one that is not ours may be meant for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            told = f"{error.message} Options of the script stand behind it and --: SCRIPT -- {error.option_name} ..."
            raise click.NoSuchOption(error.option_name, told, error.possibilities, error.ctx) from None


@train.command(cls=_OfScript)
@click.argument("script", type=LocalPath(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@connecting
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="torchrun",
    show_default=True,
    help="What starts the workers: torchrun on this machine, TonY on YARN, or Spark.",
)
@click.option("--workers", type=click.IntRange(1, 4_096), default=1, show_default=True)
@click.option("--src", "sources", type=DIRECTORY, help="Sources in which SCRIPT lies.  [default: SCRIPT alone]")
@click.option("--venv", type=DIRECTORY, help="Send this virtual environment to the workers, as a blob.")
@click.option("--wheels", type=DIRECTORY, help="Send these wheels; each node makes an environment of them, once.")
@click.option("--env-blob", "environment", default="", metavar="ID", help="An environment that was sent before.")
@click.option("--python", default="", metavar="PATH", help="Of the nodes, where no environment is sent.")
@click.option("--snapshot", default="", metavar="DATASET@V", help="What it trains on; written down with its number.")
@click.option("--publish", default="", metavar="MODEL", help="The dataset that the model becomes a version of.")
@click.option("--checkpoints", default="", metavar="AMBRY://...", help="Where they go.  [default: beside the job]")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="How many checkpoints stay.")
@click.option(
    "--max-restarts",
    type=click.IntRange(0, 1_000),
    default=3,
    show_default=True,
    help="How often all workers begin again, from the newest checkpoint.",
)
@click.option("--fresh", is_flag=True, help="Begin at step 0: delete the checkpoints that the job has.")
@click.option("--name", default="", metavar="JOB", help="Of the job.  [default: by what it is made of]")
@click.option("--conf", "settings", metavar="K=V", multiple=True, callback=as_pairs, help="A setting of the engine.")
@click.option(
    "--env",
    "environ",
    metavar="K=V",
    multiple=True,
    callback=as_pairs,
    help="A variable of the workers, kept in clear with the job: no secret.",
)
@click.option("--hadoop-conf", type=DIRECTORY, envvar="HADOOP_CONF_DIR", help="Of YARN.  [default: HADOOP_CONF_DIR]")
@click.option("--master", default="", metavar="URL", help="Of Spark: yarn, spark://host:port.  [default: this machine]")
@click.option("--jars", type=DIRECTORY, help="Where TonY lies, with all that it needs: $(ambry engines fetch tony).")
@click.option(
    "--framework",
    type=click.Choice(["torch", "tensorflow"]),
    default="torch",
    show_default=True,
    help="By which TonY's workers find each other.",
)
@shows("job", "model", "json", default="job")
def submit(script: Path, arguments: tuple[str, ...], cluster: ChosenCluster, output: str, **said: Any) -> None:
    """Run SCRIPT with its ARGUMENTS as a job, follow it to its end, and print its name.

    Sources and environment are stored by what they are, so the same ones are sent once and each node keeps them. The same job
    submitted again goes on from its newest checkpoint, or begins at step 0 with --fresh. With --publish, the model that the
    script hands in is a version when all workers have ended well, and not before; it says which snapshot, sources, environment
    and job it is of.
    """
    from ambry.ml.training.launchers.choice import LauncherSettings, launcher_of
    from ambry.ml.training.launchers.launch import AGAIN
    from ambry.ml.training.submitting import WhatToRun, prepare_job, run_job

    max_restarts, fresh = said.pop("max_restarts"), said.pop("fresh")
    launcher = launcher_of(
        said.pop("engine"),
        LauncherSettings(
            settings=said.pop("settings"),
            hadoop_conf=said.pop("hadoop_conf"),
            jars=said.pop("jars"),
            master=said.pop("master"),
            framework=said.pop("framework"),
        ),
    )
    wanted = WhatToRun(script=script, arguments=arguments, **said)

    tell = partial(remark_unless, cluster.quiet)
    with signals_interrupt(), cluster.connect() as client:  # Workers end, and an application of YARN with them.
        job = prepare_job(client, wanted, tell, launcher=launcher)
        try:
            ended = run_job(
                client,
                job,
                launcher if cluster.quiet else _TellsInterrupt(launcher),
                fresh=fresh,
                max_restarts=max_restarts,
                tell=tell,
                show=lambda line: click.echo(line, err=True),
            )
        except KeyboardInterrupt as stop:
            stop.add_note(f"job {job.job} is interrupted; {AGAIN}")
            raise
    told = _plain(ended)
    click.echo(json.dumps(told) if output == "json" else told[output])


@train.command()
@connecting
@click.option("--venv", type=DIRECTORY, help="A virtual environment.")
@click.option("--wheels", type=DIRECTORY, help="A directory of wheels.")
@shows("id", "sha256", "json", default="id")
def pack(cluster: ChosenCluster, venv: Path | None, wheels: Path | None, output: str) -> None:
    """Store an environment, and print its id for --env-blob. One that is there already is not stored again."""
    from ambry.ml.training.environments import store_tree

    if (venv is None) == (wheels is None):
        raise click.UsageError("say one of --venv and --wheels")
    with cluster.connect() as client:
        kind: Kind = "wheels" if venv is None else "venv"
        tree = store_tree(client, kind, venv or wheels or Path(), tell=partial(remark_unless, cluster.quiet))
    told = {"id": tree.id, "sha256": tree.sha256, "size": tree.size}
    click.echo(json.dumps(told) if output == "json" else told[output])


@train.command()
@connecting
@unused_options(
    "Only those that no job has.",
    "who submits a job sends its trees before the job is there. Sent again is as stored anew.",
)
@OUTPUT
def trees(cluster: ChosenCluster, unused: bool, delete: bool, older: int | None, output: str) -> None:
    """List the sources and environments that are stored for jobs, with their sizes and the jobs that have them.

    A job has its trees until it is removed (`ambry rm -r training/JOB`), whether it runs or not. What no job has goes by no
    other way; a model's lineage names its trees by their ids, and the model itself needs none of them. --delete takes a key
    with read, delete and name.

    \b
    ambry train trees
    ambry train trees --unused --delete
    """
    from ambry.ml.training.stored_trees import delete_unused_trees, list_trees

    age = age_of(unused, delete, older)
    with cluster.connect() as client:
        if delete:
            found = delete_unused_trees(client, age)
        else:
            found = [tree for tree in list_trees(client) if not (unused and tree.users)]

    def row(tree: ListedPart) -> list[str]:
        return [str(tree.size), tree.modified.isoformat(timespec="seconds"), str(tree.id), ", ".join(tree.users)]

    def plain(tree: ListedPart) -> dict[str, Any]:
        return {
            "id": str(tree.id),
            "sha256": tree.sha256,
            "size": tree.size,
            "modified": tree.modified.isoformat(),
            "jobs": list(tree.users),
        }

    show_rows(found, output, ["SIZE", "STORED", "ID", "JOBS"], row, plain)


@train.command()
@click.argument("name", metavar="JOB")
@connecting
@OUTPUT
def show(name: str, cluster: ChosenCluster, output: str) -> None:
    """Say what a job is, who runs it, and which whole checkpoints it has."""
    from ambry.ml.training.checkpoints import CheckpointFolder
    from ambry.ml.training.jobs import FOLDER, parse_job
    from ambry.ml.training.outcomes import outcome_of
    from ambry.ml.training.running import RUNNING, who_runs

    with cluster.connect() as client:
        try:
            job = parse_job(client.get_bytes(f"{FOLDER}/{name}/job.json"))
        except BlobNotFound as error:
            raise BlobNotFound(
                f"there is no job {name!r}; `ambry ls {FOLDER}/ --delimiter /` lists them", request_id=error.request_id
            ) from None
        steps = CheckpointFolder(client, job.checkpoints).steps()
        try:
            where = who_runs(client, job.name_in(RUNNING))
            runs = "no" if where is None else f"yes{where}"
        except DataCorrupt as error:
            runs = f"not known: {error.message}"
        outcome = outcome_of(client, job)
    show_fields(
        {
            "job": job.job,
            **job.lineage(),
            "snapshot": job.snapshot,
            "publish": job.publish,
            "run": job.run,
            "runs": runs,
            "outcome": _told(outcome) if runs == "no" else "",
            "checkpoints": job.checkpoints,
            "steps": steps,
        },
        output,
    )


class _TellsInterrupt:
    """A launcher that says at once that it was interrupted: its workers may take their time to end."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def check(self, plan: LaunchPlan) -> None:
        self._launcher.check(plan)

    def run(self, launch: Launch) -> None:
        from ambry.ml.training.launchers.launch import TERM_TIMEOUT_S

        with first_interrupt_told(
            f"interrupted; the workers are asked to end, and are ended after {TERM_TIMEOUT_S:.0f} s; a second interrupt "
            "does not wait for that"
        ):
            self._launcher.run(launch)


def _told(outcome: JobOutcome | None) -> str:
    if outcome is None:
        return "not known: whoever submitted it was killed, or could not reach the store when it ended"
    return str(outcome)


def _plain(ended: EndedJob) -> dict[str, Any]:
    return {
        "job": ended.job.job,
        "step": ended.step,
        "model": str(ended.model) if ended.model else "",
        "sha256": ended.model.digest if ended.model else "",
        "sources": ended.job.sources.id,
        "environment": ended.job.environment.id,
    }
