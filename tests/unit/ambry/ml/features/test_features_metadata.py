"""A tree of definitions: read, looked up, packed, and the same whichever files it lies in."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.package import digest, pack, unpack
from ambry.ml.features.reading import parse_definitions
from ambry.ml.features.text import DefinitionInvalid
from ambry.ml.features.tree import check_tree, read_tree
from ambry.ml.features.urn import FeatureUrn, FeatureVersion
from ambry.ml.features.wheel import build_wheel, installed, wheel_name

FEED = """\
actions: {valType: INT, dims: [kinds-1-0, days-1-0], availability: ONLINE}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
days: {type: discrete}
"""
BIDS = "bid: {valType: DOUBLE, dims: [flagship/kinds-1-0], default: 0}"
KINDS = "0, OUT_OF_VOCAB\n1, Comment\n2, Click\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return lay_out(
        tmp_path / "tree",
        {
            "flagship/feed.conf": FEED,
            "flagship/kinds.csv": KINDS,
            "ads/bids/bids.conf": BIDS,
            ".git/x.conf": "broken {",
        },
    )


def test_a_tree_has_a_namespace_for_each_directory(tree: Path) -> None:
    metadata = read_tree(tree)
    assert [str(urn) for urn in metadata.urns] == ["urn:li:(ads.bids,bid,1,0)", "urn:li:(flagship,actions,1,0)"]
    bid = metadata.tensor_type("urn:li:(ads.bids,bid,1,0)")
    assert (bid.shape, bid.is_dense, bid.default) == ((3,), True, 0.0)
    actions = metadata.tensor_type(FeatureUrn.parse("urn:li:mlFeature:(flagship,actions,1,0)"))
    assert (actions.shape, actions.is_dense) == ((3, None), False)
    assert actions.encode(("Click", 7)) == (2, 7)
    assert actions.encode(("Reshare", 7)) == (0, 7)
    with pytest.raises(InvalidRequest, match="2 axes"):
        actions.encode(("Click",))


def test_what_is_not_defined_is_told_with_what_is_near(tree: Path) -> None:
    with pytest.raises(FeatureNotDefined, match=r"did you mean urn:li:\(flagship,actions,1,0\)\?"):
        read_tree(tree).feature("urn:li:(flagship,action,1,0)")


def test_the_package_says_the_same_however_the_tree_is_cut(tree: Path, tmp_path: Path) -> None:
    metadata = read_tree(tree)
    first, second, third = FEED.splitlines(keepends=True)
    other = lay_out(
        tmp_path / "other",
        {
            "flagship/z.conf": third + "// a comment\n" + first,
            "flagship/a.conf": second,
            "flagship/kinds.csv": "2, Click\n0, OUT_OF_VOCAB\n1,Comment",
            "bids.conf": f"namespace: ads.bids\n{BIDS}",
        },
    )
    assert pack(read_tree(other)) == pack(metadata)
    assert digest(metadata) == hashlib.sha256(pack(metadata)).hexdigest()
    assert unpack(pack(metadata)) == metadata


def test_a_package_is_a_tree_again_when_it_is_unpacked(tree: Path, tmp_path: Path) -> None:
    packed = pack(read_tree(tree))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        archive.extractall(tmp_path / "out")
    assert pack(read_tree(tmp_path / "out")) == packed


def test_one_file_is_a_tree(tmp_path: Path) -> None:
    path = lay_out(tmp_path, {"one.conf": "namespace: mine\na: {valType: INT}"}) / "one.conf"
    assert [str(urn) for urn in read_tree(path).urns] == ["urn:li:(mine,a,1,0)"]


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"a/a.conf": "x: {"}, "a/a.conf:1:4: this brace is never closed"),
        ({"a/a.conf": "x: {valType: INT, dims: [y-1-0]}"}, "a/a.conf:1:1: feature 'x': nobody defines"),
        (
            {"a/a.conf": "x: {type: categorical : {idMappingFile: y.csv}}"},
            "a/a.conf:1:1: dimension 'x': there is no file",
        ),
        (
            {"a/a.conf": "x: {valType: INT}", "a/b.conf": "x: {valType: INT}"},
            "a/b.conf:1:1: 'x' 1.0 stands twice, first at a/a.conf:1:1",
        ),
        ({"a.conf": "x: {valType: INT}"}, "a.conf:1:1: nothing says which namespace"),
        (
            {"a/a.conf": "x: {type: categorical : {idMappingFile: y.csv}}", "a/y.csv": "0, OUT_OF_VOCAB\n1, a\n1, b"},
            "a/y.csv:3:1: id 1 stands twice",
        ),
    ],
)
def test_what_is_wrong_in_a_tree_is_told_with_its_place(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    [found] = check_tree(lay_out(tmp_path, files))
    assert str(found).startswith(fault)
    with pytest.raises(DefinitionInvalid):
        read_tree(tmp_path)


def test_each_broken_file_is_told(tmp_path: Path) -> None:
    faults = check_tree(lay_out(tmp_path, {"a/a.conf": "x: {", "b/b.conf": "y", "c/c.conf": "z: {valType: INT}"}))
    assert [str(fault)[:8] for fault in faults] == ["a/a.conf", "b/b.conf"]


def test_what_is_no_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.conf").write_bytes(b"// x\n// \xff")
    [found] = check_tree(tmp_path)
    assert str(found) == "a/a.conf:2:4: this is not UTF-8"


def test_a_whole_tree_has_no_faults(tree: Path) -> None:
    assert check_tree(tree) == []


def test_an_empty_directory_defines_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"NAME\.conf"):
        read_tree(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_tree(tmp_path / "none")


@pytest.mark.parametrize("packed", [b"", b"PK\x03\x04", pack(FeatureMetadata({}))])
def test_what_is_no_package_is_refused(packed: bytes) -> None:
    with pytest.raises(InvalidRequest):
        unpack(packed)


def test_a_damaged_package_is_refused(tree: Path) -> None:
    packed = pack(read_tree(tree))
    for place in range(0, len(packed), 7):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        try:
            unpack(bytes(damaged))
        except InvalidRequest:
            continue


def test_a_wheel_installs_and_gives_the_definitions(tree: Path, tmp_path: Path) -> None:
    metadata = read_tree(tree)
    built = build_wheel(metadata, "flagship-features", "1.2.0")
    assert built == build_wheel(metadata, "flagship-features", "1.2.0")
    wheel = tmp_path / wheel_name("flagship-features", "1.2.0")
    wheel.write_bytes(built)
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run([*install, "--disable-pip-version-check"], check=True)
    code = "from ambry.ml.features.package import digest\nfrom ambry.ml.features.wheel import installed\n"
    code += "print(digest(installed('flagship-features')))"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(target)!r})\n{code}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == digest(metadata)


def test_a_package_that_is_not_installed_is_told() -> None:
    with pytest.raises(InvalidRequest, match="pip install"):
        installed("no-such-features")


@pytest.mark.parametrize(("name", "version"), [("", "1.0"), ("../x", "1.0"), ("x", ""), ("x", "1.0/..")])
def test_names_that_no_wheel_can_have(name: str, version: str) -> None:
    with pytest.raises(InvalidRequest):
        build_wheel(FeatureMetadata({}), name, version)


@pytest.mark.parametrize("name", ["features.conf", "sub/Feed.CONF"])
def test_no_vocabulary_is_called_as_definitions_are(tmp_path: Path, name: str) -> None:
    """It took the place of the definitions in the package, which was published and never read again."""
    text = f'd: {{type: categorical : {{idMappingFile: "{name}"}}}}'
    with pytest.raises(DefinitionInvalid, match=r"n/feed\.conf:1:.*called as definitions are"):
        read_tree(lay_out(tmp_path, {"n/feed.conf": text}))


def test_a_fault_of_a_vocabulary_is_told_with_its_directory(tmp_path: Path) -> None:
    """Two directories may have a file of the name each."""
    text = 'd: {type: categorical : {idMappingFile: "k.csv"}}'
    with pytest.raises(DefinitionInvalid, match=r"^n/k\.csv:2:1: "):
        read_tree(lay_out(tmp_path, {"n/feed.conf": text, "n/k.csv": "0, OUT_OF_VOCAB\nx, y\n"}))


def test_a_feature_is_found_without_looking_at_all_others() -> None:
    """A tensor type of each of 10,000 features took 17 seconds."""
    text = "".join(f"f{number}: {{valType: INT, dims: [d-1-0]}}\n" for number in range(300)) + "d: {type: discrete}\n"
    found = FeatureMetadata.of([parse_definitions(text, "n")])
    compared = 0

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    definitions = found.namespaces["n"]
    for number in range(300):
        feature = definitions.feature(Counted(f"f{number}"), FeatureVersion(1, 0))
        assert feature is not None and feature.name == f"f{number}"
    assert compared <= 900
    assert definitions.feature("f300", FeatureVersion(1, 0)) is None
