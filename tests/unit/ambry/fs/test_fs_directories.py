"""Directories that were made: they are there with all above them, until they are removed, and there is a bound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ambry.fs.directories import MadeDirectories


def test_one_that_was_made_is_there_and_so_are_those_above_it() -> None:
    made = MadeDirectories()
    made.add("a/c/x/y")
    assert "a/c/x/y" in made and "a/c/x" in made and "a/c" not in made
    assert made.within("a/c") == ["a/c/x"] and made.within("a/c/x") == ["a/c/x/y"] and made.within("a/c/x/y") == []
    assert "a/c/x/y/z" not in made and "a/c/x/yy" not in made and "a/c/x/" not in made


def test_one_that_is_removed_goes_with_those_beneath_it() -> None:
    made = MadeDirectories()
    for path in ("a/c/x", "a/c/x/y", "a/c/xx"):
        made.add(path)
    assert made.forget("a/c/x") is True
    assert "a/c/x" not in made and "a/c/x/y" not in made and "a/c/xx" in made
    assert made.forget("a/c/x") is False


def test_the_one_that_was_made_first_is_forgotten_beyond_the_bound() -> None:
    made = MadeDirectories(made_max=2)
    for path in ("a/c/1", "a/c/2", "a/c/1", "a/c/3"):
        made.add(path)
    assert ("a/c/1" in made, "a/c/2" in made, "a/c/3" in made) == (True, False, True)


def test_threads_that_make_and_forget_at_once_leave_what_was_made_last() -> None:
    made = MadeDirectories(made_max=20)

    def work(number: int) -> None:
        for count in range(300):
            made.add(f"a/c/{number}/{count % 7}")
            assert isinstance(made.within("a/c"), list)
            made.forget(f"a/c/{(number + 1) % 4}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    for number in range(4):
        made.forget(f"a/c/{number}")
    assert made.within("a/c") == []
    made.add("a/c/last")
    assert "a/c/last" in made
