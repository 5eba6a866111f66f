from __future__ import annotations

from typing import get_type_hints

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobNotFound, InternalError, ProtocolViolation
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, ErrorReply, Hello, Message, Name, Pong
from ambry.protocol.messages.blobs import (
    GetReply,
    GetRequest,
    GetsReply,
    GetsRequest,
    GotBytes,
    NewBlob,
    NotStored,
    PresenceReply,
    PresenceRequest,
    PutRequest,
    PutsReply,
    PutsRequest,
    UpdateReply,
    UpdateRequest,
    WantedBytes,
)
from ambry.protocol.messages.feed import (
    ContainerPartitions,
    FeedAnswer,
    FeedChange,
    FeedOutcome,
    FeedPartition,
    FeedPlace,
    FeedReply,
    FeedRequest,
    WatchReply,
    WatchRequest,
    place_tag,
)
from ambry.protocol.messages.metadata import (
    Followed,
    LoggedVersion,
    LogPlace,
    MetadataHeadReply,
    MetadataHeadRequest,
    MetadataLogReply,
    MetadataLogRequest,
    MetadataNewestReply,
    MetadataNewestRequest,
    RegisterPlace,
)
from ambry.protocol.messages.replication import (
    Change,
    ChangesCursor,
    ChangesReply,
    ChangesRequest,
    FetchReply,
    FetchRequest,
    PartitionChanges,
)
from ambry.protocol.messages.segments import (
    RecordOffer,
    SegmentBytesReply,
    SegmentBytesRequest,
    SegmentOffer,
    SegmentRecordsReply,
    SegmentRecordsRequest,
    SegmentsReply,
    SegmentsRequest,
)
from ambry.protocol.messages.upkeep import UsageReply, UsageRequest, UsageRow

