"""Whatever happened to a directory, against whatever a peer knows of its log: who counts as put back, and who does not.

Real directories, opened again; a peer's knowledge is the token that it took at some moment. A false alarm costs a comparison of
everything, a missed one hides acknowledged blobs for ever.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datanode.store.blob_store import BlobStore
from datanode.store.index import FindToken
from datanode.store.lineage import Seen
from tests.support.fake_files import Backup, FakeFiles
from tests.support.samples import append, blob_id, checkpoint, content, open_replica, put_record, stop_cleanly

KNOWS = ("nothing", "the start", "the backup", "a later start", "the end", "what is not synced", "another replica")
"""What the peer saw last. The backup is of a moment between the start and a later one; the unsynced end is of class memory."""
H, E, B = Seen.HERE, Seen.ELSEWHERE, Seen.BEYOND


class Story:
    """A replica with authority, started twice, that was backed up in its first life; and what peers saw meanwhile."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.root = root
        self.place = root / "r"
        self.starts = 0
        self.store = self.open()
        self.tokens = {"nothing": FindToken(b"", 0), "another replica": FindToken(b"x" * 16, 50, b"y" * 8)}
        self.tokens["the start"] = self.write(1)
        checkpoint(self.store)
        self.first_backup: Backup = self.disk.backup()
        self.store.serving = True
        checkpoint(self.store)
        self.tokens["the backup"] = self.write(2)
        checkpoint(self.store)
        self.backup: Backup = self.disk.backup()
        self.write(3)
        stop_cleanly(self.store)
        self.store = self.open()
        self.tokens["a later start"] = self.store.token
        self.tokens["the end"] = self.write(4)
        checkpoint(self.store)
        self.tokens["what is not synced"] = self.write(5, sync=False)

    def open(self) -> BlobStore:
        self.starts += 1
        self.store = open_replica(self.disk, self.place, seed=self.starts)
        return self.store

    def write(self, number: int, *, sync: bool = True) -> FindToken:
        append(self.store, put_record(blob_id(number), content(number, 2_000)), sync=sync)
        return self.store.token

    def end(self) -> None:
        self.disk.kill()
        self.store.close()

    def move_to(self, name: str) -> None:
        """An empty disk in the place of this one."""
        (self.root / name).mkdir()
        self.disk, self.place = FakeFiles(self.root / name), self.root / name / "r"

    def renew(self) -> None:
        """As where a replica that was put back has caught up."""
        self.store.identity.close()
        self.end()
        self.store.identity.renew(random.Random(99))
        self.open()


def nothing(_story: Story) -> None: ...


def stopped(story: Story) -> None:
    stop_cleanly(story.store)
    story.open()


def killed(story: Story) -> None:
    story.end()
    story.open()


def power_cut(story: Story) -> None:
    """What was not synced is gone: a peer that took it in saw more than there is, as after a backup."""
    story.disk.crash(random.Random(7))
    story.store.close()
    story.open()


def restarted_often(story: Story) -> None:
    for _ in range(5):
        killed(story)


def index_lost(story: Story) -> None:
    story.end()
    shutil.rmtree(story.place / "index")
    story.open()


def put_back(story: Story) -> None:
    story.end()
    story.disk.put_back(story.backup)
    story.open()


def put_back_and_grown(story: Story) -> None:
    """The same LSNs are given again, for other blobs."""
    put_back(story)
    for number in range(50, 60):
        story.write(number)
    checkpoint(story.store)
    killed(story)


def wiped(story: Story) -> None:
    story.end()
    story.move_to("new")
    story.open()


def wiped_and_caught_up(story: Story) -> None:
    """It has authority again, and peers that were away meanwhile know the copy that is gone."""
    wiped(story)
    story.store.serving = True
    checkpoint(story.store)
    killed(story)


def renewed(story: Story) -> None:
    story.renew()


def renewed_with_authority(story: Story) -> None:
    story.renew()
    story.store.serving = True
    checkpoint(story.store)
    killed(story)


def put_back_from_before_the_renewal(story: Story) -> None:
    """The backup knows nothing of the name by which its peers know it now."""
    story.renew()
    story.tokens["the end"] = story.write(6)
    put_back(story)


def put_back_without_its_index(story: Story) -> None:
    """As docs/operations.md says of a copy that was made file by file."""
    put_back(story)
    index_lost(story)


def put_back_without_its_index_from_before_the_renewal(story: Story) -> None:
    """The backup is of its first life, when its identity could not say yet that it had authority; the index could."""
    story.renew()
    story.tokens["the end"] = story.write(6)
    story.end()
    story.disk.put_back(story.backup)
    shutil.rmtree(story.place / "index")
    story.open()


def put_back_from_before_it_had_authority(story: Story) -> None:
    """In its first life, which its peers know by another name since."""
    story.renew()
    story.tokens["the end"] = story.write(6)
    story.end()
    story.disk.put_back(story.first_backup)
    story.open()


def wiped_and_filled(story: Story) -> None:
    """And started again before it had caught up: a false alarm for peers that were away meanwhile."""
    wiped(story)
    story.write(1)
    killed(story)


def exchanged(story: Story) -> None:
    """An operator mixed up two directories: this is that of another replica of the partition, which had authority."""
    story.end()
    story.move_to("other")
    story.open()
    story.write(1)
    story.store.serving = True
    checkpoint(story.store)
    killed(story)


TABLE: list[tuple[Callable[[Story], None], tuple[Seen, ...]]] = [
    # knows:  nothing, the start, the backup, a later start, the end, not synced, another replica
    (nothing, (E, H, H, H, H, H, B)),
    (stopped, (E, H, H, H, H, H, B)),
    (killed, (E, H, H, H, H, H, B)),
    (restarted_often, (E, H, H, H, H, H, B)),
    (power_cut, (E, H, H, H, H, B, B)),
    (index_lost, (E, H, H, H, H, H, B)),
    (put_back, (E, H, H, B, B, B, B)),
    (put_back_and_grown, (E, H, H, B, B, B, B)),
    (wiped, (E, E, E, E, E, E, E)),
    (wiped_and_caught_up, (E, B, B, B, B, B, B)),
    (renewed, (E, E, E, E, E, E, E)),
    (renewed_with_authority, (E, E, E, E, E, E, B)),
    (put_back_from_before_the_renewal, (E, H, H, B, B, B, B)),
    (put_back_without_its_index, (E, H, H, B, B, B, B)),
    (put_back_without_its_index_from_before_the_renewal, (E, H, H, B, B, B, B)),
    (put_back_from_before_it_had_authority, (E, H, B, B, B, B, B)),
    (wiped_and_filled, (E, B, B, B, B, B, B)),
    (exchanged, (E, B, B, B, B, B, B)),
]


@pytest.mark.parametrize(
    ("happened", "knows", "says"),
    [
        pytest.param(happened, knows, says, id=f"{happened.__name__}, peer knows {knows}")
        for happened, row in TABLE
        for knows, says in zip(KNOWS, row, strict=True)
    ],
)
def test_what_a_peer_knows_says_whether_it_was_put_back(
    tmp_path: Path, happened: Callable[[Story], None], knows: str, says: Seen
) -> None:
    story = Story(tmp_path)
    happened(story)
    assert story.store.judge(story.tokens[knows]) is says
    story.store.close()
