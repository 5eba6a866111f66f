"""What a connection has in the place of its transport once that is lost: it takes everything, and does nothing.

A transport of TLS keeps methods of its protocol, and so a connection that kept its transport was a circle with all that OpenSSL
holds for it. The collector looks at what is old hardly ever: every connection in TLS stayed.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Gone(asyncio.Transport):
    """One for all."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """It is."""

    def abort(self) -> None:
        """As close."""

    def pause_reading(self) -> None:
        """Nothing comes."""

    def resume_reading(self) -> None:
        """Nothing comes."""

    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


GONE = Gone()
