from collections.abc import Mapping

class PresignedDownloadUrlResponse:
    def __init__(self, url: str, headers: Mapping[str, str], file_size: int | None = None) -> None: ...
