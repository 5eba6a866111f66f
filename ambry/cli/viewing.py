"""`ambry open`: a small blob in a pager, or in an image viewer.

What is shown is decided by the bytes, not by what somebody called them: text is text in UTF-8, of which nothing can control the
terminal, and an image begins as one. Nothing else is handed to another program.
"""

from __future__ import annotations

import click

from ambry.cli.arguments import ChosenCluster, as_size, connecting
from ambry.cli.local_files import picture_file
from ambry.cli.output import printable
from ambry.client.refs import found_as
from ambry.errors import InvalidRequest, TooLarge

SIZE_MAX = "32M"
_IMAGES = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"BM": ".bmp",
    b"II*\x00": ".tiff",
    b"MM\x00*": ".tiff",
}


def image_suffix(data: bytes) -> str:
    """The end of an image's file name; empty for what is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for sign, suffix in _IMAGES.items() if data.startswith(sign)), "")


def as_text(data: bytes) -> str | None:
    """What a terminal may be given of text; None for what is none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n"))


@click.command("open")
@click.argument("blob", metavar="BLOB")
@connecting
@click.option("--max-size", callback=as_size, default=SIZE_MAX, show_default=True, help="Show nothing larger.")
def open_blob(blob: str, cluster: ChosenCluster, max_size: int) -> None:
    """Show a small blob: text in a pager ($PAGER), an image in the viewer of this machine. It is named as for `ambry get`.

    \b
    ambry open ambry://team/plots/roc.png
    """
    with cluster.connect() as client:
        info = client.head(blob)
        if info.size > max_size:
            raise TooLarge(f"{blob} has {info.size} bytes, more than --max-size {max_size}; `ambry get` fetches it")
        data = client.get_bytes(found_as(info), max_size=max_size)
    if suffix := image_suffix(data):
        file = picture_file(data, suffix)
        if click.launch(file) != 0:
            raise click.ClickException(f"no image viewer was found; the image is in {file}")
        if not cluster.quiet:
            click.echo(f"ambry: the image is in {file}", err=True)
        return
    text = as_text(data)
    if text is None:
        raise InvalidRequest(f"{blob} is neither text nor an image; `ambry get` fetches it, `ambry cat` pipes it")
    click.echo_via_pager(text)


open = open_blob
"""By the command's name."""
