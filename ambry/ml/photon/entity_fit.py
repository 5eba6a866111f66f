"""The model of one entity, from its own rows alone: a function of what it is given, that any worker can call for its share.

By Newton's method (newton.py): the problem is small, smooth and convex, and glum, which is asked where there is an L1 penalty,
takes tens of milliseconds to begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.best_checks import check_gram, check_response, no_end
from ambry.ml.photon.effects import Design, RandomEffect
from ambry.ml.photon.examples import Examples, grouped, rows_of_groups
from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import by_newton, working_start
from ambry.ml.photon.objective import GlmSums, sums_at, weighted_square
from ambry.ml.photon.solving import GlmProblem, from_start, solve, unit_of


@dataclass(frozen=True, slots=True)
class EntityRows:
    """All rows of an entity, over the columns of its effect that they have. It goes from one process to another as it is."""

    entity: str
    columns: Any
    """Which features they are."""
    matrix: Any
    """Dense, (rows, columns), divided by the scale of the effect's design."""
    response: Any
    weight: Any
    offset: Any
    """With the scores of all other effects."""
    l1: Any
    l2: Any
    start: Any | None = None


@dataclass(frozen=True, slots=True)
class EntityFit:
    """Its coefficients, scaled as the rows were."""

    entity: str
    columns: Any
    means: Any


def fit_entity(rows: EntityRows, task: Task) -> EntityFit:
    """The best coefficients of an entity. Raises InvalidRequest where there are none."""
    problem = GlmProblem(
        task=task,
        matrix=rows.matrix,
        response=rows.response,
        weight=rows.weight,
        offset=rows.offset,
        l1=rows.l1,
        l2=rows.l2,
        column_name=lambda column: f"feature {rows.columns[column]}",
        start=rows.start,
    )
    try:
        if (rows.l1 > 0).any():
            means = solve(replace(problem, matrix=needed("scipy.sparse").csr_matrix(rows.matrix)))
        else:
            means = _newton(problem)
    except InvalidRequest as error:
        error.message = f"{rows.entity!r}: {error.message}"
        raise
    return EntityFit(rows.entity, rows.columns, means)


def entity_rows(
    effect: RandomEffect, design: Design, examples: Examples, offset: Any, start: Any | None = None
) -> Iterator[EntityRows]:
    """The rows with a weight of each entity that has as many as its effect asks for, sorted by entity. Those that a bound from
    above leaves out are not here (bounds.weighed).

    `start` are coefficients to begin at: {entity: array over the features, scaled}. All rows of an entity are to be here.
    """
    names, codes = grouped(examples.entities(effect.entity))
    for name, rows in zip(names, rows_of_groups(codes), strict=True):
        rows = rows[examples.weight[rows] > 0]
        if len(rows) < effect.lower:
            continue
        part = design.matrix[rows]
        columns = np.unique(part.indices)
        begin = None if start is None else start.get(name)
        yield EntityRows(
            entity=name,
            columns=columns,
            matrix=part[:, columns].toarray(),
            response=examples.response[rows],
            weight=examples.weight[rows],
            offset=offset[rows],
            l1=design.l1[columns],
            l2=design.l2[columns],
            start=None if begin is None else begin[columns],
        )


def fits_of(rows: Iterable[EntityRows], task: Task) -> Iterator[EntityFit]:
    """One after the other: what a worker does with its share."""
    for each in rows:
        yield fit_entity(each, task)


def _newton(problem: GlmProblem) -> Any:
    """Raises InvalidRequest."""
    free = problem.free
    if len(free):
        used = problem.weight > 0
        told = problem.response[used]
        check_response(problem.task, len(free), told.min(initial=np.inf), told.max(initial=-np.inf))
        check_gram(weighted_square(problem.matrix[:, free], problem.weight), free, problem.column_name)
    unit = unit_of(problem.task, problem.response, problem.weight, problem.offset)
    scaled, weight = problem.in_units(unit), float(problem.weight.sum())

    def at(means: Any) -> GlmSums:
        return sums_at(scaled.task, scaled.matrix, scaled.response, scaled.weight, scaled.offset, means)

    def found(start: Any | None) -> Any:
        ended = by_newton(at, np.zeros(len(scaled.l2)) if start is None else start, scaled.l2, weight)
        if ended is None and start is None and scaled.task is Task.POISSON:
            begin = working_start(scaled.matrix, scaled.response, scaled.weight, scaled.offset, scaled.l2)
            ended = None if begin is None else by_newton(at, begin, scaled.l2, weight)
        if ended is None:
            raise no_end(problem)
        return ended[0]

    return unit * from_start(found, scaled.start)
