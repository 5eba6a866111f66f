"""The files of a model below a directory of one's own: all of them, or none that bears its name.

    <directory>/.ambry-<SHA-256 of the manifest>/    what gathers, `.ambry-<SHA-256>` for each part; held (flock) meanwhile
    <directory>/.ambry-lock                          held while parts get their names, which the directories in it get then too

Whoever downloads the same version at once gathers there as well, and the last one removes it. After an interruption it stays,
and is gone on with; nobody holds it then, and so the next download into this directory that ends well removes it, whatever it
is of.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ambry.client.beside import is_ours
from ambry.client.locked_file import listed_if_allowed, locked_by
from ambry.client.locked_parts import remove_left, shared_part
from ambry.errors import AmbryError
from ambry.ml.listed import listed
from ambry.ml.models.manifest import ModelManifest, ModelPart
from ambry.ml.models.parts import digest_of

NAMED_MAX = 3
"""So many of the files in the way are named."""


def download_parts(manifest: ModelManifest, directory: Path, fetch: Callable[[ModelPart, Path], None]) -> list[Path]:
    """What `StoredModel.download` says. `fetch` writes a part into a file, compared with its SHA-256."""
    gathering = _gathering(manifest, directory)
    refused = _in_the_way(manifest.parts, directory)
    if not refused and (missing := _missing(manifest.parts, directory)):
        _check_writable(missing, directory)
        directory.mkdir(parents=True, exist_ok=True)
        with _named_as_asked(directory, gathering), ExitStack() as held:
            for folder in sorted({gathering[part.path].parent for part in missing}):
                held.enter_context(shared_part(folder))
            refused = _filled(missing, directory, gathering, _lock(manifest, directory), fetch)
    for root in {each.parent.parent for each in gathering.values()}:
        _remove_left(root, rf"\.ambry-{manifest.digest if refused else '[0-9a-f]{64}'}_*")
    if refused:
        raise FileExistsError(_told(refused))
    return [directory / part.path for part in manifest.parts]


@contextmanager
def _named_as_asked(directory: Path, gathering: Mapping[str, Path]) -> Iterator[None]:
    """What fails where a part gathers, as on a full disk, names the part in its own place."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, AmbryError) and error.filename is not None:
            asked = {str(hidden): directory / path for path, hidden in gathering.items()}
            asked |= {str(hidden.parent): directory for hidden in gathering.values()}
            # The longest: of two parts with the same bytes one gathers under the name of the other with something behind it.
            if told := max((each for each in asked if str(error.filename).startswith(each)), key=len, default=None):
                error.filename, error.filename2 = str(asked[told]), None
        raise


def _filled(
    missing: Sequence[ModelPart],
    directory: Path,
    gathering: Mapping[str, Path],
    lock: Path,
    fetch: Callable[[ModelPart, Path], None],
) -> dict[Path, str]:
    """Fetch parts, and give all of them their names; none has one where something came into the way, which is returned."""
    while missing:
        for part in missing:
            if not _is_it(gathering[part.path], part):
                fetch(part, gathering[part.path])
        with locked_by(lock):
            left = _missing(missing, directory)  # Another download gave some their names.
            if refused := _in_the_way(missing, directory):
                return refused
            missing = left
            if all(gathering[part.path].exists() for part in missing):  # What somebody took away is fetched again.
                for part in missing:
                    (directory / part.path).parent.mkdir(parents=True, exist_ok=True)
                places = {part: (gathering[part.path], directory / part.path) for part in missing}
                return _all_named(places, directory)
    return {}


def _all_named(places: Mapping[ModelPart, tuple[Path, Path]], directory: Path) -> dict[Path, str]:
    """What is in the way by now is returned; then, and where one fails, none has its name, and all are where they gathered."""
    there: list[ModelPart] = []
    begun: list[tuple[Path, Path, os.stat_result]] = []
    refused: dict[Path, str] = {}
    all_good = False
    try:
        for part, (gathered, target) in places.items():
            # Before it is named: an interrupt comes at any moment.
            begun.append((gathered, target, gathered.stat()))
            if not _named(gathered, target):
                there.append(part)
        refused = _in_the_way(there, directory)
        all_good = not refused
    finally:
        if not all_good:
            for gathered, target, file in begun:
                _take_back(gathered, target, file)
    return refused


def _take_back(gathered: Path, target: Path, file: os.stat_result) -> None:
    """A file from its name, where it has that: another one with the name stays."""
    with suppress(OSError):
        if not os.path.samestat(target.lstat(), file):
            return
        if gathered.exists():  # To rename a file to another name of its own does nothing.
            target.unlink()
        else:
            target.replace(gathered)


def _named(gathered: Path, target: Path) -> bool:
    """False where another file has the name by now, as of another user: neither has the right to open the other's lock."""
    try:
        # Unlike a rename, a link replaces nothing.
        os.link(gathered, target)
    except FileExistsError:
        return False
    except OSError:  # A file system without hard links, or the file of another user.
        gathered.replace(target)
    gathered.unlink(missing_ok=True)
    return True


