"""`ambry certs`: a small authority of certificates for the nodes of a cluster and for its front."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.errors import must_have
from ambry.path_option import LocalPath
from deploy.directory_lock import locked

if TYPE_CHECKING:
    from deploy.certificates import CertificateAuthority
    from deploy.issued_certificates import IssuedCertificate

_directory = click.option(
    "--dir",
    "directory",
    required=True,
    metavar="D",
    type=LocalPath(file_okay=False, path_type=Path),
    help="Where the authority and what it issues stand. Whoever reads authority.key is any node.",
)
_days = click.option(
    "--days", type=click.IntRange(1, 3_650), default=397, show_default=True, help="How long it is good."
)

_output = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How the result is told."
)


@click.group()
def certs() -> None:
    """Make the certificates that nodes show each other, and the front its clients."""


@certs.command()
@_directory
@click.option("--cluster", required=True, metavar="NAME", help="The cluster's name, as its layout says it.")
@_output
def init(directory: Path, cluster: str, output: str) -> None:
    """Make an authority."""
    with _authority(directory, makes=cluster) as authority:
        authority.init(cluster)
    if output == "json":
        return _tell_files(authority)
    click.echo(
        f"Made {authority.certificate_file}. Keep {authority.key_file} away from the nodes: it is every one of them."
    )


@certs.command()
@_directory
@click.argument("role", type=click.Choice(["datanode", "frontend", "operator", "front"]))
@click.argument("name")
@click.option(
    "--host", "hosts", multiple=True, metavar="H", help="A name or address it is reached by; may be repeated."
)
@_days
@_output
def issue(directory: Path, role: str, name: str, hosts: tuple[str, ...], days: int, output: str) -> None:
    """Issue the certificate of the node NAME, or with ROLE `front` one for a frontend's clients.

    One that stands under that name already is replaced, and stays good until it ends or is revoked.
    """
    from ambry.service.tls import NodeIdentity, NodeRole

    with _authority(directory) as authority:
        identity = None if role == "front" else NodeIdentity(authority.cluster, NodeRole(role), name)
        stem = name if identity is None else f"{role}-{name}"
        before = authority.current(stem)
        path = authority.issue(stem, identity=identity, hosts=hosts, days=days)
        if before is not None:
            _tell_replaced(before)
        if output == "json":
            return _tell([_described(authority, path)])
    click.echo(f"{path}\n{path.with_suffix('.key')}")


@certs.command()
@_directory
@click.argument("names", nargs=-1)
@click.option(
    "--authority", "own", is_flag=True, help="The authority itself; what it issued before stays good until `retire`."
)
@_days
@_output
def rotate(directory: Path, names: tuple[str, ...], own: bool, days: int, output: str) -> None:
    """Issue certificates anew, for the same node and hosts: NAMES as `list` tells them, or all.

    Running nodes look at their files every second, and no connection is lost. Those before stay good until they end: where
    somebody else has one, `revoke --older` takes it back once its node has the new one. What was revoked is issued anew where
    it is named, and not among all.
    """
    with _authority(directory) as authority:
        if own:
            authority.rotate_authority()
            if output == "json":
                return _tell_files(authority)
            click.echo(
                f"{authority.certificate_file} and {authority.revoked_file} hold the new one and the one before. Give "
                "both files to every node, and the first to clients; then `ambry certs rotate`, and give out what that issues; "
                "then `ambry certs retire`, and give out both files again."
            )
            return
        made: list[dict[str, object]] = []
        there = {} if names else authority.readable()
        if not names:
            _warn_of_unread(authority)
        for name in names or there:
            if not names and not authority.counts(there[name]):
                click.echo(
                    f"{name} was revoked, or its authority retired: not issued anew; `ambry certs rotate {name}` does it "
                    "all the same",
                    err=True,
                )
                continue
            path = authority.rotate(name, days=days)
            if output == "text":
                click.echo(str(path))
            else:
                made.append(_described(authority, path))
    if output == "json":
        _tell(made)


@certs.command()
@_directory
@_output
def retire(directory: Path, output: str) -> None:
    """Trust the newest authority alone: the last step of its rotation, once nobody shows what the one before issued."""
    with _authority(directory) as authority:
        authority.retire()
    if output == "json":
        return _tell_files(authority)
    click.echo(
        f"{authority.certificate_file} and {authority.revoked_file} hold one authority. Give them to every node, and the "
        "first to clients."
    )


@certs.command()
@_directory
@click.argument("name", required=False)
@click.option("--serial", metavar="HEX", help="The one with this serial number, as `list` tells it.")
@click.option("--older", is_flag=True, help="All of NAME but the one that stands there: after it was rotated.")
@_output
def revoke(directory: Path, name: str | None, serial: str | None, older: bool, output: str) -> None:
    """Take back every certificate of NAME, those before a rotation too, or one by its serial number.

    Nodes whose `node_tls.revoked` names the list refuse it from their next look on. Clients of the front look at no list.
    """
    if (name is None) == (serial is None) or (older and serial is not None):
        raise click.UsageError("name a certificate, with or without --older, or its --serial")
    with _authority(directory) as authority:
        _warn_of_unread(authority)
        serials = authority.revoke(name or "", serial=(serial or "").lower().removeprefix("0x"), older=older)
    if output == "json":
        return _tell({"revoked": serials, "list": str(authority.revoked_file)})
    for each in serials:
        click.echo(f"{name or 'the one'} with serial number {each} stands in {authority.revoked_file}.")
    click.echo("Give that file to every node.")


@certs.command("list")
@_directory
@_output
def list_(directory: Path, output: str) -> None:
    """Tell what was issued, before a rotation too, and until when it is good.

    A line has the name, the serial number, how it stands with it, until when it is good, and whether it is the one before.
    """
    with _authority(directory, reads=True) as authority:
        _warn_of_unread(authority)
        found = authority.issued()
    if output == "json":
        return _tell([each.plain() for each in found])
    for each in found:
        last = "" if each.current else "\tbefore"
        click.echo(f"{each.name}\t{each.serial}\t{each.state}\tuntil {each.until:%Y-%m-%d %H:%M} UTC{last}")


def _warn_of_unread(authority: CertificateAuthority) -> None:
    for why in authority.unread():
        click.echo(f"passed over: {why}", err=True)


def _tell(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _tell_files(authority: CertificateAuthority) -> None:
    _tell(
        {
            "authority": str(authority.certificate_file),
            "key": str(authority.key_file),
            "revoked": str(authority.revoked_file),
        }
    )


def _described(authority: CertificateAuthority, path: Path) -> dict[str, object]:
    """What was just issued, and where it stands."""
    issued = must_have(authority.current(path.stem), "a certificate that was just written")
    return {**issued.plain(), "certificate": str(path), "key": str(path.with_suffix(".key"))}


def _tell_replaced(before: IssuedCertificate) -> None:
    """`issue` is for what is new: somebody may have meant another name, or `rotate`."""
    replaced = f"{before.name} had a certificate, {before.serial}, which this one replaces here"
    if before.state == "good":
        until = f"{before.until:%Y-%m-%d %H:%M} UTC"
        replaced += f"; it stays good until {until}: `ambry certs revoke {before.name} --older` takes it back"
    click.echo(replaced, err=True)


@contextlib.contextmanager
def _authority(directory: Path, *, reads: bool = False, makes: str = "") -> Iterator[CertificateAuthority]:
    """The one that is there, or that of a cluster that one `makes`.

    Of others who use it, those alone at the same time who read, as one who `reads`.
    """
    from ambry.clock import SystemClock

    try:
        from deploy.certificates import CertificateAuthority, CertificateError, now_utc
    except ImportError as cause:
        raise click.ClickException(
            f"certificates take the extra `server`: pip install 'ambry[server]' ({cause})"
        ) from cause
    try:
        if makes:
            CertificateAuthority.check(makes)
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not directory.is_dir():
            raise CertificateError(f"there is no directory {directory}; `ambry certs init` makes an authority in one")
        with locked(directory, reads=reads):
            authority = CertificateAuthority(directory, now=now_utc(SystemClock().wall_ms()))
            if not makes and not authority.certificate_file.exists():
                raise CertificateError(f"{directory} holds no authority; `ambry certs init` makes one")
            yield authority
    except CertificateError as cause:
        raise click.ClickException(str(cause)) from cause
    except OSError as cause:
        raise click.ClickException(f"cannot use {cause.filename or directory}: {cause.strerror or cause}") from cause
