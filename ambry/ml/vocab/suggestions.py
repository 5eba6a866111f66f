"""Suggestions: a network that learnt from accepted pairs says which title of a vocabulary a new text may mean.

It is published as any other model: weights as safetensors, its sizes as JSON, the relations and the definitions that it was
made from in its manifest. The titles that it chooses from are those of the vocabulary at hand, also ones that came later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, DataCorrupt, InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.publishing import load
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.models.publishing import PublishedModel, publish_model
from ambry.ml.vocab.encoder import EncoderConfig, encoded, encoder
from ambry.ml.vocab.proposals import the_dimension
from ambry.ml.vocab.relations import ALIAS, relations_of

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
EPOCHS = 30
BATCH = 128
TITLES_AT_ONCE = 1_024
_SHARPNESS = 16.0
"""What the cosine is multiplied with: the higher, the more the nearest title gets of the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleSuggestion:
    """A title of the vocabulary for a text, and how near they are: 1 is the same."""

    text: str
    title: str
    score: float


class TitleSuggester:
    """A network and the vocabulary that it chooses from."""

    def __init__(self, module: Any, config: EncoderConfig, titles: Sequence[str]) -> None:
        self.module, self.config, self.titles = module, config, tuple(titles)
        module.eval()
        self._places = self._encoded(self.titles)

    def suggest(self, texts: Iterable[str], count: int = 3) -> list[list[TitleSuggestion]]:
        """The nearest titles of each text, the nearest first. Raises InvalidRequest for a count below 1."""
        given = list(texts)
        if count < 1:
            raise InvalidRequest(f"at least 1 title is suggested, and not {count}")
        if not given:
            return []
        scores = self._encoded(given) @ self._places.T
        best = scores.topk(min(count, len(self.titles)), dim=1)
        return [
            [
                TitleSuggestion(text=text, title=self.titles[place], score=round(score, 6))
                for score, place in zip(values, places, strict=True)
            ]
            for text, values, places in zip(given, best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _encoded(self, titles: Sequence[str]) -> Any:
        torch = needed("torch")
        with torch.no_grad():
            pieces = [
                encoded(self.module, self.config, titles[first : first + TITLES_AT_ONCE])
                for first in range(0, len(titles), TITLES_AT_ONCE)
            ]
            return torch.cat(pieces) if pieces else encoded(self.module, self.config, titles)


def train(
    pairs: Sequence[tuple[str, str]],
    titles: Sequence[str],
    *,
    config: EncoderConfig | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> TitleSuggester:
    """Learn from pairs of a text and its title. The same of the same pairs and seed on one machine. Raises InvalidRequest.

    Each text is pulled towards its title and away from those of the other pairs beside it.
    """
    torch = needed("torch")
    if len({target for _, target in pairs}) < 2:
        raise InvalidRequest(
            "there is nothing to learn from pairs that have fewer than two titles; accept more of them"
        )
    sizes = config or EncoderConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = encoder(sizes)
        steps = torch.optim.Adam(module.parameters(), lr=3e-3)
        for _ in range(epochs):
            order = torch.randperm(len(pairs)).tolist()
            for first in range(0, len(order), BATCH):
                batch = [pairs[place] for place in order[first : first + BATCH]]
                targets = sorted({target for _, target in batch})
                if len(targets) < 2:
                    continue
                own = torch.tensor([targets.index(target) for _, target in batch])
                near = encoded(module, sizes, [source for source, _ in batch])
                scores = _SHARPNESS * near @ encoded(module, sizes, targets).T
                loss = torch.nn.functional.cross_entropy(scores, own)
                steps.zero_grad()
                loss.backward()
                steps.step()
    return TitleSuggester(module, sizes, titles)


def recall_at(suggester: TitleSuggester, pairs: Sequence[tuple[str, str]], count: int = 1) -> float:
    """The share of pairs whose title is among the first so many suggestions."""
    found = suggester.suggest([source for source, _ in pairs], count)
    hits = sum(target in {each.title for each in best} for (_, target), best in zip(pairs, found, strict=True))
    return hits / len(pairs) if pairs else 0.0


def publish_suggester(
    client: AmbryClient,
    model: str,
    relations: VersionRef | str,
    definitions: VersionRef | str,
    dimension: str,
    *,
    relation: str = ALIAS,
    epochs: int = EPOCHS,
    seed: int = 0,
    code: str = "",
    parent: VersionRef | str = "",
) -> PublishedModel:
    """Train on the pairs of one relation, and publish what came of it, with what it was made from and what it follows."""
    metadata = load(client, definitions)
    reference = the_dimension(metadata.metadata, dimension)
    edges = relations_of(client, relations)
    titles = metadata.metadata.vocabulary(reference).names[1:]
    pairs = edges.pairs(relation)
    learnt = train(pairs, titles, epochs=epochs, seed=seed)
    weights = needed("safetensors.torch").save(learnt.module.state_dict())
    told = {"format": 1, "dimension": str(reference), "relation": relation, **learnt.config.plain()}
    return publish_model(
        client,
        model,
        {WEIGHTS_FILE: weights, CONFIG_FILE: json.dumps(told, sort_keys=True).encode()},
        kind="safetensors",
        framework={"torch": needed("torch").__version__},
        snapshot=str(edges),
        definitions=metadata.place,
        code=code,
        parent=parent,
        metrics={"pairs": float(len(pairs)), "recall_at_1": recall_at(learnt, pairs)},
        params={"epochs": epochs, "seed": seed, "relation": relation},
    )


def open_suggester(client: AmbryClient, model: VersionRef | str, definitions: VersionRef | str = "") -> TitleSuggester:
    """A published one, with the titles of the definitions that it was made with, or of those that are said.

    Raises BlobNotFound, DataCorrupt for a model that is no suggester.
    """
    stored = open_model(client, model)
    config, reference = _config(stored)
    titles = vocabulary_names(client, str(definitions) or stored.manifest.definitions, reference)
    module = encoder(config)
    try:
        module.load_state_dict(stored.load(framework="torch"))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DataCorrupt(f"the weights of {stored} are not those of its {CONFIG_FILE}: {error}") from error
    return TitleSuggester(module, config, titles)


def vocabulary_names(client: AmbryClient, definitions: str, dimension: str) -> tuple[str, ...]:
    """All names of a vocabulary but the one that stands for no name."""
    metadata = load(client, definitions).metadata
    return metadata.vocabulary(the_dimension(metadata, dimension)).names[1:]


def _config(stored: StoredModel) -> tuple[EncoderConfig, str]:
    path = stored.path(CONFIG_FILE, verify=True)
    try:
        said = json.loads(path.read_bytes())
        sizes = {name: said[name] for name in EncoderConfig().plain()}
        return EncoderConfig(**sizes), str(said["dimension"])
    except MALFORMED as error:
        raise DataCorrupt(f"{stored} does not suggest titles: {error}") from error
