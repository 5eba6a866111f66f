"""What `ambry cluster up` leaves for clients, and tells whoever started it."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from ambry.client.endpoints import normal_endpoints
from ambry.client.profiles import LOCAL, config_path, find_options
from ambry.errors import AmbryError
from deploy.local_cluster import LocalCluster
from deploy.local_directory import LocalDirectory
from deploy.local_layout import LocalClusterError
from deploy.local_profile import PROFILE_FILE
from deploy.user_profile import UserProfile


def with_keys(directory: Path) -> bool | None:
    """Whether a cluster there is to ask for keys: a new one does, and one that is there is what it is (None)."""
    return None if LocalDirectory(directory.resolve()).exists else True


def first_steps(local: LocalCluster, *, stays: bool) -> str:
    """Make the cluster the user's profile `local`, if that is free; returns what to try, as lines."""
    installed = _install(local)
    url = local.profile.endpoints[0]
    directory = shlex.quote(str(local.directory))
    lines = [""]
    if local.key is None:
        lines += ["Keys:  none are asked for (--no-auth): whoever is on this machine reads and deletes everything"]
    else:
        lines += [f"Key:   {local.directory / 'admin.key'}, of an administrator"]
    if not _is_found(local):
        lines += [f"       export AMBRY_CONFIG={shlex.quote(str(local.directory / PROFILE_FILE))}"]
        lines += [f"       (the commands use it then; as it is, {_others(installed)})"]
    elif installed:
        lines += [
            f"       the commands and AmbryClient.from_env() find it in {config_path(os.environ)}, profile {LOCAL}"
        ]
    header = "" if local.key is None else f"-H @{shlex.quote(str(local.directory / 'admin.header'))} "
    if local.shape.tls:
        header += f"--cacert {shlex.quote(str(local.directory / 'certs' / 'authority.crt'))} "
    stop = "Ctrl-C" if stays else f"ambry cluster down --dir {directory}"
    lines += [
        f"Try:   ambry put FILE\n       curl {header}--data-binary @FILE {url}/",
        f"       ambry cluster kill --dir {directory} dc1-n1",
        f"Stop:  {stop}",
    ]
    return "\n".join(lines)


def _install(local: LocalCluster) -> bool:
    """Whether the user's profile `local` is this cluster now."""
    if os.environ.get("AMBRY_CONFIG"):
        return False  # a file of somebody's own, which is read and not written
    with suppress(OSError, ValueError):
        return UserProfile(config_path(os.environ)).install(local.profile, _runs)
    return False


def _runs(directory: Path) -> bool:
    """Whether any process of the cluster there runs."""
    other = LocalCluster(directory)
    with suppress(LocalClusterError, OSError):
        return any(other.pid(member.name) is not None for member in other.members)
    return False


def _is_found(local: LocalCluster) -> bool:
    """Whether a command without options talks to this cluster, with its key."""
    with suppress(AmbryError):
        found = find_options(os.environ, None, {}).options
        same = set(normal_endpoints(found.get("endpoints"))) == set(local.profile.endpoints)
        return same and (local.key is None or found.get("key") == local.key)
    return False


def _others(installed: bool) -> str:
    """Why it is not found."""
    if installed:
        return "the environment (AMBRY_...) or the top level of your configuration names another one"
    return f"the profile {LOCAL} in {config_path(os.environ)} is another one, or cannot be written"
