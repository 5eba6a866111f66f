"""Where a publisher's token is kept: a named blob, or a file, either of which one run at a time has.

The blob is replaced only where it is still the one that this run wrote (If-Match): a run that was overtaken finds out with its
next token, and ends. The file is locked as long as the run lives.

    {"format": 1, "cluster": "...", "topic": "...", "token": "...", "sequence": 12, "epoch": 3, "run": "9f...",
     "topic_id": "..."}
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Generator, Iterable, Set
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ambry.client.changes import ANOTHER_STATE
from ambry.client.locked_file import locked_at_once
from ambry.client.model import BlobInfo
from ambry.client.refs import NameRef
from ambry.client.state_file import check_writable, read_bytes, remove_left_texts, replace_text
from ambry.client.sync.client import AmbryClient
from ambry.errors import (
    MALFORMED,
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    InvalidRequest,
    PreconditionFailed,
    RetentionLocked,
    Unavailable,
    UpdateConflict,
)
from ambry.streams.plan import Covered

FORMAT = 1
CONTENT_TYPE = "application/vnd.ambry.publisher-state+json"
"""Of a blob that is one: by it other publishers of the container leave it out (other_states.py)."""
SIZE_MAX = 64 << 10
"""Bytes of a state; a token has at most 16 KiB."""
NUMBER_MAX = 1 << 63
LOADS_MAX = 5
"""Each that fails is a blob that somebody else replaced."""
STORES_MAX = 3
"""One that is refused, one after what this run put unheard, and one after a put of it that was on its way still."""
HISTORY_MAX = 10_000
"""Blobs of the state that are known to be its own, the newest ones, of this run and of former ones: hours, at one a second."""

_WHY = re.compile("[:;] ")
"""Ends what an error says of itself; behind it stands what to do about another blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherState:
    """What is kept. `cluster` is Kafka's id of itself, `topic_id` that of the topic, another one when the topic was deleted and
    made again (empty where it is not known); `run` is this run's own.
    """

    cluster: str
    topic: str
    token: str
    sequence: int = 0
    epoch: int = 0
    run: str = ""
    topic_id: str = ""

    @property
    def covered(self) -> Covered:
        return Covered(self.token, self.sequence)


class Overtaken(UpdateConflict):
    """Another run publishes with this state since."""


class Keeper(Protocol):
    """Where a state is kept, by one run. Its text is what a user calls it by."""

    @property
    def own(self) -> Set[str]:
        """The blobs of the state that are known, as text: their changes are not published."""

    @property
    def name(self) -> str | None:
        """The state's name where it is in the container that is published."""

    def load(self) -> PublisherState | None:
        """What a run before left. Raises InvalidRequest for what no publisher wrote, AmbryError, OSError."""

    def store(self, kept: PublisherState) -> None:
        """Replace it; durable on return. Raises Overtaken, AmbryError, OSError."""


def begin(
    keeper: Keeper,
    *,
    run: str,
    cluster: str,
    topic: str,
    topic_id: str,
    since: str,
    check: Callable[[str], None] = lambda since: None,
) -> PublisherState:
    """Take over the state; `since` is where a first run begins, and `check` raises what is against it before it is stored.

    Again with the same `run` where it failed: what was put unheard may be there then, or come yet. Raises InvalidRequest,
    Overtaken, AmbryError.
    """
    before = keeper.load()
    if before is None:
        check(since)
        before = PublisherState(cluster=cluster, topic=topic, token=since)
    elif (before.cluster, before.topic) != (cluster, topic):
        raise InvalidRequest(
            f"the state {keeper} is of topic {before.topic} in the Kafka cluster {before.cluster}, and this is topic {topic} "
            f"in {cluster}; give each a state of its own (--state)"
        )
    elif before.topic_id and topic_id and before.topic_id != topic_id and before.sequence:
        raise gone(topic, f"deleted and made again since the state {keeper} was kept", before.sequence)
    elif before.run == run:
        return before
    mine = replace(before, epoch=before.epoch + 1, run=run, topic_id=topic_id or before.topic_id)
    keeper.store(mine)
    return mine


def gone(topic: str, what: str, messages: int) -> InvalidRequest:
    """The topic that `messages` were published on was deleted; `what` says that and when."""
    if not messages:
        return InvalidRequest(
            f"topic {topic} was {what}; nothing was published on it, so the same command begins again"
        )
    return InvalidRequest(
        f"topic {topic} was {what}, and the {messages:,} messages that were published are gone with it; publish them all "
        "again, with another state (--state), or begin where you say (--since, also with another one)"
    )


def encode(kept: PublisherState) -> str:
    """As it stands in the blob or the file."""
    return json.dumps({"format": FORMAT, **asdict(kept)}, separators=(",", ":"))


def decode(data: bytes, said: object) -> PublisherState:
    """Raises InvalidRequest for what no publisher wrote, which names where it stands."""
    try:
        fields: Any = json.loads(data.decode())
        number = fields.pop("format")
        kept = PublisherState(**fields)
        texts: list[object] = [kept.cluster, kept.topic, kept.token, kept.run, kept.topic_id]
        numbers: list[object] = [kept.sequence, kept.epoch]
        if (
            number == FORMAT
            and all(isinstance(each, str) for each in texts)
            and all(type(each) is int and 0 <= each < NUMBER_MAX for each in numbers)
        ):
            return kept
    except MALFORMED:
        pass
    raise InvalidRequest(f"the state {said} is none that a publisher of this release wrote; {ANOTHER_STATE}")


