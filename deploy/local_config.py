"""What each process of a local cluster is told in its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from deploy.local_layout import Member

OPEN: Mapping[str, Sequence[str]] = MappingProxyType({"access": ("enabled = false",)})
"""Of a frontend that asks for no keys, and speaks in the clear."""


def config_text(member: Member, layout_path: Path, more: Mapping[str, Sequence[str]] | None = None) -> str:
    """The process's config.toml. What is not in it has the default that `configs/<role>.toml` explains.

    `more` are the lines of further sections.
    """
    values: dict[str, str | int]
    if member.role == "datanode":
        values = {"name": member.name, "layout": str(layout_path), "data_dir": str(member.data_dir)}
        values |= {"admin_host": member.host, "admin_port": member.admin_port}
        section = "node"
    else:
        values = {"name": member.name, "datacenter": member.datacenter, "layout": str(layout_path)}
        values |= {"host": member.host, "port": member.port}
        values |= {"admin_host": member.host, "admin_port": member.admin_port}
        # Nobody balances load here, so nobody must be given time to notice.
        values |= {"lame_duck_s": 0, "drain_timeout_s": 5}
        section = "frontend"
    # A JSON string or integer is also a TOML one.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    if more is None:
        more = OPEN if member.role == "frontend" else {}
    for name, content in more.items():
        lines += ["", f"[{name}]", *content]
    if member.role == "frontend":
        audit = str(member.directory / "audit.jsonl")
        lines += ["", "[audit]", f"file = {json.dumps(audit, ensure_ascii=False)}"]
    lines += ["", "[log]", f"file = {json.dumps(str(member.log), ensure_ascii=False)}"]
    return "\n".join(
        [f"# {member.name} of a local cluster; kept as it is at every later start.", f"[{section}]", *lines, ""]
    )
