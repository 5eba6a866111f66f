"""What is written to a metadata store's SQLite file: one transaction for all that waits. Blocking."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ambry.errors import AmbryError, DataCorrupt
from frontend.metadata import queries
from frontend.metadata import sqlite_reads as reads
from frontend.metadata.plan import LocalKey, Plan, RegisterKey, VersionIdentity, local_keys, register_keys
from frontend.metadata.rows import local_row_of, row_of, signed
from frontend.metadata.sqlite_file import head_of
from frontend.metadata.store import LocalRow, Version
from frontend.metadata.work import ENDED_ROWS, Group, Request

MANY = 100
"""Registers, from which on a scope is asked as a whole whether it has a past."""


class CarriedOut(NamedTuple):
    """What came of a transaction."""

    seq: int
    """The log's last by now."""
    erased: bool
    """Whether something went that must not be found in the WAL either."""


def carry_out(
    sql: sqlite3.Connection, jobs: Sequence[Request], *, datacenter: int, wall_ms: int, sweep: bool
) -> CarriedOut:
    """All jobs in one transaction, which is durable on return.

    A job that conflicts, or meets a damaged row, has its error; the others are done. `sweep`: local rows past their end go too.
    Raises sqlite3.Error, and then nothing is done, or, if the commit failed, perhaps all of it.
    """
    sql.execute("BEGIN IMMEDIATE")
    try:
        plan = _load(sql, jobs, datacenter=datacenter, wall_ms=wall_ms)
        for job in jobs:
            if job.error is None:
                _plan(plan, job)
        swept = _sweep(sql, wall_ms) if sweep else 0
        if plan.empty and not swept:
            sql.execute("ROLLBACK")
        else:
            _write(sql, plan)
            sql.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself where it could not go on.
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise
    return CarriedOut(plan.head.seq, plan.erased)


def _plan(plan: Plan, job: Request) -> None:
    work = job.what
    try:
        job.result = plan.write(work.changes) if isinstance(work, Group) else plan.merge(work.versions, work.along)
    except AmbryError as error:
        job.error = error


def _load(sql: sqlite3.Connection, jobs: Sequence[Request], *, datacenter: int, wall_ms: int) -> Plan:
    registers: dict[RegisterKey, Version | None] = {}
    locals: dict[LocalKey, LocalRow | None] = {}
    known: list[VersionIdentity] = []
    for job in jobs:
        work = job.what
        try:
            if isinstance(work, Group):
                _load_registers(sql, registers, register_keys(work.changes))
                _load_locals(sql, locals, local_keys(work.changes))
            else:
                _load_registers(sql, registers, [RegisterKey(v.space, v.scope, v.key) for v in work.versions])
                _load_locals(sql, locals, local_keys(work.along))
                # Where nothing is, nothing is in the past.
                older = [v for v in work.versions if registers[RegisterKey(v.space, v.scope, v.key)] is not None]
                known += reads.past_known(sql, older)
        except DataCorrupt as error:
            job.error = error
    return Plan(
        head_of(sql),
        datacenter=datacenter,
        wall_ms=wall_ms,
        registers=registers,
        locals=locals,
        past_known=known,
    )


def _load_registers(
    sql: sqlite3.Connection, registers: dict[RegisterKey, Version | None], places: Iterable[RegisterKey]
) -> None:
    wanted = [place for place in places if place not in registers]
    # A container that is filled from elsewhere has no past yet; to know that once is cheaper than to look each time.
    scopes = {(place.space, place.scope) for place in wanted} if len(wanted) >= MANY else ()
    fresh = {scope for scope in scopes if not reads.has_past(sql, *scope)}
    for place in wanted:
        registers[place] = reads.newest(sql, place, fresh=(place.space, place.scope) in fresh)


def _load_locals(sql: sqlite3.Connection, locals: dict[LocalKey, LocalRow | None], places: Iterable[LocalKey]) -> None:
    for place in places:
        if place not in locals:
            locals[place] = reads.local(sql, place)


def _write(sql: sqlite3.Connection, plan: Plan) -> None:
    sql.executemany(queries.PAST_PUT, map(row_of, plan.past()))
    gone = ((place.space, signed(place.scope), place.key) for place in plan.registers_gone())
    sql.executemany(queries.REGISTER_GONE, gone)
    sql.executemany(queries.REGISTER_PUT, map(row_of, plan.registers_put()))
    sql.executemany(queries.LOCAL_GONE, plan.locals_gone())
    sql.executemany(queries.LOCAL_PUT, map(local_row_of, plan.locals_put()))
    head = plan.head
    sql.execute(queries.HEAD_PUT, (head.seq, head.time))


def _sweep(sql: sqlite3.Connection, wall_ms: int) -> int:
    """Take local rows away that are past their end; how many."""
    return sql.execute(queries.LOCAL_SWEEP, (wall_ms, ENDED_ROWS)).rowcount
