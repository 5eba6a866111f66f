"""A digest names the version that has it, wherever in the history of its dataset that is."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from ambry import AccessDenied, AmbryClient, BlobNotFound, ChecksumMismatch, InvalidRequest, VersionRef
from ambry.client.hooks import AttemptOutcome, Hooks, RequestAttempt
from ambry.client.model import BatchResult
from ambry.ml import models
from ambry.ml.digests import located
from ambry.ml.experiments.document import Arm, Experiment
from ambry.ml.experiments.store import load_experiment, ramp_experiment, start_experiment
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import load, publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.vocab.relations import TitleRelation, add_relations, relations_of


def _three(client: AmbryClient, name: str) -> list[models.PublishedModel]:
    return [models.publish(client, name, {"x.txt": f"{number}".encode()}) for number in range(3)]


def test_a_digest_finds_an_older_version_of_a_model(client: AmbryClient, name: str) -> None:
    """It was compared with the newest version alone: the digest of every older one was ChecksumMismatch."""
    first, second, _ = _three(client, name)
    assert models.open(client, f"{name}@sha256:{second.digest}").version == "1.1.0"
    assert models.open(client, name, digest=first.digest.upper()).version == "1.0.0"
    assert models.promote(client, f"{name}@sha256:{first.digest}").version == "1.0.0"
    assert [step.version for step in models.lineage(client, f"{name}@sha256:{first.digest}")] == [f"{name}@1.0.0"]
    child = models.publish(client, name, {"x.txt": b"child"}, parent=f"{name}@sha256:{second.digest}")
    assert child.manifest.parent == f"{name}@1.1.0"


def test_a_digest_beside_a_version_or_an_alias_is_compared(client: AmbryClient, name: str) -> None:
    first, second, _ = _three(client, name)
    models.promote(client, second)
    assert models.open(client, f"{name}@champion", digest=second.digest).version == "1.1.0"
    for place in (f"{name}@champion", f"{name}@1.1.0", f"{name}@sha256:{second.digest}"):
        with pytest.raises(ChecksumMismatch, match=first.digest):
            models.open(client, place, digest=first.digest)


def test_a_digest_that_no_version_has_is_not_found(client: AmbryClient, name: str) -> None:
    _three(client, name)
    client.put_version(name, b"of no kind", "2.0.0")
    with pytest.raises(
        BlobNotFound, match=f"none of the 4 versions of {name} has the SHA-256 0000.*1 of them says none"
    ):
        models.open(client, name, digest="0" * 64)
    with pytest.raises(BlobNotFound):
        models.open(client, f"{name}-nowhere@sha256:{'0' * 64}")


@pytest.mark.parametrize("wrong", ["sha256:12", "sha256:", f"sha256:{'g' * 64}"])
def test_half_a_digest_is_refused(client: AmbryClient, name: str, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="64 hexadecimal digits"):
        models.open(client, f"{name}@{wrong}")
    with pytest.raises(InvalidRequest, match="64 hexadecimal digits"):
        models.open(client, name, digest=wrong.removeprefix("sha256:") or "1")


def test_a_version_that_says_the_digest_of_another_is_not_it(client: AmbryClient, name: str) -> None:
    first, *_ = _three(client, name)
    told = {"model-sha256": "a" * 64}
    client.put_version(name, first.manifest.encode(), "2.0.0", metadata=told)
    with pytest.raises(ChecksumMismatch, match=r"2\.0\.0 has the digest"):
        models.open(client, f"{name}@sha256:{'a' * 64}")


class _Counted(Hooks):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def began(self, attempt: RequestAttempt) -> None:
        self.asked.append(f"{attempt.method} {attempt.path}")

    def ended(self, attempt: RequestAttempt, outcome: AttemptOutcome) -> None:
        return


def test_a_search_takes_two_requests_for_a_thousand_versions(client: AmbryClient, url: str, name: str) -> None:
    first, *_, last = _three(client, name)
    for place, count in ((last.place, 1), (first.place, 3)):
        counted = _Counted()
        with AmbryClient([url], hooks=counted) as own:
            digest = client.head(place).metadata["model-sha256"]
            assert located(own, f"{name}@sha256:{digest}") == place
        assert len(counted.asked) == count, counted.asked
    counted = _Counted()
    with AmbryClient([url], hooks=counted) as own:
        assert located(own, f"{name}@1.0.0") == VersionRef(name, "1.0.0")
    assert counted.asked == []


def test_a_key_that_reads_no_ids_finds_it_too(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for a prefix of names may not ask for blobs by their ids, which a batch does."""
    first, *_ = _three(client, name)

    def denied(self: AmbryClient, refs: Any, **_: Any) -> list[BatchResult]:
        return [BatchResult(id=None, error=AccessDenied("this key reads names alone")) for _ in refs]

    monkeypatch.setattr(AmbryClient, "head_many", denied)
    assert located(client, f"{name}@sha256:{first.digest}").version == "1.0.0"


def test_of_two_versions_with_one_digest_the_newer_is_meant(client: AmbryClient, name: str) -> None:
    first, *_ = _three(client, name)
    again = models.publish(client, name, {"x.txt": b"0"})
    assert (again.version, again.digest) == ("1.3.0", first.digest)
    models.publish(client, name, {"x.txt": b"4"})
    assert located(client, f"{name}@sha256:{first.digest}").version == "1.3.0"


def test_definitions_are_found_by_their_digest(client: AmbryClient, name: str) -> None:
    """As of a model: only the newest version's was known."""
    first, second = (
        publish(client, name, FeatureMetadata.of([parse_definitions(text, "n")]))
        for text in ("a: {valType: INT}", "a: {valType: INT}\nb: {valType: INT}")
    )
    assert load(client, f"{name}@sha256:{first.digest}").version == "1.0.0"
    assert load(client, name, digest=first.digest).version == "1.0.0"
    assert load(client, name, digest=second.digest).version == "1.1.0"
    made = models.publish(client, f"{name}-model", {"x.txt": b"1"}, definitions=f"{name}@sha256:{first.digest}")
    assert made.manifest.definitions == f"{name}@1.0.0"


def test_experiments_and_relations_are_found_by_their_digest(client: AmbryClient, name: str) -> None:
    first = start_experiment(client, Experiment(name=name, arms=(Arm("a", 0.5), Arm("b", 0.5)), exposed=0.1))
    ramp_experiment(client, name, 0.5)
    assert load_experiment(client, f"{name}@sha256:{first.digest}") == first
    edges = add_relations(client, f"{name}-edges", [TitleRelation("RN", "Nurse")])
    add_relations(client, f"{name}-edges", [TitleRelation("SWE", "Engineer")])
    digest = hashlib.sha256(client.get_bytes(edges.place)).hexdigest()
    assert relations_of(client, f"{name}-edges@sha256:{digest}") == edges
