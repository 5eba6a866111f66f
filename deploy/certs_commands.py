"""`ambry certs`: a small authority of certificates for the nodes of a cluster and for its front."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.certificates import CertificateAuthority

_directory = click.option(
    "--dir",
    "directory",
    required=True,
    metavar="D",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the authority and what it issues stand. Whoever reads authority.key is any node.",
)
_days = click.option(
    "--days", type=click.IntRange(1, 3_650), default=397, show_default=True, help="How long it is good."
)


@click.group()
def certs() -> None:
    """Make the certificates that nodes show each other, and the front its clients."""


@certs.command()
@_directory
@click.option("--cluster", required=True, metavar="NAME", help="The cluster's name, as its layout says it.")
def init(directory: Path, cluster: str) -> None:
    """Make an authority."""
    with _authority(directory) as authority:
        authority.init(cluster)
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
def issue(directory: Path, role: str, name: str, hosts: tuple[str, ...], days: int) -> None:
    """Issue the certificate of the node NAME, or with ROLE `front` one for a frontend's clients."""
    from ambry.service.tls import NodeIdentity, NodeRole

    with _authority(directory) as authority:
        identity = None if role == "front" else NodeIdentity(authority.cluster, NodeRole(role), name)
        path = authority.issue(
            name if identity is None else f"{role}-{name}", identity=identity, hosts=hosts, days=days
        )
    click.echo(f"{path}\n{path.with_suffix('.key')}")


@certs.command()
@_directory
@click.argument("names", nargs=-1)
@click.option(
    "--authority", "own", is_flag=True, help="The authority itself; what it issued before stays good until `retire`."
)
@_days
def rotate(directory: Path, names: tuple[str, ...], own: bool, days: int) -> None:
    """Issue certificates anew, for the same node and hosts: NAMES as `show` lists them, or all.

    Running nodes look at their files every second, and no connection is lost.
    """
    with _authority(directory) as authority:
        if own:
            authority.rotate_authority()
            click.echo(
                f"{authority.certificate_file} and {authority.revoked_file} hold the new one and the one before. Give "
                "both files to every node, and the first to clients; then `ambry certs rotate`, and give out what that issues; "
                "then `ambry certs retire`, and give out both files again."
            )
            return
        for name in names or authority.names():
            click.echo(str(authority.rotate(name, days=days)))


@certs.command()
@_directory
def retire(directory: Path) -> None:
    """Trust the newest authority alone: the last step of its rotation, once nobody shows what the one before issued."""
    with _authority(directory) as authority:
        authority.retire()
    click.echo(
        f"{authority.certificate_file} and {authority.revoked_file} hold one authority. Give them to every node, and the "
        "first to clients."
    )


@certs.command()
@_directory
@click.argument("name")
def revoke(directory: Path, name: str) -> None:
    """Take a certificate back. Nodes whose `node_tls.revoked` names the list refuse it from their next look on."""
    with _authority(directory) as authority:
        authority.revoke(name)
    click.echo(f"{name} stands in {authority.revoked_file}.")


@certs.command()
@_directory
def show(directory: Path) -> None:
    """List what was issued, and until when it is good."""
    with _authority(directory) as authority:
        for name in authority.names():
            found = authority.read(name)
            state = (
                "revoked" if authority.is_revoked(found) else f"until {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )
            click.echo(f"{name}\t{state}")


@contextlib.contextmanager
def _authority(directory: Path) -> Iterator[CertificateAuthority]:
    from ambry.clock import SystemClock

    try:
        from deploy.certificates import CertificateAuthority, CertificateError, now_utc
    except ImportError as cause:
        raise click.ClickException(
            f"certificates take the extra `server`: pip install 'ambry[server]' ({cause})"
        ) from cause
    try:
        yield CertificateAuthority(directory, now=now_utc(SystemClock().wall_ms()))
    except CertificateError as cause:
        raise click.ClickException(str(cause)) from cause
    except OSError as cause:
        raise click.ClickException(f"cannot use {cause.filename or directory}: {cause.strerror or cause}") from cause
