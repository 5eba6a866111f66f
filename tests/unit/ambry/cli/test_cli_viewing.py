"""`ambry open`: what is shown, and what is given to no other program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from ambry.cli.viewing import as_text, image_suffix
from tests.support.stub_frontend import StubFrontend

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubFrontend]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with StubFrontend() as running:
        monkeypatch.setenv("AMBRY_ENDPOINTS", running.url)
        yield running


def test_text_is_shown_without_what_controls_a_terminal(stub: StubFrontend) -> None:
    done = CliRunner().invoke(cli, ["open", stub.add("größe\tx\r\n\x1b[31mred\n".encode())])
    assert done.exit_code == 0 and done.stdout.rstrip("\n") == "größe\tx\n?[31mred"


def test_an_image_goes_to_the_viewer_by_its_bytes(
    stub: StubFrontend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[str] = []

    def launch(file: str) -> int:
        shown.append(file)
        return len(shown) - 1

    monkeypatch.setattr(click, "launch", launch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blob = stub.add(PNG, x_ambry_content_type="text/html", x_ambry_filename="evil.desktop")
    assert CliRunner().invoke(cli, ["open", blob]).exit_code == 0
    assert Path(shown[0]).suffix == ".png" and Path(shown[0]).read_bytes() == PNG
    assert Path(shown[0]).stat().st_mode & 0o777 == 0o600
    done = CliRunner().invoke(cli, ["open", blob])
    assert done.exit_code == 1 and f"no image viewer was found; the image is in {shown[1]}" in done.stderr


def test_all_else_is_shown_by_nobody(stub: StubFrontend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "launch", lambda file: pytest.fail("launched"))
    html = CliRunner().invoke(cli, ["open", stub.add(b"<script>", x_ambry_content_type="text/html")])
    assert html.exit_code == 0 and html.stdout.startswith("<script>"), "as text, in the pager"
    assert (
        CliRunner().invoke(cli, ["open", stub.add(b"\x7fELF\0\xff", x_ambry_content_type="image/png")]).exit_code == 2
    )
    large = CliRunner().invoke(cli, ["open", stub.add(bytes(2_000)), "--max-size", "1K"])
    assert large.exit_code == 1 and "has 2000 bytes, more than --max-size 1024" in large.stderr


def test_what_begins_as_an_image() -> None:
    assert [image_suffix(each) for each in (PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF....WEBP", b"", b"RIFF")] == [
        ".png",
        ".jpg",
        ".gif",
        ".webp",
        "",
        "",
    ]
    assert as_text(b"a\0b") is None and as_text(b"\xff") is None and as_text(b"") == ""
