from __future__ import annotations

import io
import stat
import zipfile

from ambry.ml.stable_zip import stable_member, stored_zip


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
