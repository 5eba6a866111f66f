from collections.abc import Mapping

class CreatePresignedUploadResponse:
    def __init__(self, presigned_url: str, headers: Mapping[str, str]) -> None: ...
