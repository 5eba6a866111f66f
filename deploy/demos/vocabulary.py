"""A vocabulary that people keep: names proposed, reviewed and accepted, and a network that suggests what texts mean.

The titles are the six hundred languages that Pygments knows, the texts are what is written for them: "js" and "text/javascript"
for JavaScript. Both were proposed and accepted by people over twenty years, so what the network suggests can be reviewed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ambry import InvalidRequest, UpdateConflict, VersionRef
from ambry.ml import features, models, snapshots, vocab
from ambry.ml.extras import needed
from ambry.ml.features.vocabulary import Vocabulary, format_vocabulary
from ambry.ml.vocab.older import as_older
from ambry.ml.vocab.relations import TitleRelation, add_relations, relations_of
from deploy.demos.data import Language, languages
from deploy.demos.stage import Stage

SEED = 7
NEW_TITLES = 60
"""Of all; the vocabulary begins without them."""
ACCEPTED_PAIRS = 40
"""What the network begins with."""
HELD_OUT = 1 / 3
"""The part of all pairs that no network is shown."""
MEMBERS = 2_000
SKILLS = 3
"""Of each member."""
EPOCHS = 20
SUGGESTIONS = 3
"""That a reviewer looks at for each text."""
GAIN_MIN = 0.05
"""In recall, of what the reviewer accepted. Of eight seeds it was 0.09 to 0.22."""
URN = "urn:li:(skills,memberSkills,1,0)"
DEFINITIONS = """\
memberSkills: {valType: INT, dims: [languages-1-0], doc: "Years of each language"}
languages: {type: categorical : {idMappingFile: "languages.csv"}}
// (languages.csv)
"""
DIMENSION = features.Reference.parse("skills/languages-1-0")

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known at first, what comes later, and what nobody is shown."""

    old: list[str]
    new: list[str]
    accepted: Pairs
    written: Pairs
    """What people wrote since; the second of each is what the reviewer knows it to mean."""
    held_out: Pairs
    related: Pairs
    """Titles whose files are named alike."""


def run(stage: Stage) -> None:
    """The whole demonstration."""
    story = _story()
    _publish(stage, story)
    _edit(stage, story)
    _old_model(stage, story)
    _relate(stage, story)
    try:
        needed("torch")
    except ModuleNotFoundError as missing:
        stage.step("Learn from accepted pairs, and suggest more")
        stage.skip("the network that suggests", str(missing), "torch")
        return
    _suggest(stage, story)


def _story() -> Story:
    known = languages()
    chance = np.random.default_rng(SEED)
    late = set(chance.permutation(len(known))[:NEW_TITLES].tolist())
    new = [each.name for place, each in enumerate(known) if place in late]
    pairs = [(spelling, each.name) for each in known for spelling in each.spellings]
    mixed = [pairs[place] for place in chance.permutation(len(pairs))]
    held_out, others = mixed[: int(len(mixed) * HELD_OUT)], mixed[int(len(mixed) * HELD_OUT) :]
    accepted = [pair for pair in others if pair[1] not in new][:ACCEPTED_PAIRS]
    return Story(
        old=[each.name for each in known if each.name not in new],
        new=new,
        accepted=accepted,
        written=[pair for pair in others if pair not in accepted],
        held_out=held_out,
        related=_related(known),
    )


def _related(known: list[Language]) -> Pairs:
    by_files: dict[str, list[str]] = {}
    for language in known:
        for pattern in language.files:
            by_files.setdefault(pattern, []).append(language.name)
    return sorted({(one, other) for names in by_files.values() for one in names for other in names if one < other})


def _publish(stage: Stage, story: Story) -> None:
    stage.step("Publish a vocabulary of titles, and a model that knows them by their ids")
    text = DEFINITIONS + format_vocabulary(Vocabulary.of(story.old))
    metadata = features.FeatureMetadata.of([features.parse_definitions(text, "skills")])
    published = features.publish(stage.dc1, "languages", metadata)
    stage.say(f"languages@{published.version}: {len(story.old)} titles")
    weights = np.random.default_rng(SEED).random(len(story.old) + 1)
    made = models.publish(
        stage.dc1,
        "years",
        {"weights": weights},
        features=[URN],
        definitions=f"languages@{published.version}",
        code="ambry demo vocabulary",
    )
    stage.say(f"{made}: a weight for each of them, and one for what is none of them")


