"""Where HDFS is read without Java: at the web port of its name node, WebHDFS, which hdfs:// does not say.

hdfs://namenode/data          the web port that HADOOP_CONF_DIR says for this name node, else 9870
hdfs://namenode:8020/data     the same: 8020 and 9000 are for Hadoop's own clients
hdfs:///data                  the name node of HADOOP_CONF_DIR
hdfs://namenode:9871/data     that port, unless HADOOP_CONF_DIR says that it is for Hadoop's own clients
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ambry.errors import InvalidRequest
from ambry.ml.hadoop_xml import parse_hadoop, settings_of
from ambry.shown_urls import has_bare_password, shown_place

SCHEME = "hdfs://"
WEB_SCHEME = "webhdfs://"
WEB_PORT = 9870
RPC_PORTS = (8020, 9000)
"""What a name node listens at for Hadoop's own clients, and clusters are called by."""
CONF = "HADOOP_CONF_DIR"


_LOST = "?\t\r\n"
"""What fsspec takes out of a path, or ends it by: the path that is left is another one."""


def check_path(place: str) -> None:
    """Raises InvalidRequest for a URL of HDFS of which fsspec would read another path."""
    if not place.startswith((SCHEME, WEB_SCHEME)):
        return
    if lost := [sign for sign in place if sign in _LOST] or ["#"] * place.endswith("#"):
        raise InvalidRequest(
            f"{shown_place(place)} has {lost[0]!r} in its path, and is not what would be read; give it another name, or "
            "copy it to one"
        )


def web_url(place: str) -> str:
    """hdfs:// as fsspec reads it, webhdfs://; all else as it is.

    Raises InvalidRequest where no name node is meant, or a path that cannot be asked for.
    """
    if not place.startswith(SCHEME):
        check_path(place)
        return place
    if has_bare_password(place):
        raise InvalidRequest(f"{shown_place(place)} has a password in it, of which HDFS knows none; write a user alone")
    check_path(place)
    told = urlsplit(place)
    conf = hadoop_settings()
    user, at, named = told.netloc.rpartition("@")
    named = named or _default(conf)
    if not named:
        raise InvalidRequest(
            f"{shown_place(place)} names no name node; write {SCHEME}HOST:PORT/PATH with its web port, or set {CONF}"
        )
    # A # is a sign as any other in a path of HDFS.
    path = f"{told.path}#{told.fragment}" if told.fragment else told.path
    return f"{WEB_SCHEME}{user}{at}{_said_web_address(conf, named) or _usual_web_address(named)}{path}"


def is_directory(filesystem: Any, path: str, asked: str) -> bool:
    """Of what was `asked` for. Raises OSError that says what to write where nobody answers as a name node does."""
    if not asked.startswith(SCHEME):
        return bool(filesystem.isdir(path))
    try:
        return bool(filesystem.info(path)["type"] == "directory")
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such file or directory", shown_place(asked)) from None
    except PermissionError:
        raise
    except OSError as error:
        there = urlsplit(web_url(asked)).netloc.rpartition("@")[2]
        raise OSError(
            errno.EIO,
            f"no name node answers at http://{there}/webhdfs/v1; write its web port "
            f"(dfs.namenode.http-address, {WEB_PORT} unless it is set), or set {CONF}",
            shown_place(asked),
        ) from error


def hadoop_settings() -> dict[str, str]:
    """What HADOOP_CONF_DIR says; nothing where it is not set. Raises InvalidRequest for files that are no configuration."""
    found: dict[str, str] = {}
    if directory := os.environ.get(CONF):
        for name in ("core-site.xml", "hdfs-site.xml"):
            path = Path(directory) / name
            if path.is_file():
                told = settings_of(parse_hadoop(str(path), path.read_bytes()))
                found.update((each, value.strip()) for each, value in told.items())
    return found


def _default(conf: Mapping[str, str]) -> str:
    """What the cluster is called by."""
    default = conf.get("fs.defaultFS", "")
    return urlsplit(default).netloc if default.startswith(SCHEME) else ""


def _said_web_address(conf: Mapping[str, str], named: str) -> str:
    """HOST:PORT of the configuration, empty where it says nothing of this name node. Raises InvalidRequest for several."""
    nodes = [each.strip() for each in conf.get(f"dfs.ha.namenodes.{named}", "").split(",")]
    several = [conf.get(f"dfs.namenode.http-address.{named}.{node}", "") for node in nodes]
    if several := [each for each in several if each]:
        if len(several) > 1:
            raise InvalidRequest(
                f"{named} has {len(several)} name nodes; write the one that is active, {SCHEME}HOST:PORT/PATH with "
                f"{' or '.join(several)}"
            )
        return several[0]
    if _host_and_port(named) != _host_and_port(conf.get("dfs.namenode.rpc-address") or _default(conf)):
        return ""
    host, _ = _host_and_port(named)
    said_host, said_port = _host_and_port(conf.get("dfs.namenode.http-address") or "", WEB_PORT)
    return f"{host if said_host in ('', '0.0.0.0') else said_host}:{said_port}"  # nosec B104 # read, not bound


def _usual_web_address(named: str) -> str:
    host, port = _host_and_port(named)
    return f"{host}:{WEB_PORT if port in RPC_PORTS else port}"


def _host_and_port(named: str, otherwise: int = RPC_PORTS[0]) -> tuple[str, int]:
    """Raises InvalidRequest."""
    host, mark, port = named.rpartition(":")
    if not mark or named.endswith("]"):
        return named, otherwise
    if not port.isdecimal():
        raise InvalidRequest(f"{named!r} is no HOST:PORT of a name node")
    return host, int(port)
