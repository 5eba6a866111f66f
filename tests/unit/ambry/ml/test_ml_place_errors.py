"""What reading and writing at a URL fails with is told, and opens nothing."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest

from ambry import BlobGone, BlobNotFound, InvalidRequest
from ambry.ml.photon.reading import read_examples
from ambry.ml.place_errors import file_or_version, place_told
from ambry.ml.sources.first_version import avro_files


def test_where_a_file_could_stand_and_no_version_is_both_are_told() -> None:
    """`photon train good.csv` of a file that was mistyped said that there is no dataset."""
    told = r"^there is no file or directory 'a/x\.csv', and none there$"
    with pytest.raises(BlobNotFound, match=told), file_or_version("a/x.csv"):
        raise BlobNotFound("none there")
    for said in ("x.csv@1.0.0", "ambry://a/c/x.csv"):
        with pytest.raises(BlobNotFound, match=r"^none there$"), file_or_version(said):
            raise BlobNotFound("none there")
    with pytest.raises(BlobGone, match=r"^deleted$"), file_or_version("x"):
        raise BlobGone("deleted")
    signed = f"{'A' * 48}?ambry-signature=SECRET"
    with pytest.raises(BlobNotFound) as raised, file_or_version(signed):
        raise BlobNotFound("none there")
    assert "SECRET" not in str(raised.value)


def test_an_error_that_has_the_url_says_it_without() -> None:
    place = "https://host/x.avro?sig=SECRET"
    with pytest.raises(FileNotFoundError, match="there is no such file") as missing, place_told(f"filecache::{place}"):
        raise FileNotFoundError(place)
    assert missing.value.filename == "filecache::https://host/x.avro" and "SECRET" not in str(missing.value)
    with pytest.raises(FileNotFoundError, match="there is no such file"), place_told("http://[x/y.avro"):
        raise FileNotFoundError("%s not found.", "http://[x/y.avro")
    with pytest.raises(OSError, match="url='https://host/x") as failed, place_told(place):
        raise ConnectionResetError(f"500, url='{place}'")
    assert failed.value.errno == errno.EIO


SAID_OTHERWISE = {
    "http://h:1/x%2Fy.avro?sig=SEC%2FRET%3D": "403, message='Forbidden', url='http://h:1/x/y.avro?sig=SEC/RET%3D'",
    "http://h:1/x.avro?sig=SEC RET": "503, url='http://h:1/x.avro?sig=SEC%20RET'",
    "http://me:SECRET@h:1/x.avro": "Cannot connect to host h:1 (http://me:SEC%52ET@h:1/x.avro)",
    "filecache::http://h:1/x.avro?sig=SEC+RET&b=RET": '400: "http://h:1/x.avro?sig=SEC%2BRET&b=RET"',
    "webhdfs://h:1/x.avro?token=SECRET": "HTTPConnectionPool(host='h'): Max retries with url: /x.avro?op=OPEN&token=SECRET",
}


@pytest.mark.parametrize("place", SAID_OTHERWISE)
def test_a_library_that_writes_the_url_otherwise_tells_no_secret_either(place: str) -> None:
    """Signatures are base64, in which each second one has a sign that is escaped."""
    with pytest.raises(OSError, match="cannot be read") as raised, place_told(place):
        raise ConnectionResetError(SAID_OTHERWISE[place])
    assert "SEC" not in str(raised.value) and "RET" not in str(raised.value), raised.value
    assert "h" in str(raised.value) and "x" in str(raised.value)


def test_of_a_password_that_nobody_escaped_nothing_is_told() -> None:
    """A library takes its parts for a host and a path, and says so."""
    place = "simplecache::webhdfs://user:WORD@SEC/RET@host:1/x"
    with pytest.raises(OSError, match=r"the password in it has a sign .* %40") as raised, place_told(place):
        raise ConnectionResetError("HTTPConnectionPool(host='SEC', port=50070): with url: /webhdfs/v1/RET@host:1/x")
    assert not any(part in str(raised.value) for part in ("WORD", "SEC", "RET"))
    assert raised.value.filename == "simplecache::webhdfs://host:1/x"


class _Answered(Exception):
    __module__ = "aiohttp.client_exceptions"
    status = 500


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("http://user:WORD@127.0.0.1:8/500@v2.avro", r"500, url='http://127.0.0.1:8/500@v2.avro'"),
        ("http://user:WORD@host/500@dir/v2.avro", r"or the path has an @; write @ as %40.*the server answered 500"),
        ("http://user:/WORD@host/v2.avro", r"the password in it has a sign.*the server answered 500"),
        ("http://user:WO::RD@host/v2.avro", r"the password in it has a sign.*: as %3A.*the server answered 500"),
    ],
)
def test_what_a_server_answered_is_told_of_a_url_with_several_ats(place: str, words: str) -> None:
    """A path with an @ was told as a password, with a host that is none, and without the status."""
    for missing in (False, True):
        error = _Answered(f"500, url='{place.replace('user:WORD@', '')}'")
        with pytest.raises(OSError, match=words) as raised, place_told(place):
            if missing:
                raise FileNotFoundError(place) from error
            raise error
        assert not any(part in str(raised.value) for part in ("WO", "RD", "user"))


def test_a_url_whose_password_fsspec_splits_is_not_told_as_a_file_that_is_not_there() -> None:
    """It looked for a file on this machine, called as what stands behind the `::`."""
    with pytest.raises(FileNotFoundError, match="the password in it has a sign") as raised:
        read_examples("http://user:WO::RD@127.0.0.1:9/v2.avro")
    assert not any(part in str(raised.value) for part in ("WO", "RD", "user"))


def test_what_a_file_system_has_no_class_for_is_an_error_of_the_place() -> None:
    with pytest.raises(OSError, match="it cannot be read: Invalid path") as raised, place_told("webhdfs://h:1//f"):
        raise RuntimeError("Invalid path")
    assert raised.value.filename == "webhdfs://h:1//f"


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("webhdfs://h:1/f", RecursionError("maximum recursion depth exceeded")),
        ("webhdfs://h:1/f", NotImplementedError("no")),
        ("https://h/f", RuntimeError("cannot schedule new futures after shutdown")),
    ],
)
def test_a_fault_of_a_program_is_no_error_of_the_place(place: str, error: RuntimeError) -> None:
    """Each RuntimeError was told as a file that cannot be read, and nobody saw where it was."""
    with pytest.raises(type(error)) as raised, place_told(place):
        raise error
    assert raised.value is error


def test_a_server_that_is_down_is_no_file_that_is_not_there() -> None:
    """fsspec makes one error of both, from what it was."""
    place = "http://h/x.avro?sig=SEC%2FRET"
    for cause, words in (
        (
            ConnectionResetError("503, url='http://h/x.avro?sig=SEC/RET'"),
            "it cannot be read: 503, url='http://h/x.avro'",
        ),
        (FileNotFoundError(place), "there is no such file"),
    ):
        with pytest.raises(OSError, match="avro") as raised, place_told(place):
            raise FileNotFoundError(place) from cause
        assert words in str(raised.value) and "SEC" not in str(raised.value)
        with (
            pytest.raises(OSError, match="avro") as behind,
            place_told(place),
        ):  # It says another thing of one with a ?.
            try:
                raise FileNotFoundError(place) from cause
            except FileNotFoundError as error:
                raise FileNotFoundError("%s not found. The URL contains glob characters", place) from error
        assert words in str(behind.value) and "SEC" not in str(behind.value)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_none_is_a_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "none").write_text("none")
    with pytest.raises(OSError, match="cannot be read") as raised:
        read_examples(f"{kind}://a.avro::file://{tmp_path}/none?sig=SECRET".partition("?")[0])
    assert f"{kind}://a.avro::file://" in str(raised.value)


def test_a_file_that_an_archive_or_a_store_does_not_have_is_not_there(tmp_path: Path) -> None:
    """As zip and tar say it, and S3, whose library has the status elsewhere."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("there.avro", "")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_examples(f"zip://gone.avro::file://{tmp_path}/a.zip")
    place = "s3://bucket/x.avro"
    with pytest.raises(FileNotFoundError, match="there is no such file"), place_told(place):
        raise FileNotFoundError(place) from RuntimeError("An error occurred (404) when calling HeadObject")


def test_an_error_about_something_else_stays_as_it_is() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "gone", "x"), InvalidRequest("no"), ValueError("other")):
        with pytest.raises(type(error)) as raised, place_told("https://host/x.avro?sig=SECRET"):
            raise error
        assert raised.value is error


@pytest.mark.parametrize("read", [avro_files, read_examples])
def test_a_url_that_is_none_is_told_without_its_secret(read: object) -> None:
    assert callable(read)
    for place in ("hdfs://[x/y?sig=SECRET", "http://[x/y.avro?sig=SECRET", "nowhere://x/y.avro?sig=SECRET"):
        if read is avro_files and place.startswith("http:"):
            continue  # Which is looked at when it is opened.
        with pytest.raises((InvalidRequest, OSError)) as refused:
            read(place)
        assert "SECRET" not in str(refused.value) and place.partition("?")[0] in str(refused.value)
