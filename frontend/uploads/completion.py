"""The end of an upload session: its blob, or nothing.

What it is completed to is decided once and written down; from then on any frontend can repeat the rest, and makes the same
record under the same id each time. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ambry.blob import BlobProperties
from ambry.checksum import digest
from ambry.errors import (
    BlobGone,
    ChecksumMismatch,
    InvalidRequest,
    InvariantBroken,
    RequestTimeout,
    TooLarge,
    Unavailable,
    UpdateConflict,
)
from ambry.format.record import PAYLOAD_SIZE_MAX
from frontend.request import RequestContext
from frontend.router.chunk_puts import WrittenChunks
from frontend.router.commit import commit_composite
from frontend.router.context import RouterContext
from frontend.router.records import CompositeId, RecordPuts
from frontend.router.rehash import digest_of_chunks
from frontend.router.upload_age import UploadAge
from frontend.router.values import DigestCheck, PutResult
from frontend.uploads.bound import unnamed
from frontend.uploads.open_session import OpenSession
from frontend.uploads.parts import check_as_it_began, spec_of
from frontend.uploads.rows import (
    RECORD_FORM,
    Completion,
    Session,
    SessionState,
    UploadPart,
    digest_of_parts,
    digest_of_said,
)
from frontend.uploads.sessions import Sessions

UNNAMED_FORM = 2
"""The first of records that expire unless a name has them."""
REF_BYTES = 56
"""Of one chunk in a composite record (ambry/format/composite.py), at most."""


class WantedPart(msgspec.Struct, frozen=True):
    """A part as whoever completes the session knows it; None is not compared."""

    part: int
    size: int | None = None
    digest: bytes | None = None


class BlobSaid(msgspec.Struct, frozen=True):
    """What is said of a blob with its completion, in place of what was said before."""

    properties: BlobProperties
    metadata: bytes
    ttl_s: int | None


def is_said(session: Session, said: BlobSaid) -> bool:
    """Whether that is what was said of a session's blob."""
    if session.brief:
        return session.metadata == digest_of_said(said.properties, said.metadata, said.ttl_s)
    return BlobSaid(session.properties, session.metadata, session.ttl_s) == said


async def complete(
    request: RequestContext,
    context: RouterContext,
    sessions: Sessions,
    found: OpenSession,
    *,
    wanted: Sequence[WantedPart] | None,
    size_max: int,
    verify: DigestCheck | None,
    said: BlobSaid | None = None,
) -> PutResult:
    """Make the blob; when it returns it is as durable as was asked for. Doing it again is the same.

    `wanted` are the parts in the order of the blob, by rising number unless there is something `said`; None is all that
    arrived, by number, without a gap. With `verify` the bytes are gone through, and it hears their xxh3-128. Raises
    InvalidRequest for parts that are not those, and nothing is changed; UpdateConflict where another completion was asked for
    before, UploadGone; what a put raises.
    """
    if found.session.state is SessionState.OPEN:
        await sessions.check_takes_parts(found)
        await check_as_it_began(request, context, found)
        arrived = {part.number: part async for part in sessions.parts(found)}
        chosen = _chosen(arrived, wanted, any_order=said is not None)
        completion = await _decide(request, context, found, chosen, size_max=size_max, verify=verify)
        completion = replace(completion, others=len(chosen) < len(arrived))
        if found.sealing is not None:
            completion = replace(completion, key=found.sealing.new_record_key(found.session.blob))
        found = await sessions.complete(_with(found, said), completion)
    else:
        await _check_same(sessions, found, wanted, verify)
    if found.session.state is SessionState.COMPLETING:
        found = await commit(request, context, sessions, found)
    return result_of(found)


