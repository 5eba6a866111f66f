"""Options of `ambry photon train` that mean nothing beside the others are refused: they would be passed over in silence."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ambry.ml.photon.effects import FixedEffect, ModelEffect, RandomEffect

_OF_RANDOM = ("lower", "upper", "seed")
_OF_FIXED = ("normalization",)
_OF_SPARK = ("master", "workers", "settings", "hadoop_conf", "sweeps")


def refuse_ignored(context: click.Context, effects: Sequence[ModelEffect], engine: str) -> None:
    """Raises UsageError for one that somebody wrote; what comes of the environment is for other commands as well."""
    kinds = {type(effect) for effect in effects}
    for names, is_of_use, what in (
        (_OF_RANDOM, RandomEffect in kinds, "is of random effects; name one by --random"),
        (_OF_FIXED, FixedEffect in kinds, "is of the fixed effect; name one by --fixed"),
        (_OF_SPARK, engine == "spark", "is of Spark; add --engine spark"),
    ):
        for name in names:
            if not is_of_use and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{_said(context, name)} {what}, or leave it out")


def _said(context: click.Context, name: str) -> str:
    return next(each.opts[0] for each in context.command.params if each.name == name)
