"""What is unsafe about a data node, by its configuration and by what was seen. Pure; deploy/inspection.py looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ambry.address import authority
from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid
from ambry.service import diagnosis as rules
from ambry.service.diagnosis import Finding, Sight, ToSee
from ambry.service.tls import NodeIdentity, NodeRole
from datanode.config import DataNodeConfig, check

SHAPE = DataNodeConfig
_LOOPS = {"scrub": "damage shows only when somebody reads", "compaction": "what was deleted stays for ever"}


def wanted(config: DataNodeConfig) -> ToSee:
    """What is to be looked at."""
    named = [config.node.data_dir, config.node_tls.key, config.node_tls.certificate, config.log.file]
    paths = [Path(each) for each in named if each]
    return ToSee(
        files=tuple(paths),
        tls=(config.node_tls,) if config.node_tls.wanted else (),
        admin=authority(config.node.admin_host, config.node.admin_port),
    )


def judge(config: DataNodeConfig, seen: Sight) -> Iterator[Finding]:
    """All that is found, the most general first."""
    try:
        check(config)
    except ConfigInvalid as cause:
        yield rules.danger(
            "refused", f"a data node does not start with it: {cause.message}", "", "it keeps nothing", "mend it"
        )
    yield from rules.configuration_file(seen, secret=False)
    yield from rules.admin_port(config.node.admin_host, "node.admin_host", config.node_tls)
    yield from rules.host_names(config.node.hosts, "node.hosts")
    yield from _node_tls(config, seen)
    if config.node.data_dir:
        yield from rules.private_directory(
            seen, "node.data_dir", Path(config.node.data_dir), "blobs of containers that are not encrypted lie there"
        )
    for loop, why in _LOOPS.items():
        if not getattr(config, loop).enabled:
            key = f"{loop}.enabled"
            yield rules.warning(f"no-{loop}", f"the {loop} is switched off", key, why, f"leave {key} out")
    yield from rules.log_file(seen, config.log)
    yield from rules.process(seen, descriptors=config.node.connections_max + config.store.open_files_max + 512)


def _node_tls(config: DataNodeConfig, seen: Sight) -> Iterator[Finding]:
    try:
        map = load_layout(Path(config.node.layout))
    except ConfigInvalid:
        return  # told as what it cannot start with
    own = map.nodes.get(config.node.name)
    if own is None:
        yield rules.danger(
            "not-in-layout", f"the layout has no data node {config.node.name!r}", config.node.layout,
            "it does not start, and holds nothing", "give all processes of the cluster the same layout",
        )  # fmt: skip
        return
    identity = NodeIdentity(map.cluster, NodeRole.DATANODE, config.node.name)
    yield from rules.node_tls(seen, config.node_tls, own.host, identity)
