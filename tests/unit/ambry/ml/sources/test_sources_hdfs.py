"""Where WebHDFS is of what hdfs:// says, by the configuration of Hadoop or as is usual, and what is told of a wrong port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ambry import InvalidRequest
from ambry.ml.sources.first_version import avro_files
from ambry.ml.sources.hdfs import web_url


@pytest.fixture(autouse=True)
def without_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("hdfs://nn/a/b", "webhdfs://nn:9870/a/b"),
        ("hdfs://nn:8020/a", "webhdfs://nn:9870/a"),
        ("hdfs://nn:9000/a", "webhdfs://nn:9870/a"),
        ("hdfs://127.0.0.1:41234/a", "webhdfs://127.0.0.1:41234/a"),
        ("hdfs://[::1]/a", "webhdfs://[::1]:9870/a"),
        ("hdfs://me@nn/a", "webhdfs://me@nn:9870/a"),
        ("hdfs://nn/f/day#1", "webhdfs://nn:9870/f/day#1"),
        ("hdfs://me@nn/f/day#1/a#b.avro", "webhdfs://me@nn:9870/f/day#1/a#b.avro"),
        ("webhdfs://nn:1/a", "webhdfs://nn:1/a"),
        ("/data/a", "/data/a"),
    ],
)
def test_hdfs_is_read_at_the_web_port(said: str, meant: str) -> None:
    assert web_url(said) == meant


@pytest.mark.parametrize("scheme", ["hdfs", "webhdfs"])
@pytest.mark.parametrize("path", ["f/day?x=1", "f/a\tb", "f/a\nb", "f/day#", "f?/a.avro"])
def test_a_path_of_which_another_one_would_be_read_is_refused(scheme: str, path: str) -> None:
    """What stands before the ? or the # was read, and imported as what had been asked for."""
    with pytest.raises(InvalidRequest, match=r"in its path, and is not what would be read"):
        avro_files(f"{scheme}://127.0.0.1:9/{path}")


def configured(directory: Path, core: Mapping[str, str], hdfs: Mapping[str, str]) -> str:
    for name, told in (("core-site", core), ("hdfs-site", hdfs)):
        lines = [f"<property><name>{key}</name><value>{value}</value></property>" for key, value in told.items()]
        (directory / f"{name}.xml").write_text(f"<configuration>{''.join(lines)}</configuration>")
    return str(directory)


OWN = {"fs.defaultFS": "hdfs://nn:41000"}
WEB = {"dfs.namenode.http-address": "nn:50001"}


@pytest.mark.parametrize(
    ("core", "hdfs", "said", "meant"),
    [
        (OWN, WEB, "hdfs://nn:41000/a", "webhdfs://nn:50001/a"),
        (OWN, WEB, "hdfs://me@nn:41000/a", "webhdfs://me@nn:50001/a"),
        (OWN, WEB, "hdfs:///a", "webhdfs://nn:50001/a"),
        (OWN, WEB, "hdfs://nn:50001/a", "webhdfs://nn:50001/a"),
        (OWN, WEB, "hdfs://other:41000/a", "webhdfs://other:41000/a"),
        (OWN, {}, "hdfs://nn:41000/a", "webhdfs://nn:9870/a"),
        (OWN, {"dfs.namenode.http-address": "0.0.0.0:50001"}, "hdfs://nn:41000/a", "webhdfs://nn:50001/a"),
        ({"fs.defaultFS": "hdfs://nn"}, WEB, "hdfs://nn/a", "webhdfs://nn:50001/a"),
        ({"fs.defaultFS": "file:///"}, WEB, "hdfs://nn/a", "webhdfs://nn:9870/a"),
        ({}, {**WEB, "dfs.namenode.rpc-address": "nn:7000"}, "hdfs://nn:7000/a", "webhdfs://nn:50001/a"),
        (
            {"fs.defaultFS": "hdfs://grid"},
            {"dfs.ha.namenodes.grid": "one", "dfs.namenode.http-address.grid.one": "n1:9870"},
            "hdfs://grid/a",
            "webhdfs://n1:9870/a",
        ),
    ],
)
def test_the_configuration_of_hadoop_says_which_port_that_is(
    core: dict[str, str], hdfs: dict[str, str], said: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", configured(tmp_path, core, hdfs))
    assert web_url(said) == meant


def test_what_names_no_name_node_or_several_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match=r"names no name node.* or set HADOOP_CONF_DIR"):
        web_url("hdfs:///a/b")
    with pytest.raises(InvalidRequest, match="'nn:x' is no HOST:PORT"):
        web_url("hdfs://nn:x/a")
    ha = {"dfs.ha.namenodes.grid": "one, two"}
    ha |= {f"dfs.namenode.http-address.grid.{name}": f"{name}:9870" for name in ("one", "two")}
    monkeypatch.setenv("HADOOP_CONF_DIR", configured(tmp_path, {}, ha))
    with pytest.raises(InvalidRequest, match=r"grid has 2 name nodes; write .* with one:9870 or two:9870"):
        web_url("hdfs://grid/a")
    (tmp_path / "core-site.xml").write_text("no")
    with pytest.raises(InvalidRequest, match=r"core-site\.xml is no configuration of Hadoop"):
        web_url("hdfs://grid/a")