ID = b"i" * 36
STATE = BlobState(1, True, NEVER_MS)
PUT = PutRequest("r", ID, 1, 5, NEVER_MS, b"p", b"m", b"d" * 16, True)
SAMPLES: list[Message] = [
    Hello("c", "n", "e", 2, 3, ("cancel",), 7, 1_700_000_000_000, b"i" * 16, "1.2.3", 10, 20),
    Pong(1_700_000_000_000, 5 << 40),
    Empty(),
    ErrorReply(20, "gone"),
    PUT,
    GetRequest("r", ID, 0, 5, True),
    GetReply(STATE, True, 1, 5, b"p", b"m", b"d" * 16, 9, 0),
    UpdateRequest("r", ID, STATE, 5),
    UpdateReply(STATE),
    PresenceRequest("r", [ID]),
    PresenceReply(["present"]),
    ChangesRequest([ChangesCursor(7, b"i" * 16, 5)], 10, 20, 30),
    ChangesReply([PartitionChanges(7, b"i" * 16, 5, 6, [Change(ID, 5, STATE, True, 9)])]),
    FetchRequest(7, [ID], 100),
    FetchReply([8], [ID]),
    SegmentsRequest(7, b"i" * 16, 5),
    SegmentsReply(b"i" * 16, [SegmentOffer(3, 1, 900, 800, (1 << 64) - 1)]),
    SegmentRecordsRequest(7, b"i" * 16, 3, 1, 128),
    SegmentRecordsReply([RecordOffer(ID, 128, 400, STATE, 5)], 528),
    SegmentBytesRequest(7, b"i" * 16, 3, 1, 128, 400),
    SegmentBytesReply(),
    GetsRequest("r", [WantedBytes(ID, 0, 5)], 100),
    GetsReply([GotBytes(GetReply(STATE, True, 1, 5, b"p", b"m", b"d" * 16, 9, 0), 5, 0), None]),
    PutsRequest("r", True, [NewBlob(ID, 5, NEVER_MS, b"p", b"m", b"d" * 16, 9)]),
    PutsReply([NotStored(3, 20, "gone")]),
    UsageRequest(7, 1_700_000_000_000, b"c" * 8, 10),
    UsageReply(5, True, [UsageRow(b"c" * 8, 1, 2, 3, 4)], b"c" * 8),
    FeedRequest(b"c" * 8, [FeedPartition(7, [FeedPlace(b"t" * 4, 9)], False, 3, [ID])], 10),
    FeedReply(
        [
            FeedAnswer(
                7,
                FeedOutcome.TOLD,
                [FeedChange(ID, STATE, 5, True, False, -1)],
                FeedPlace(place_tag("n", b"i" * 16, b"e" * 16), 9),
                3,
                True,
                [FeedPlace(b"s" * 4, 4)],
                [ID],
            )
        ]
    ),
    WatchRequest(b"w" * 16, 3, 15_000, 5),
    WatchReply([ContainerPartitions(b"c" * 8, [7])], True),
    MetadataLogRequest(2, LogPlace(b"s" * 16, 7, 99, 1), 10, 2_500),
    MetadataLogReply([LoggedVersion(5, (1 << 64) - 1, b"k", 99, 1, None, 8)], LogPlace(b"s" * 16, 8, 99, 1), True, 9),
    MetadataNewestRequest(2, [RegisterPlace(5, 3, b"k")]),
    MetadataNewestReply([None, LoggedVersion(5, 3, b"k", 99, 1, b"v", 8)]),
    MetadataHeadRequest(2),
    MetadataHeadReply(b"s" * 16, 8, 99, [Followed(3, b"t" * 16, 4)], 1_700_000_000_000),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert messages.decode(messages.encode(message), type(message)) == message


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_fields_that_a_newer_peer_added_are_ignored(message: Message) -> None:
    fields = msgspec.msgpack.decode(messages.encode(message))
    assert messages.decode(msgspec.msgpack.encode([*fields, "new", 7]), type(message)) == message


def test_an_older_peer_may_leave_out_what_came_later() -> None:
    assert messages.decode(msgspec.msgpack.encode(["c", "n"]), Hello) == Hello(
        "c", "n", "", 1, 1, (), 0, 0, b"", "", 0, 0
    )
    assert messages.decode(messages.encode(Empty()), Pong) == Pong(0)
    assert messages.decode(msgspec.msgpack.encode(["r", ID, 0, 5]), GetRequest) == GetRequest("r", ID, 0, 5, False)


def test_the_bytes_of_a_put_never_change() -> None:
    assert messages.encode(PutRequest("r", ID, 1, 5, 6, b"p", b"", b"d" * 16, True)).hex() == (
        "9ba172c424" + "69" * 36 + "010506c40170c400c410" + "64" * 16 + "c3" + "00c400"
    )


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90", b"\x91\x01", b"\x93\xa1c\xa2\xff\xfe\xa0", messages.encode(Hello("c", "n"))[:-1]]
)
def test_garbage_is_a_protocol_violation(data: bytes) -> None:
    """A text that is not UTF-8 used to come out as UnicodeDecodeError, which ended the task that keeps a peer connected."""
    with pytest.raises(ProtocolViolation, match="Hello"):
        messages.decode(data, Hello)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (1, b"i" * 35),
        (1, b""),
        (3, -1),
        (3, 1 << 63),
        (4, -1),
        (4, 1 << 63),
        (5, b"p" * 65_537),
        (6, b"m" * 65_537),
        (7, b"d" * 15),
        (7, b"d" * 17),
    ],
)
def test_a_put_that_no_record_can_hold_is_refused(place: int, value: object) -> None:
    """Such a request used to reach the log, where encoding its record failed the batch and fenced the replica."""
    fields = msgspec.msgpack.decode(messages.encode(PUT))
    fields[place] = value
    with pytest.raises(ProtocolViolation, match="PutRequest"):
        messages.decode(msgspec.msgpack.encode(fields), PutRequest)


def test_states_and_ids_from_peers_are_bounded() -> None:
    for bad in (
        [ID, 5, [1 << 32, False, 0], True, 9],
        [ID, 5, [0, False, -1], True, 9],
        [b"short", 5, [0, False, 0], True, 9],
        [ID, -5, [0, False, 0], True, 9],
    ):
        with pytest.raises(ProtocolViolation):
            messages.decode(msgspec.msgpack.encode(bad), Change)
    with pytest.raises(ProtocolViolation):
        messages.decode(msgspec.msgpack.encode([7, [b""], 100]), FetchRequest)
    with pytest.raises(ProtocolViolation):
        messages.decode(msgspec.msgpack.encode([7, b"i" * 16, 1 << 63]), ChangesCursor)


def test_an_error_reply_becomes_its_error() -> None:
    made = messages.error_of(messages.encode(ErrorReply(BlobNotFound.code, "not here")))
    assert type(made) is BlobNotFound
    assert made.message == "not here"
    assert type(messages.error_of(messages.encode(ErrorReply(12_345, "x")))) is InternalError
    with pytest.raises(ProtocolViolation):
        messages.error_of(b"\xc1")


def test_every_name_in_a_message_is_one_whose_handler_holds_it_against_the_certificate() -> None:
    """Who adds a message that names its sender adds it here, and check_sender (ambry/network/identity.py) to its handler."""
    named = {
        (message.__name__, field)
        for message in {type(sample) for sample in SAMPLES}
        for field, kind in get_type_hints(message, include_extras=True).items()
        if kind == Name
    }
    hello = {("Hello", field) for field in ("cluster", "name", "expected", "release")}
    assert named == {*hello, ("ChangesRequest", "name")}
