"""What each process of a local cluster is told in its configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from deploy.local_layout import Member

ACCESS_OFF = ("enabled = false",)
"""Of a frontend that asks for no keys."""


def config_text(member: Member, layout_path: Path, access: Sequence[str] = ACCESS_OFF) -> str:
    """The process's config.toml. What is not in it has the default that `configs/<role>.toml` explains.

    `access` are the lines of a frontend's section of that name.
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
    if member.role == "frontend":
        lines += ["", "[access]", *access]
    lines += ["", "[log]", f"file = {json.dumps(str(member.log), ensure_ascii=False)}"]
    return "\n".join(
        [f"# {member.name} of a local cluster; kept as it is at every later start.", f"[{section}]", *lines, ""]
    )