class _RpcPort(BaseHTTPRequestHandler):
    """As a name node answers HTTP at the port of its own protocol."""

    def do_GET(self) -> None:
        said = b"It looks like you are making an HTTP request to a Hadoop IPC port."
        self.send_response(404)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def rpc_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _RpcPort) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_port_that_is_not_for_the_web_is_told_of_with_what_to_write(rpc_port: int) -> None:
    expected = f"no name node answers at http://127.0.0.1:{rpc_port}/webhdfs/v1; write its web"
    with pytest.raises(OSError, match=expected) as raised:
        avro_files(f"hdfs://127.0.0.1:{rpc_port}/a")
    assert raised.value.filename == f"hdfs://127.0.0.1:{rpc_port}/a"


class _NameNode(BaseHTTPRequestHandler):
    """Refuses what is asked as WebHDFS does, with the exception that the last part of the path says."""

    def do_GET(self) -> None:
        exception = self.path.partition("?")[0].rpartition("/")[2]
        said = json.dumps({"RemoteException": {"exception": exception, "message": "Invalid path name //f//m"}}).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def name_node() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _NameNode) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["hdfs", "webhdfs"])
@pytest.mark.parametrize("exception", ["InvalidPathException", "IllegalArgumentException", "StandbyException"])
def test_what_a_name_node_refuses_is_a_sentence(name_node: int, scheme: str, exception: str) -> None:
    """`hdfs://HOST:WEB//f//m` ended with a traceback of fsspec's RuntimeError."""
    place = f"{scheme}://127.0.0.1:{name_node}//f//{exception}"
    with pytest.raises((InvalidRequest, OSError), match="Invalid path name //f//m") as raised:
        avro_files(place)
    assert f"127.0.0.1:{name_node}//f//{exception}" in str(raised.value)


@pytest.mark.parametrize("path", ["/\udc80", "/a b", "/\0", "/%zz", "/?x", "/..", "//", ""])
def test_odd_places_of_hdfs_are_sentences(rpc_port: int, path: str) -> None:
    for host in (f"127.0.0.1:{rpc_port}", "a..b:1"):
        with pytest.raises((InvalidRequest, OSError)):
            avro_files(f"hdfs://{host}{path}")


@pytest.mark.parametrize("place", ["hdfs://me:WORD@SEC/RET@nn/a", "hdfs://me:WORD/SEC@nn:1/a", "hdfs://me:SEC?@x@nn/a"])
def test_a_password_of_hdfs_that_nobody_escaped_is_not_told(place: str) -> None:
    with pytest.raises(InvalidRequest, match="has a password in it, of which HDFS knows none") as refused:
        avro_files(place)
    assert not any(part in refused.value.message for part in ("WORD", "SEC", "RET"))
