from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from contextlib import suppress

from ambry.ml.stable_zip import member_of, stable_member, stored_zip


def test_the_same_files_are_the_same_bytes() -> None:
    files = {"b/x.csv": b"1\n", "a.conf": b"", "z": bytes(range(256))}
    packed = stored_zip(files)
    assert stored_zip(dict(files)) == packed != stored_zip(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {each.filename: archive.read(each) for each in archive.infolist()} == files
        assert archive.namelist() == list(files)


def test_a_member_says_nothing_of_its_machine_and_its_day() -> None:
    member = stable_member("bin/run", stat.S_IFREG | 0o755)
    assert (member.date_time, member.create_system) == ((1980, 1, 1, 0, 0, 0), 3)
    assert stat.S_IMODE(member.external_attr >> 16) == 0o755
    assert stable_member("x").external_attr >> 16 == 0o100644


def test_no_more_is_unpacked_than_a_file_says_that_it_has() -> None:
    size = 64 << 20
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(size))
    data = packed.getvalue().replace(struct.pack("<I", size), struct.pack("<I", 100))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tracemalloc.start()
        try:
            with suppress(zipfile.BadZipFile):
                assert len(member_of(archive, archive.getinfo("bomb"))) == 100
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 4 << 20