async def commit(
    request: RequestContext, context: RouterContext, sessions: Sessions, found: OpenSession
) -> OpenSession:
    """Write the record of a session that is being completed. Raises what a put raises.

    One whose parts are not those any more that were chosen is open again: a part came between the choice and its being written
    down (UpdateConflict). One whose container is encrypted since ends aborted; so does one whose chunks data nodes gave up,
    against all settings.
    """
    completion = completion_of(found)
    if found.session.brief:
        raise InvariantBroken(f"of the blob of the upload session {found.id.hex()} nothing stands there any more")
    if completion.form > RECORD_FORM:
        raise Unavailable(
            f"the upload session {found.id.hex()} was completed by another release, whose record (form {completion.form}) "
            f"this one does not make (form {RECORD_FORM}): a frontend of that release ends it; ask again",
            retry_after_s=1,
        )
    arrived = {part.number: part async for part in sessions.parts(found)}
    chosen = [arrived[number] for number in completion.parts if number in arrived]
    if digest_of_parts(chosen) != completion.chosen:
        await sessions.reopen(found)
        raise UpdateConflict(
            f"parts of the upload session {found.id.hex()} came anew while it was completed; nothing was stored, complete it "
            "again"
        )
    refs = tuple(ref for part in chosen for ref in part.refs)
    spec = spec_of(found.session, completion.created_at_ms)
    if found.session.name and completion.form >= UNNAMED_FORM:
        spec = unnamed(spec)
    parts = len(completion.parts) if completion.of_parts else 0
    spec = replace(spec, properties=replace(spec.properties, parts=parts))
    blob_id = found.session.blob_id
    # Whatever the clocks say: it has taken its time.
    age = UploadAge(context.clock, created_at_ms=0, max_s=context.config.upload_max_s)
    records = RecordPuts(request, context, spec)
    if found.sealing is not None:
        records.sealing = found.sealing.of_record(found.session.blob, completion)
    try:
        await check_as_it_began(request, context, found)
    except UpdateConflict:
        await give_up(request, context, sessions, found)
        raise
    try:
        await commit_composite(
            request,
            context,
            records,
            CompositeId(blob_id, context.replicas[blob_id.partition]),
            spec,
            WrittenChunks(refs, completion.size, completion.digest),
            age,
        )
    except (BlobGone, RequestTimeout):
        await give_up(request, context, sessions, found)
        raise
    return await sessions.finish(found, SessionState.DONE)


async def give_up(
    request: RequestContext, context: RouterContext, sessions: Sessions, found: OpenSession
) -> OpenSession:
    """End a session that is being completed without a blob: what may have been written of it is let go."""
    spec = spec_of(found.session, completion_of(found).created_at_ms)
    context.discards.forget(request.id, [found.session.blob_id], spec.expires_at_ms)
    return await sessions.finish(found, SessionState.ABORTED)


async def _check_same(
    sessions: Sessions, found: OpenSession, wanted: Sequence[WantedPart] | None, verify: DigestCheck | None
) -> None:
    """Raises UpdateConflict where a session was completed to another blob than is asked for now."""
    completion = completion_of(found)
    if verify is not None:
        if completion.of_parts:
            raise _another(found, "without a digest of the whole", "ask without one")
        try:
            await verify(completion.digest)
        except ChecksumMismatch:
            raise _another(found, f"to bytes with the xxh3-128 {completion.digest.hex()}", "begin anew") from None
    if wanted is None:
        if completion.others:
            raise _another(found, "from some of the parts that had arrived", "name them")
        return
    if tuple(each.part for each in wanted) != completion.parts:
        raise _another(found, "from other parts", "name those")
    if all(each.size is None and each.digest is None for each in wanted):
        return
    made_of = {part.number: part async for part in sessions.parts(found)}
    for each in wanted:
        part = made_of.get(each.part)
        if part is None or (wrong := _differs(each, part)):
            raise _another(found, "from other parts" if part is None else f"when {wrong}", "begin anew for other bytes")


def _another(found: OpenSession, how: str, then: str) -> UpdateConflict:
    return UpdateConflict(f"the upload session {found.id.hex()} was completed {how}, and stays so; {then}")


