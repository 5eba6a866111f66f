"""A training job as a document: what is run, on what, in which environment, and where what it makes goes.

    {"format": 1, "job": "digits-3f2a91c07b55", "folder": "ambry://team/models/training/digits-3f2a91c07b55",
     "script": "train.py", "arguments": ["--epochs", "3"], "workers": 2,
     "sources": {"kind": "sources", "id": "...", "sha256": "...", "size": 1234},
     "environment": {"kind": "venv" | "wheels" | "listed", "id": "...", "sha256": "...", "size": 1234},
     "snapshot": "members@1764280000000", "publish": "digits", "checkpoints": "ambry://...", "keep": 3, "commit": "3f2a...",
     "run": 1, "endpoints": ["http://127.0.0.1:17100"], "account": "team", "container": "models", "python": "",
     "environ": [["OMP_NUM_THREADS", "1"]], "earlier": []}

A job's name ends with the digest of what it is made of, unless somebody gave it one. So the same script of the same sources on
the same snapshot is the same job: submitted again it goes on from its checkpoints, and what it makes has the same lineage.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec

from ambry.client.refs import NameRef
from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.provenance import code_text
from ambry.ml.training.checkpoints import KEEP
from ambry.ml.training.origins import malformed_words, parse_origin

FORMAT = 1
FOLDER = "training"
WORKERS_MAX = 4_096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_OF_THE_WAY = (
    "endpoints",
    "account",
    "container",
    "folder",
    "job",
    "checkpoints",
    "keep",
    "python",
    "publish",
    "run",
    "earlier",
    "format",
)
"""What does not change what a job makes; of a `python`, what it has is its environment."""
_PLACES = ("AMBRY_CACHE_DIR", "AMBRY_CACHE_MAX", "AMBRY_TRAIN_NODE_CACHE", "AMBRY_TRAIN_NODE_CACHE_MAX")
"""Variables that say where a machine keeps what it has fetched, and how much: nor do these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTree:
    """Sources or an environment in the store. `size` in bytes, of the archive."""

    kind: Literal["sources", "venv", "wheels", "listed"]
    """listed: the names and versions of packages that the workers' Python had; nothing that could be sent."""
    id: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """A job that can be launched. What is empty was not said."""

    script: str
    """Within the sources."""
    sources: StoredTree
    environment: StoredTree
    arguments: tuple[str, ...] = ()
    workers: int = 1
    snapshot: str = ""
    """With its number."""
    publish: str = ""
    """The dataset of the model."""
    commit: str = ""
    """Of git, with -dirty where files differ from it."""
    environ: tuple[tuple[str, str], ...] = ()
    """Variables of the workers' environment."""
    python: str = ""
    """Of the nodes, where the environment is not sent."""
    endpoints: tuple[str, ...] = ()
    account: str = ""
    container: str = ""
    job: str = ""
    folder: str = ""
    checkpoints: str = ""
    keep: int = KEEP
    run: int = 0
    """Which submission with these checkpoints it is, from 1; 0 of one that nobody submitted."""
    earlier: tuple[dict[str, Any], ...] = ()
    """What else made the checkpoints that it goes on from, oldest first (origins.py)."""

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if not 1 <= self.workers <= WORKERS_MAX:
            raise InvalidRequest(f"a job has 1 to {WORKERS_MAX} workers, and not {self.workers}")
        check_job_name(self.job)

    def encode(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, indent=1).encode()

    def digest(self) -> str:
        """SHA-256 of all that changes what the job makes, in hexadecimal."""
        told = {name: value for name, value in asdict(self).items() if name not in _OF_THE_WAY}
        told["environ"] = [each for each in self.environ if each[0] not in _PLACES]
        for tree in ("sources", "environment"):  # Their ids are of a store, and their digests of what they are.
            told[tree] = {"kind": told[tree]["kind"], "sha256": told[tree]["sha256"]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def lineage(self) -> dict[str, Any]:
        """What is written down with a model that the job made: `earlier` where others made what it went on from."""
        return {**self._made_of(), **({"earlier": list(self.earlier)} if self.earlier else {})}

    def origin(self) -> dict[str, Any]:
        """What is written down with checkpoints that the job makes."""
        return {
            **self._made_of(),
            "snapshot": self.snapshot,
            "sources_sha256": self.sources.sha256,
            "environment_sha256": self.environment.sha256,
        }

    def _made_of(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "script": self.script,
            "arguments": list(self.arguments),
            "workers": self.workers,
            "sources": self.sources.id,
            "environment": self.environment.id,
            "commit": self.commit,
        }

    def code(self) -> str:
        """The same in a line, as `ambry model lineage` shows it."""
        others = {each["sources"] for each in self.earlier if each["sources_sha256"] != self.sources.sha256}
        return code_text(
            job=self.job,
            sources=self.sources.id,
            environment=self.environment.id,
            git=self.commit,
            earlier=",".join(sorted(others)),
        )

    @property
    def logs(self) -> str:
        """The folder of TensorBoard's files."""
        return f"{self.folder}/tensorboard"

    def name_in(self, path: str) -> NameRef:
        """What something beside the checkpoints of the job is called."""
        return NameRef(f"{FOLDER}/{self.job}/{path}", self.account, self.container)


def check_job_name(name: str) -> None:
    """Raises InvalidRequest for what no job can be called; nothing said is a name by what it is made of."""
    if name and not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} is no name of a job: a letter or a digit, then at most 99 letters, digits, _, . and -"
        )


def parse_job(data: bytes) -> TrainingJob:
    """Raises InvalidRequest for what is no document of a job, or one of a later release."""
    try:
        told: Any = json.loads(data)
        if told.pop("format") > FORMAT:
            raise InvalidRequest("the job was written by a later release; upgrade ambry in its environment")
        job = msgspec.convert(told, TrainingJob)
        for each in job.earlier:
            parse_origin(each)
        return job
    except InvalidRequest:
        raise
    except (*MALFORMED, msgspec.ValidationError) as error:
        raise InvalidRequest(f"this is no document of a job: {malformed_words(error)}") from None


def named_job(job: Mapping[str, Any]) -> TrainingJob:
    """A job of these fields, with its name and its places where none are said. Raises InvalidRequest."""
    made = TrainingJob(**job)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", made.script.rpartition("/")[2].rpartition(".")[0]).strip("-_") or "job"
    name = made.job or f"{stem[:60]}-{made.digest()[:12]}"
    folder = str(NameRef(f"{FOLDER}/{name}", made.account, made.container))
    return TrainingJob(
        **{**job, "job": name, "folder": folder, "checkpoints": made.checkpoints or f"{folder}/checkpoints"}
    )