def _edit(stage: Stage, story: Story) -> None:
    stage.step("Propose names, review them, and accept some")
    half = NEW_TITLES // 2
    client, before = stage.dc1, _vocabulary(stage, "1.0.0")
    asked = vocab.propose(client, "languages", "languages", story.new[:half], author="ann", reason="members write them")
    first = vocab.accept(client, "languages", asked.id, author="bob", reason="seen in the logs")
    stage.check("what was accepted is the next MINOR version", first.version == "1.1.0", first.version)
    twice = story.old[0].swapcase()
    asked = vocab.propose(
        client, "languages", "languages", [*story.new[half:], twice], author="carl", reason="asked for by search"
    )
    second = vocab.accept(
        client, "languages", asked.id, author="bob", reason=f"but for {twice}, which is there", names=story.new[half:]
    )
    stage.check("also where the reviewer left a name out", second.version == "1.2.0", second.version)
    asked = vocab.propose(client, "languages", "languages", ["Klingon"], author="dora", reason="for fun")
    vocab.reject(client, "languages", asked.id, author="bob", reason="no language of a machine")
    told = [entry.version for entry in client.versions("languages")]
    stage.check("what was rejected made no version", told == ["1.0.0", "1.1.0", "1.2.0"], ", ".join(told))
    try:
        vocab.accept(client, "languages", asked.id, author="eve", reason="why not")
        stage.check("the first decision holds", False)
    except UpdateConflict as conflict:
        stage.check("the first decision holds", True, conflict.message)
    stage.until("the vocabularies in dc2", lambda: all(features.load(stage.dc2, f"languages@{each}") for each in told))
    signed = [stage.dc2.head(VersionRef("languages", version)).metadata for version in told[1:]]
    who = [(said["vocab-author"], said["vocab-reviewer"], said["vocab-reason"]) for said in signed]
    expected = [("ann", "bob", "members write them"), ("carl", "bob", "asked for by search")]
    stage.check("who and why stand in each version, also in dc2", who == expected, "; ".join(map(" ".join, who)))
    stage.until("what became of each proposal in dc2", lambda: _states(stage) == ["published", "published", "rejected"])
    after = _vocabulary(stage, "1.2.0")
    stage.check(
        f"each of {len(story.old)} titles keeps its id",
        all(after.encode(title) == before.encode(title) == id for id, title in enumerate(story.old, 1)),
    )
    ids = [after.encode(title) for title in story.new]
    first_id = len(story.old) + 1
    stage.check("new titles have the next ids", ids == list(range(first_id, first_id + NEW_TITLES)), f"from {ids[0]}")
    stage.check("which the older vocabulary reads as 0", {before.encode(title) for title in story.new} == {0})


def _states(stage: Stage) -> list[str]:
    return sorted(str(each.state) for each in vocab.proposals(stage.dc2, "languages"))


def _vocabulary(stage: Stage, version: str) -> Vocabulary:
    return features.load(stage.dc1, f"languages@{version}").metadata.vocabulary(DIMENSION)


def _old_model(stage: Stage, story: Story) -> None:
    stage.step("Score what was written with the new vocabulary by the model that was made with the old one")
    chance = np.random.default_rng(SEED)
    titles = [*story.old, *story.new]
    skills = [
        {titles[place]: int(chance.integers(1, 20)) for place in chance.permutation(len(titles))[:SKILLS]}
        for _ in range(MEMBERS)
    ]
    rows = {"member": list(range(MEMBERS)), "memberSkills": skills}
    newest = features.load(stage.dc1, "languages")
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    snapshots.write(
        stage.dc1, "members", rows, [URN], metadata=newest, entity="member", as_of=noon, layouts={URN: "sparse"}
    )
    stage.until("the model in dc2", lambda: models.open(stage.dc2, "years").path().is_file())
    stage.until("the snapshot in dc2", lambda: _members(stage)[0].size > 0)
    opened = models.open(stage.dc2, "years")
    weights = opened.load()["weights"]
    own = features.load(stage.dc2, opened.manifest.definitions).metadata.vocabulary(DIMENSION)
    owners, ids, years = _members(stage)
    stage.check("there are ids that the model has no weight for", int(ids.max()) >= len(weights), f"up to {ids.max()}")
    scores = np.bincount(owners, weights=weights[as_older(own, ids)] * years, minlength=MEMBERS)
    expected = [sum(weights[own.encode(title)] * count for title, count in each.items()) for each in skills]
    known = np.array([not set(each) & set(story.new) for each in skills])
    same = np.isclose(scores, expected)
    stage.check("members of old titles alone have the score that they had", bool(same[known].all()), int(known.sum()))
    stage.check("of the others a new title counts as an unknown one", bool(same[~known].all()), int((~known).sum()))


def _members(stage: Stage) -> tuple[Any, Any, Any]:
    """Of each skill in dc2 whose it is, its id and its years."""
    with snapshots.open(stage.dc2, "members") as snapshot:
        cells = snapshot.table([URN]).column(1).combine_chunks()
    owners = np.repeat(np.arange(len(cells)), cells.value_lengths().to_numpy())
    ids, years = (cells.flatten().field(name).to_numpy() for name in ("languages", "value"))
    return owners, ids.copy(), years.copy()