def completion_of(found: OpenSession) -> Completion:
    """What a session that is being completed is completed to. Raises UpdateConflict for one that is not."""
    if found.session.completion is None:
        raise UpdateConflict(f"the upload session {found.id.hex()} is not complete")
    return found.session.completion


def result_of(found: OpenSession) -> PutResult:
    """What is told of a session's blob."""
    done = completion_of(found)
    return PutResult(
        id=found.session.blob_id,
        size=done.size,
        digest=done.digest,
        created_at_ms=done.created_at_ms,
        parts=len(done.parts) if done.of_parts else 0,
    )


def _chosen(
    arrived: dict[int, UploadPart], wanted: Sequence[WantedPart] | None, *, any_order: bool
) -> list[UploadPart]:
    """The parts of the blob in their order. Raises InvalidRequest."""
    if not arrived:
        raise InvalidRequest("no part has arrived yet; send parts first, or upload an empty blob to /")
    if wanted is None:
        missing = [number for number in range(1, max(arrived) + 1) if number not in arrived]
        if missing:
            raise InvalidRequest(f"{_absent(missing)}, or name the parts that the blob is made of")
        return [arrived[number] for number in sorted(arrived)]
    numbers = [each.part for each in wanted]
    if not numbers or (not any_order and numbers != sorted(set(numbers))):
        raise InvalidRequest("parts are named once each, by rising number, and at least one")
    missing = [number for number in numbers if number not in arrived]
    if missing:
        raise InvalidRequest(f"{_absent(missing)} and complete again")
    for each in wanted:
        if wrong := _differs(each, arrived[each.part]):
            raise InvalidRequest(f"{wrong}; send it again")
    return [arrived[number] for number in numbers]


def _differs(wanted: WantedPart, part: UploadPart) -> str:
    """How a part is not as it is wanted; empty where it is."""
    if wanted.size not in (None, part.size):
        return f"part {part.number} has {part.size} bytes, not {wanted.size}"
    if wanted.digest not in (None, part.digest):
        return f"part {part.number} has the xxh3-128 {part.digest.hex()}"
    return ""


def _with(found: OpenSession, said: BlobSaid | None) -> OpenSession:
    """A session whose blob is what was said now; not written yet."""
    if said is None:
        return found
    session = replace(found.session, properties=said.properties, metadata=said.metadata, ttl_s=said.ttl_s)
    return replace(found, session=session)


async def _decide(
    request: RequestContext,
    context: RouterContext,
    found: OpenSession,
    chosen: Sequence[UploadPart],
    *,
    size_max: int,
    verify: DigestCheck | None,
) -> Completion:
    size = sum(part.size for part in chosen)
    refs = [ref for part in chosen for ref in part.refs]
    if size > size_max:
        raise TooLarge(f"the parts have {size} bytes together, and a blob has at most {size_max}")
    if len(refs) * REF_BYTES > PAYLOAD_SIZE_MAX:
        raise TooLarge(f"the parts have {len(refs)} chunks together, more than one blob can list")
    if len(chosen) == 1:
        whole, of_parts = chosen[0].digest, False
    elif verify is not None:
        sealed = found.sealing is not None
        whole = await digest_of_chunks(request, context, found.session.blob_id, refs, sealed=sealed)
        of_parts = False
    else:
        whole, of_parts = digest(b"".join(part.digest for part in chosen)), True
    if verify is not None:
        await verify(whole)
    numbers = tuple(part.number for part in chosen)
    now_ms, form = context.clock.wall_ms(), UNNAMED_FORM if found.session.name else 1
    return Completion(numbers, size, whole, of_parts, now_ms, digest_of_parts(chosen), form=form)


def _absent(missing: Sequence[int]) -> str:
    if len(missing) == 1:
        return f"part {missing[0]} has not arrived; send it"
    return f"parts {_some(missing)} have not arrived; send them"


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
