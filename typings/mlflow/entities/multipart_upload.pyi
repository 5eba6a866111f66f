from collections.abc import Mapping, Sequence

class MultipartUploadPart:
    part_number: int

class MultipartUploadCredential:
    def __init__(self, url: str, part_number: int, headers: Mapping[str, str]) -> None: ...

class CreateMultipartUploadResponse:
    def __init__(self, upload_id: str | None, credentials: Sequence[MultipartUploadCredential]) -> None: ...
