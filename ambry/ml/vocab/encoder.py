"""The network behind suggestions: an LSTM over the bytes of a title, made so that titles that belong together lie together.

    embedding   257 x width             byte 0 to 255, and 256 for what is beyond the end
    lstm        width -> hidden         one layer
    projection  hidden -> out           of the mean over the bytes; then to the length 1

Its state_dict and a JSON of these numbers are all there is to it: torch alone loads it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed

PADDING = 256
SIZE_MAX = 4_096
"""Of each of the sizes of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The sizes of the network; stands beside its weights."""

    width: int = 32
    hidden: int = 64
    out: int = 64
    bytes_max: int = 96

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        for name, size in asdict(self).items():
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= SIZE_MAX:
                raise InvalidRequest(f"{name} of the network is a whole number from 1 to {SIZE_MAX}, and not {size!r}")

    def plain(self) -> dict[str, int]:
        return asdict(self)


def bytes_of(title: str, bytes_max: int) -> list[int]:
    """A title as the network sees it: compatible forms and cases are one, and what is too long is cut."""
    return list(unicodedata.normalize("NFKC", title).casefold().encode("utf-8", "replace")[:bytes_max]) or [0]


def encoder(config: EncoderConfig) -> Any:
    """The module, with weights of chance. Raises ModuleNotFoundError that names what to install."""
    nn = needed("torch").nn
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(PADDING + 1, config.width, padding_idx=PADDING),
            "lstm": nn.LSTM(config.width, config.hidden, batch_first=True),
            "projection": nn.Linear(config.hidden, config.out),
        }
    )


def encoded(module: Any, config: EncoderConfig, titles: Sequence[str]) -> Any:
    """A row of length 1 for each title. Raises InvalidRequest for none."""
    torch = needed("torch")
    if not titles:
        raise InvalidRequest("there are no titles to look at")
    rows = [bytes_of(title, config.bytes_max) for title in titles]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
    states, _ = module["lstm"](module["embedding"](padded))
    there = (padded != PADDING).unsqueeze(-1)
    mean = (states * there).sum(1) / there.sum(1)
    return torch.nn.functional.normalize(module["projection"](mean), dim=-1)
