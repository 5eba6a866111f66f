class MlflowException(Exception):
    def __init__(self, message: object, error_code: int = ...) -> None: ...

class _UnsupportedMultipartUploadException(MlflowException):
    MESSAGE: str
