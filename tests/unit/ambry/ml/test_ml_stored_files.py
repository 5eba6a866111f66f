"""What is of the store, and what opens it."""

from __future__ import annotations

from ambry.ml.stored_files import FileOfStore, in_store


def test_what_is_of_the_store() -> None:
    assert all(map(in_store, ("ambry://a/c/x", "ambry+id://x", "simplecache::ambry://a/c/x")))
    assert not any(map(in_store, ("x", "s3://b/ambry://x", "simplecache::https://h/x")))


def test_a_file_has_the_id_that_it_was_looked_up_with() -> None:
    assert (
        FileOfStore("ambry://a/c/x", {}, {"id": "that"}).id == "that"
        and not FileOfStore("zip://x::ambry://a/c/x", {}).id
    )
