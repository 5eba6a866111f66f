"""`ambry changes --to kafka://...`: the changes of a container on a topic."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ambry.cli.output import tell_in_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from ambry.cli.arguments import ChosenCluster
    from ambry.client.sync.client import AmbryClient
    from ambry.streams.state import Keeper


def publish(
    cluster: ChosenCluster,
    to: str,
    config: Path | None,
    *,
    follow: bool,
    since: str | None,
    state: str | None,
    give_up_after: float,
) -> None:
    """Publish until there is no more, or until interrupted. Raises AmbryError, OSError."""
    from ambry.errors import InvalidRequest
    from ambry.streams.broker import KafkaBroker
    from ambry.streams.other_states import is_state
    from ambry.streams.publisher import Publisher
    from ambry.streams.target import parse_target, read_settings

    target = parse_target(to, None if config is None else read_settings(config))

    tell = partial(tell_in_options, cluster.quiet)
    with cluster.connect() as client, ExitStack() as held:
        publisher = Publisher(
            brokers=lambda acknowledged: KafkaBroker(target, acknowledged),
            feeds=lambda token: client.changes(token, follow=follow),
            keeper=_keeper(client, state, target.topic, held, tell),
            is_state=partial(is_state, client),
            topic=target.topic,
            since=since or "beginning",
            follow=follow,
            give_up_after_s=give_up_after,
            tell=tell,
        )
        try:
            published = publisher.run()
        except ModuleNotFoundError as missing:
            raise InvalidRequest(str(missing)) from None
    tell(f"{published.messages:,} changes were published to {target}")


def _keeper(client: AmbryClient, state: str | None, topic: str, held: ExitStack, tell: Callable[[str], None]) -> Keeper:
    from ambry.client.refs import SCHEME, name_place
    from ambry.streams.state import StateBlob, StateFile

    if state is not None and not state.startswith(SCHEME):
        file = StateFile(Path(state))
        held.enter_context(file.locked())
        return file
    account, container = client.default_account, client.default_container
    place = name_place(state or f".changes/kafka/{topic}", account=account, container=container)
    return StateBlob(client, place, (account, container), tell)