def _missing(parts: Sequence[ModelPart], directory: Path) -> list[ModelPart]:
    return [part for part in parts if not os.path.lexists(directory / part.path)]


def _is_it(path: Path, part: ModelPart) -> bool:
    """Whether a file has the bytes of a part."""
    try:
        return path.is_file() and path.stat().st_size == part.size and digest_of(path).sha256 == part.sha256
    except FileNotFoundError:
        return False


def _gathering(manifest: ModelManifest, directory: Path) -> dict[str, Path]:
    """Where each part comes, by its path: beside nothing that the model has, whatever that is called."""
    taken = set(_taken(manifest, directory))
    found = {}
    for part in manifest.parts:
        root = _root(directory, part)
        folder = root / _free_name(f".ambry-{manifest.digest}", root, taken)
        found[part.path] = folder / _free_name(f".ambry-{part.sha256}", folder, taken)
        taken.add(found[part.path])
    return found


def _lock(manifest: ModelManifest, directory: Path) -> Path:
    return directory / _free_name(".ambry-lock", directory, set(_taken(manifest, directory)))


def _taken(manifest: ModelManifest, directory: Path) -> Iterator[Path]:
    """What is to be there in the end, files and directories."""
    for part in manifest.parts:
        yield directory / part.path
        yield from _folders(directory, part)


def _folders(directory: Path, part: ModelPart) -> list[Path]:
    """The directories below `directory` that a part lies in, from the uppermost on."""
    return [directory.joinpath(*each) for each in _beginnings(part.path.split("/")[:-1])]


def _beginnings(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[:count] for count in range(1, len(names) + 1))


def _root(directory: Path, part: ModelPart) -> Path:
    """The uppermost directory of the file system that a part is to lie on: from there a rename gives it its name.

    Directories that are made meanwhile change nothing: they are of the file system that they are made on.
    """
    found = directory
    for folder in _folders(directory, part):
        if folder.is_dir() and folder.stat().st_dev != found.stat().st_dev:
            found = folder
    return found


def _free_name(name: str, directory: Path, taken: Set[Path]) -> str:
    """Neither one of `taken`, nor a directory of another user, nor a link."""
    while directory / name in taken or _is_of_others(directory / name):
        name += "_"
    return name


def _is_of_others(path: Path) -> bool:
    """Whether it is a link, or a directory into which this user may not write, or whose owner may put other files there.

    Where no bit restricts who removes what (sticky(7)), whoever may make a directory may replace the model as well; and of some
    file systems all files have an owner that is no user of them.
    """
    if path.is_symlink():
        return True
    if not path.is_dir():
        return False
    is_restricted = path.parent.stat().st_mode & stat.S_ISVTX
    return not _may_write(path) or (bool(is_restricted) and path.stat().st_uid != os.geteuid())


def _remove_left(root: Path, names: str) -> None:
    """Remove what interrupted downloads left, and nobody is at. A directory with anything else in it is somebody's own."""
    for name in listed_if_allowed(root):
        folder = root / name
        if re.fullmatch(names, name) and folder.is_dir() and all(map(is_ours, listed_if_allowed(folder))):
            remove_left(root, re.compile(re.escape(name)))


def _in_the_way(parts: Sequence[ModelPart], directory: Path) -> dict[Path, str]:
    """What stands in the place of a part, or of a directory that parts lie in, and as what."""
    if (wrong := _no_directory([*reversed(directory.parents), directory])) is not None:
        return {wrong: "and no directory"}
    found = {}
    for part in parts:
        target = directory / part.path
        if (wrong := _no_directory(_folders(directory, part))) is not None:
            found[wrong] = "and no directory"
        elif target.is_dir():
            found[target] = "and a directory"
        elif os.path.lexists(target) and not _is_it(target, part):
            found[target] = "with other bytes"
    return found


def _no_directory(folders: Sequence[Path]) -> Path | None:
    return next((each for each in folders if os.path.lexists(each) and not each.is_dir()), None)


def _told(wrong: Mapping[Path, str]) -> str:
    """Of each kind some."""
    told = ""
    for what in dict.fromkeys(wrong.values()):
        paths = [str(path) for path, each in wrong.items() if each == what]
        told += f"{listed(paths, NAMED_MAX)}: there already, {what}; "
    return f"{told}move {'it' if len(wrong) == 1 else 'them'} away, or name another directory"


def _check_writable(parts: Sequence[ModelPart], directory: Path) -> None:
    """Raises PermissionError before anything is fetched: in the end some parts would have their names, and others none."""
    for folder in {directory: None, **{(directory / part.path).parent: None for part in parts}}:
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        if not _may_write(there):
            raise PermissionError(
                errno.EACCES, f"nothing can be written into it; name another directory than {directory}", str(there)
            )


def _may_write(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)
