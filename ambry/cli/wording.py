"""What the API and the SDK call what a command has an option for: an error on the command line says the option."""

from __future__ import annotations

import re

IN_OPTIONS = {
    r"say its accountId \d+ to change it": "`ambry account set` changes it",
    r"say its containerId \d+ to change it": "`ambry container set` changes it",
    r"x-ambry-dataset-update: true changes it": "`ambry dataset retention` and `ambry dataset tag` change it",
    r"; where none is named it is": "; without --account it is",
    r"give its seconds to live in x-ambry-ttl": "say how long it lives with --ttl",
    r"x-ambry-durability: geo": "--durability geo",
    r"defaultDurability: geo": "--durability geo",
    r"namedBlobMode is DISABLED": "--names is DISABLED",
    r"at snapshotVersion (?=\d)": "at version ",
    r"accessControlAllowOrigin lists": "--allow-origin lists",
    r"AmbryClient\(tls=TLSConfig\(ca=\.\.\.\)\), or AMBRY_CA": "--ca, or AMBRY_CA",
    r"AmbryClient\(key=\.\.\.\), AMBRY_KEY_FILE": "--key-file, AMBRY_KEY_FILE",
    r"AmbryClient\(endpoints\), or AMBRY_ENDPOINTS with AmbryClient\.from_env\(\)": "--endpoint, or AMBRY_ENDPOINTS",
    r"pass overwrite=True \(--overwrite\) to replace it": "--overwrite replaces it",
    r"(?:overwrite=True|if_absent=False) \(--overwrite\)": "--overwrite",
    r"without if_absent \(--if-absent\)": "without --if-absent",
    r"\(filename=, --filename\)": "(--filename)",
    r"stream the blob \(get, ambry cat\)": "`ambry cat` streams the blob",
    r"seconds, or None for ever": "seconds, or forever",
    r"the same call goes on from there": "the same command goes on from there",
    r"say trust=True if": "say --trust if",
    r"or say newest=True": "or say --newest",
    r"leave out newest=True": "leave out --newest",
    r"or say kind=$": "or say --kind ",
    r"nobody loads without trust=True": "nobody loads without --trust",
    r"allow it \(allow_empty=True, --allow-empty\)": "allow it with --allow-empty",
    r"pass verify=$": "set AMBRY_VERIFY to ",
}
"""Patterns of such words, each as it stands in a message, and what to say for it. tests/unit/ambry/cli/test_cli_wording.py
holds them against the messages."""
_QUOTED = re.compile(r"((?<!\w)'[^']*'(?!\w))")
_WORDS = [(re.compile(pattern), words) for pattern, words in IN_OPTIONS.items()]


def in_options(text: str) -> str:
    """A message in the words of the command line; what it quotes stays as it is."""
    pieces = _QUOTED.split(text)
    for place in range(0, len(pieces), 2):
        for pattern, words in _WORDS:
            pieces[place] = pattern.sub(words, pieces[place])
    return "".join(pieces)
