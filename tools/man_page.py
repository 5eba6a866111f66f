"""Writes docs/ambry.1, the man page, from the commands themselves: `python -m tools.man_page`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from ambry.cli.failures import EXIT_CODES
from ambry.cli.main import cli

PAGE = Path(__file__).parents[1] / "docs" / "ambry.1"

ENVIRONMENT = {
    "AMBRY_ENDPOINTS": "frontends, as URLs with commas between them",
    "AMBRY_KEY_FILE": "a file whose first line is the key",
    "AMBRY_KEY": "the key",
    "AMBRY_CA, AMBRY_CERT, AMBRY_CERT_KEY": "for https: authorities to trust, and a certificate of one's own with its key",
    "AMBRY_ACCOUNT, AMBRY_CONTAINER": "where names and new blobs are, unless it is said",
    "AMBRY_PROFILE": "a profile of the configuration file",
    "AMBRY_CONFIG": "another configuration file",
    "AMBRY_CLUSTER_DIR": "stands in for --dir of commands about a cluster on this machine",
    "http_proxy, https_proxy, all_proxy, no_proxy": "proxies, as for curl; loopback is never asked through one",
    "NO_COLOR": "no colours",
    "PAGER": "shows text of ambry open",
}


def commands_of(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, by its whole name."""
    context = click.Context(command, info_name=path)
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in sorted(command.list_commands(context)):
        if (found := command.get_command(context, name)) is not None:
            yield from commands_of(found, f"{path} {name}")


def page() -> str:
    lines = [
        '.TH AMBRY 1 "" "ambry" "User Commands"',
        ".SH NAME",
        "ambry \\- store, read and manage immutable blobs",
        ".SH SYNOPSIS",
        ".B ambry",
        "[\\fICOMMAND\\fR] [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        *_text(cli.help or ""),
        ".PP",
        "A blob is named by its id, by ID.ext, by a URL of the API, by a name, or as",
        ".IR ambry://account/container/name .",
        "What each command takes is told by its",
        ".BR \\-\\-help .",
        ".SH COMMANDS",
    ]
    for path, command in commands_of(cli, "ambry"):
        context = click.Context(command, info_name=path)
        lines += [".TP", f".B {_escaped(' '.join([path, *command.collect_usage_pieces(context)]))}"]
        lines += _text((command.help or command.short_help or "").split("\n\n")[0])
    lines += [".SH EXIT STATUS"]
    for code, text in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _escaped(text)]
    lines += ["Of several failures in one command the first one's counts.", ".SH ENVIRONMENT"]
    for name, text in ENVIRONMENT.items():
        lines += [".TP", f".B {_escaped(name)}", _escaped(text)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I ~/.config/ambry/config.toml",
        "Endpoints and keys, by profile.",
        ".SH SEE ALSO",
        ".BR curl (1)",
    ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> list[str]:
    """Paragraphs, one sentence after the other."""
    found: list[str] = []
    for number, paragraph in enumerate(text.replace("\b", "").strip().split("\n\n")):
        found += [".PP"] if number else []
        found.append(_escaped(" ".join(paragraph.split())))
    return found


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