class StateBlob:
    """In a named blob. `container` is (account, container) of what is published."""

    def __init__(
        self,
        client: AmbryClient,
        place: NameRef,
        container: tuple[str, str],
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._tell = tell
        self._told_kept = False
        self._known: dict[str, None] = {}
        self._client = client
        self._place = place
        self._here = (place.account, place.container) == container
        self._etag: str | None = None
        self._blob: str | None = None

    def __str__(self) -> str:
        return str(self._place)

    @property
    def own(self) -> Set[str]:
        return self._known.keys()

    @property
    def name(self) -> str | None:
        return self._place.name if self._here else None

    def load(self) -> PublisherState | None:
        found = self._standing()
        if found is None:
            self._etag = self._blob = None
            return None
        info, data = found
        kept = decode(data, self)
        self._replaced_by(info)
        changes = islice(self._client.history(self._place), HISTORY_MAX)
        newest_first = [str(each.id) for each in changes if each.id is not None]
        self._know(reversed(newest_first))
        return kept

    def store(self, kept: PublisherState) -> None:
        data = encode(kept).encode()
        for _ in range(STORES_MAX):
            try:
                made = self._client.put(
                    data,
                    name=self._place,
                    if_absent=self._etag is None,
                    if_match=self._etag,
                    content_type=CONTENT_TYPE,
                )
            except (PreconditionFailed, AlreadyExists) as error:
                if self._go_on(kept.run, error) == data:
                    return
            except (InvalidRequest, AccessDenied) as error:
                error.message = (
                    f"the state {self._place} cannot be kept ({_WHY.split(error.message)[0]}); keep it elsewhere, in a file or "
                    "under a name of another container: --state FILE, or --state ambry://ACCOUNT/CONTAINER/NAME"
                )
                raise
            else:
                self._replaced_by(made)
                return
        raise Unavailable(f"the state {self._place} was another one at each of {STORES_MAX} looks; try again")

    def _go_on(self, run: str, refused: AmbryError) -> bytes:
        """What stands there, whose put this run was not told of. Raises Overtaken where it is not of this run."""
        found = self._standing()
        if found is None:
            raise Overtaken(
                f"the state {self._place} was deleted while this publisher ran, which ends; the same command publishes from "
                "--since on"
            ) from refused
        info, data = found
        if decode(data, self).run != run:
            raise Overtaken(
                f"another publisher goes on with the state {self._place}; this one ends. What both published is told "
                "twice, in order, and has the same ambry-change"
            ) from refused
        self._replaced_by(info)
        return data

    def _replaced_by(self, info: BlobInfo) -> None:
        before, self._etag, self._blob = self._blob, info.etag, str(info.id)
        self._know([self._blob])
        if before is not None and before != self._blob:
            # Nobody reads it again. Where the container keeps what was put (a lock), it stays.
            try:
                self._client.delete(before)
            except AccessDenied as error:
                if not self._told_kept and not isinstance(error, RetentionLocked):
                    self._told_kept = True
                    self._tell(
                        f"this key may not delete blobs of {self._place.account}/{self._place.container}: each state that is "
                        "replaced stays there for ever; give the key delete there, or keep the state in a file (--state)"
                    )
            except AmbryError:
                pass

    def _know(self, blobs: Iterable[str]) -> None:
        """Those that come last stay longest."""
        for blob in blobs:
            self._known.pop(blob, None)
            self._known[blob] = None
        for blob in [*islice(self._known, max(0, len(self._known) - HISTORY_MAX))]:
            del self._known[blob]

    def _standing(self) -> tuple[BlobInfo, bytes] | None:
        """What the name points to, and its bytes; None where it points to nothing."""
        tries_left = LOADS_MAX
        while True:
            try:
                info = self._client.head(self._place)
            except BlobNotFound:
                return None
            tries_left -= 1
            try:
                # One that is too large is no state either, and is told as such.
                return info, b"" if info.size > SIZE_MAX else self._client.get_bytes(info.id)
            except BlobNotFound:
                # It was replaced in between.
                if not tries_left:
                    raise


class StateFile:
    """In a file on this machine, locked by whoever has it. See locked."""

    name = None

    def __init__(self, path: Path) -> None:
        self.own: set[str] = set()
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @contextmanager
    def locked(self) -> Generator[None]:
        """While this run lives. Raises InvalidRequest where another one has it, OSError where it cannot be written."""
        check_writable(self._path)
        with ExitStack() as held:
            try:
                held.enter_context(locked_at_once(self._path.with_name(f"{self._path.name}.lock")))
            except BlockingIOError:
                raise InvalidRequest(
                    f"another process publishes with {self._path}; end it first, or name another file"
                ) from None
            yield

    def load(self) -> PublisherState | None:
        remove_left_texts(self._path)
        if not self._path.exists():
            return None
        try:
            data = read_bytes(self._path)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            data = b""  # One that is too large is no state either, and is told as such.
        return decode(data, self)

    def store(self, kept: PublisherState) -> None:
        replace_text(self._path, encode(kept) + "\n")
