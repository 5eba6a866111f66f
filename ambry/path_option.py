"""Paths of this machine that a command is given, refused by click before anything is done."""

from __future__ import annotations

import os
from typing import Any

import click

from ambry.home import expanded
from ambry.special_file import is_no_directory, why_unwritable


class LocalPath(click.Path):
    """A file or a directory of this machine.

    No path is empty, as a variable that is not set gives it: pathlib takes that for the working directory. Where a directory is
    asked for, what is there is one: click takes a link that leads nowhere, and a device, for one that can be made. `~/` is the
    home, which a shell leaves as it is behind an equals sign.
    """

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; write a path, or . for the working directory", param, ctx)
        # Not ~NAME: that is what office programs call the files beside those that are open.
        if isinstance(value, str) and (value == "~" or value.startswith("~/")):
            value = str(expanded(value))
        if not self.file_okay and not self.exists and is_no_directory(value):
            self.fail(f"{os.fspath(value)!r} is there already, and no directory; name another one", param, ctx)
        return super().convert(value, param, ctx)


FILE_OUT = LocalPath(readable=False, allow_dash=True)
"""A file that is written; - is standard output. What is a directory is told with what to say instead."""


class _Report(LocalPath):
    """A file that is written in the end. Where nothing can be made in its directory, that is told before the work is done."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if path != "-" and (why := why_unwritable(path)):
            self.fail(f"{os.fspath(value)!r}: {why}", param, ctx)
        return path


REPORT = _Report(dir_okay=False, allow_dash=True)
"""A report that is written; - is standard output."""
