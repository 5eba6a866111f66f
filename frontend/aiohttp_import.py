"""aiohttp, imported without what only its client needs. `frontend/__main__.py` imports this before everything that imports it.

Importing any part of it makes a TLS context of its client, which parses every certificate of the machine: 2 MB and 0.04 s of a
process that speaks no TLS. Its lists of listeners exist in Python too, and the faster ones bring the library of C++ along, 0.9
MB, for signals that its low-level server does not have. Both listen to the environment, which is as it was afterwards.
"""

from __future__ import annotations

import os

_WHILE_IMPORTED = {"SSL_CERT_FILE": os.devnull, "FROZENLIST_NO_EXTENSIONS": "1"}

_before = {name: os.environ.get(name) for name in _WHILE_IMPORTED}
os.environ.update(_WHILE_IMPORTED)
try:
    import aiohttp  # noqa: F401
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value