def _relate(stage: Stage, story: Story) -> None:
    stage.step("Keep what is written for titles, and which titles are related, as typed edges")
    edges = [TitleRelation(*pair) for pair in story.accepted]
    edges += [TitleRelation(*pair, "related") for pair in story.related]
    made = add_relations(stage.dc1, "spellings", edges, definitions="languages", dimension="languages")
    counts = f"{len(story.accepted)} aliases, {len(story.related)} pairs of related titles"
    stage.check("every edge is in the version", len(made.edges) == len(edges), f"{made}: {counts}")
    stage.check(
        "the same edges again make no version", add_relations(stage.dc1, "spellings", edges).place == made.place
    )
    try:
        strange = [TitleRelation("tlh", "Klingon")]
        add_relations(stage.dc1, "spellings", strange, definitions="languages", dimension="languages")
        stage.check("an edge to no title is refused", False)
    except InvalidRequest as refused:
        stage.check("an edge to no title is refused", True, refused.message)
    stage.until("the relations in dc2", lambda: len(relations_of(stage.dc2, "spellings").edges) == len(edges))
    read = needed("pyarrow").ipc.open_file(io.BytesIO(stage.dc2.get_bytes(VersionRef("spellings", "1"))))
    found = read.read_all().select(["from", "to", "relation"]).to_pylist()
    wanted = {(edge.source, edge.target, edge.relation) for edge in edges}
    stage.check("Arrow alone reads the same edges in dc2", {tuple(row.values()) for row in found} == wanted)


def _suggest(stage: Stage, story: Story) -> None:
    from ambry.ml.vocab.suggestions import open_suggester, publish_suggester, recall_at, train

    stage.step("Learn from accepted pairs, and suggest more")
    name, code = "language-suggester", "ambry demo vocabulary"
    first = publish_suggester(
        stage.dc1, name, "spellings@1", "languages@1.0.0", "languages", epochs=EPOCHS, seed=SEED, code=code
    )
    manifest = models.open(stage.dc1, str(first)).manifest
    made_of = (manifest.snapshot, manifest.definitions)
    stage.check("the model says what it was made from", made_of == ("spellings@1", "languages@1.0.0"), made_of)
    old, grown = (open_suggester(stage.dc1, str(first), place) for place in ("", "languages@1.2.0"))
    pairs = relations_of(stage.dc1, "spellings@1").pairs()
    again = train(pairs, old.titles, epochs=EPOCHS, seed=SEED)
    weights = zip(again.module.state_dict().values(), old.module.state_dict().values(), strict=True)
    stage.check("the same seed makes the same weights", all(bool((one == other).all()) for one, other in weights))

    texts = [text for text, _ in story.held_out]
    furthest = max(
        abs(score - after[title])
        for before, after in zip(_scores(old, texts), _scores(grown, texts), strict=True)
        for title, score in before.items()
    )
    stage.check("with the new vocabulary it scores old titles as before", furthest < 1e-4, f"within {furthest:g}")
    shown = {text for text, _ in [*story.accepted, *story.written]}
    stage.check("what is held out is in no training", not shown & set(texts), f"{len(texts)} texts")
    narrow, wide = recall_at(old, story.held_out), recall_at(grown, story.held_out)
    stage.check("accepted titles improve the recall of what is held out", wide > narrow, f"{narrow:.3f} -> {wide:.3f}")

    suggested = grown.suggest([text for text, _ in story.written], SUGGESTIONS)
    right = [
        TitleRelation(text, title)
        for (text, title), best in zip(story.written, suggested, strict=True)
        if title in {each.title for each in best}
    ]
    stage.say(f"of {SUGGESTIONS} suggestions for each of {len(story.written)} texts the reviewer accepts {len(right)}")
    more = add_relations(stage.dc1, "spellings", right, definitions="languages", dimension="languages")
    second = publish_suggester(
        stage.dc1,
        name,
        str(more),
        "languages@1.2.0",
        "languages",
        epochs=EPOCHS,
        seed=SEED,
        code=code,
        parent=first.place,
    )
    learnt = open_suggester(stage.dc1, str(second))
    found = recall_at(learnt, story.held_out)
    told = f"{wide:.3f} -> {found:.3f}"
    stage.check("accepted suggestions improve the recall of what is held out", found >= wide + GAIN_MIN, told)
    line = [each.version for each in models.lineage(stage.dc1, str(second))]
    stage.check("its line leads to the first", line == [str(second), str(first)], " <- ".join(line))

    models.promote(stage.dc1, str(second), why=f"recall of what is held out {told}")
    stage.until("the champion in dc2", lambda: models.open(stage.dc2, f"{name}@champion").version == second.version)
    there = open_suggester(stage.dc2, f"{name}@champion")
    stage.check("the champion of dc2 finds the same", recall_at(there, story.held_out) == found, f"{found:.3f}")
    for text, title in story.held_out[:5]:
        [[best]] = there.suggest([text], 1)
        stage.say(f"{text} -> {best.title} ({best.score:.2f}; {'right' if best.title == title else title})")


def _scores(suggester: Any, texts: list[str]) -> list[dict[str, float]]:
    """Of all its titles."""
    found = suggester.suggest(texts, len(suggester.titles))
    return [{each.title: each.score for each in best} for best in found]
