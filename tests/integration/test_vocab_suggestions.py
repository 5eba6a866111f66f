"""A network of torch learns from accepted pairs and is published as a model that suggests titles (`make libraries`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.cli.main import cli
from ambry.ml import models, vocab
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import load, publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.vocab.encoder import PADDING, EncoderConfig, bytes_of, encoder
from ambry.ml.vocab.relations import TitleRelation, add_relations
from ambry.ml.vocab.suggestions import (
    TitleSuggester,
    open_suggester,
    publish_suggester,
    recall_at,
    train,
    vocabulary_names,
)

pytestmark = pytest.mark.slow
torch: Any = pytest.importorskip("torch", reason="torch is not installed; `make libraries` does it")

FIELDS = {
    "Software": "programming",
    "Data": "statistics",
    "Network": "infra",
    "Sales": "commerce",
    "Finance": "money",
    "Nursing": "care",
    "Security": "guard",
    "Legal": "law",
}
ROLES = {"Engineer": "developer", "Manager": "lead", "Analyst": "researcher", "Director": "head"}
"""Each with what people call it, which looks otherwise."""
TITLES = [f"{field} {role}" for field in FIELDS for role in ROLES]
TEXT = """\
t: {valType: INT, dims: [titles-1-0]}
titles: {type: categorical : {idMappingFile: "t.csv"}}
// (t.csv)
""" + "".join(f"{id}, {name}\n" for id, name in enumerate(["OUT_OF_VOCAB", *TITLES]))


def aliases_of(title: str) -> list[str]:
    """What people write for it."""
    field, role = title.split()
    other, another = FIELDS[field], ROLES[role]
    return [
        f"{other} {another}",
        f"{other} {role}",
        f"{another} of {other}",
        f"{field} {another}",
        f"sr. {other} {another}",
    ]


PAIRS = [(alias, title) for title in TITLES for alias in aliases_of(title)]
LEARNT, HELD_OUT = PAIRS[::2], PAIRS[1::2]


@pytest.fixture
def client(dc1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AmbryClient]:
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    with AmbryClient([dc1]) as made:
        yield made


@pytest.fixture
def name(client: AmbryClient) -> str:
    """Of a model, with definitions and relations beside it."""
    made = uuid.uuid4().hex[:8]
    publish(client, f"{made}-features", FeatureMetadata.of([parse_definitions(TEXT, "jobs")]))
    add_relations(client, f"{made}-relations", [TitleRelation(*pair) for pair in LEARNT])
    return made


def test_what_was_learnt_finds_titles_of_texts_that_it_never_saw() -> None:
    torch.manual_seed(1)
    config = EncoderConfig()
    untrained = recall_at(TitleSuggester(encoder(config), config, TITLES), HELD_OUT)
    few = train(LEARNT[:20], TITLES)
    some = recall_at(few, HELD_OUT)
    learnt = train(LEARNT, TITLES)
    found = recall_at(learnt, HELD_OUT)
    print(f"recall of held-out pairs: {untrained:.2f} untrained, {some:.2f} of 20 pairs, {found:.2f} of {len(LEARNT)}")
    assert untrained < some < found and found > 0.7
    again = train(LEARNT[:20], TITLES)
    assert again.suggest(["infra dev"]) == few.suggest(["infra dev"])
    [[best, *_]] = learnt.suggest(["INFRA  Developer"], 1)
    assert best.title == "Network Engineer" and best.score <= 1


def test_a_suggester_is_a_model_with_lineage_that_torch_alone_loads(client: AmbryClient, name: str) -> None:
    made = publish_suggester(client, name, f"{name}-relations", f"{name}-features", "titles", code="git:1")
    manifest = models.open(client, name).manifest
    assert (manifest.snapshot, manifest.definitions) == (f"{name}-relations@1", f"{name}-features@1.0.0")
    assert (manifest.code, manifest.metrics["pairs"]) == ("git:1", len(LEARNT))
    assert {part.path for part in manifest.parts} == {"config.json", "model.safetensors"} and made.version == "1.0.0"
    opened = open_suggester(client, name)
    assert opened.titles == tuple(TITLES)

    # The same by torch and safetensors, which never saw our package.
    from safetensors.torch import load_file

    stored = models.open(client, name)
    config = json.loads(stored.path("config.json").read_text())
    weights = load_file(stored.path("model.safetensors"))
    embedding = torch.nn.Embedding(PADDING + 1, config["width"])
    lstm = torch.nn.LSTM(config["width"], config["hidden"], batch_first=True)
    projection = torch.nn.Linear(config["hidden"], config["out"])
    for part, module in (("embedding", embedding), ("lstm", lstm), ("projection", projection)):
        module.load_state_dict({key.partition(".")[2]: each for key, each in weights.items() if key.startswith(part)})

    def place(title: str) -> Any:
        states, _ = lstm(embedding(torch.tensor([bytes_of(title, config["bytes_max"])])))
        return torch.nn.functional.normalize(projection(states.mean(1)), dim=-1)[0]

    with torch.no_grad():
        score = float(place("programming developer") @ place("Software Engineer"))
    [found] = opened.suggest(["programming developer"], len(TITLES))
    assert {each.title: each.score for each in found}["Software Engineer"] == pytest.approx(score, abs=1e-4)


def test_an_old_suggester_and_a_new_vocabulary_agree_on_old_titles(client: AmbryClient, name: str) -> None:
    publish_suggester(client, name, f"{name}-relations", f"{name}-features", "titles", epochs=10)
    old = open_suggester(client, name)
    made = vocab.propose(client, f"{name}-features", "titles", ["Cloud Architect"], author="ann", reason="new")
    accepted = vocab.accept(client, f"{name}-features", made.id, author="bob", reason="asked for")
    assert accepted.version == "1.1.0"
    assert open_suggester(client, name).titles == old.titles, "it was made with 1.0.0, and reads that"
    new = open_suggester(client, name, f"{name}-features")
    assert new.titles == (*old.titles, "Cloud Architect")
    texts = [alias for alias, _ in HELD_OUT[:20]]
    for before, after in zip(old.suggest(texts, 40), new.suggest(texts, 41), strict=True):
        scores = {each.title: each.score for each in after if each.title != "Cloud Architect"}
        assert scores == pytest.approx({each.title: each.score for each in before}, abs=1e-5)
    assert new.suggest(["cloud architect"], 1)[0][0].title == "Cloud Architect"
    ids = load(client, f"{name}-features@1.0.0").metadata.vocabulary(made.proposal.dimension)
    assert [ids.encode(title) for title in ("Software Engineer", "Cloud Architect")] == [1, 0]
    assert vocabulary_names(client, f"{name}-features@1.0.0", "titles") == tuple(TITLES)


def test_the_command_trains_suggests_and_relates(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*args: str) -> str:
        done = CliRunner().invoke(cli, args, prog_name="ambry")
        assert done.exit_code == 0, done.output
        return done.stdout

    trained = said("vocab", "train", f"{name}-relations", name, f"{name}-features", "titles", "--code", "git:2")
    assert trained == "1.0.0\n"
    rows = [
        json.loads(line)
        for line in said("vocab", "suggest", name, "programming Engineer", "-n", "2", "--json").splitlines()
    ]
    assert [row["text"] for row in rows] == ["programming Engineer"] * 2 and rows[0]["title"] == "Software Engineer"
    accepted = said(
        "vocab",
        "relate",
        f"{name}-relations",
        "programming Engineer",
        rows[0]["title"],
        "--definitions",
        f"{name}-features",
    )
    assert accepted == "2\n"
    listed = [json.loads(line) for line in said("vocab", "relations", f"{name}-relations", "--json").splitlines()]
    assert {"from": "programming Engineer", "to": "Software Engineer", "relation": "alias", "weight": 1.0} in listed
    again = said("vocab", "train", f"{name}-relations", name, f"{name}-features", "titles", "--parent", f"{name}@1.0.0")
    line = [step.version for step in models.lineage(client, f"{name}@{again.strip()}")]
    assert line == [f"{name}@1.1.0", f"{name}@1.0.0"]


def test_what_cannot_be_learnt_or_opened_is_told(client: AmbryClient, name: str) -> None:
    with pytest.raises(InvalidRequest, match="fewer than two titles"):
        train([("swe", "Software Engineer")], TITLES)
    with pytest.raises(InvalidRequest, match="at least 1 title"):
        TitleSuggester(encoder(EncoderConfig()), EncoderConfig(), TITLES).suggest(["swe"], 0)
    for wrong in (0, 10**9, 1.5):
        said = json.dumps({**EncoderConfig().plain(), "width": wrong, "dimension": "titles"}).encode()
        models.publish(client, f"{name}-{wrong}", {"config.json": said})
        with pytest.raises(DataCorrupt, match="width of the network is a whole number from 1 to 4096"):
            open_suggester(client, f"{name}-{wrong}")
    models.publish(client, name, {"weights.bin": b"1"})
    with pytest.raises(DataCorrupt, match="does not suggest titles"):
        open_suggester(client, name)
