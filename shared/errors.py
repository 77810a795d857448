"""Whose fault it is, and which HTTP status says so."""


def advice(status: int, retry_after_s: int = 1) -> dict[str, str]:
    """Headers that say whether to come again: OpenAI's clients repeat what failed with 429 or from 500 on, unless they
    are told that it is no use."""
    if status in (429, 503):
        return {"Retry-After": str(retry_after_s)}
    return {"x-should-retry": "false"} if status == 504 else {}


class SluiceError(Exception):
    """Every error a caller may see. `status` is the HTTP status that fits; `kind` and `code` are OpenAI's words."""

    status = 500
    kind = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self._retry_after_s = retry_after_s

    def body(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """What the answer says beside its body."""
        return advice(self.status, self._retry_after_s or 1)


class ClientError(SluiceError):
    """The request is wrong; `param` names the field."""

    status = 400
    kind = "invalid_request_error"


class NotFound(ClientError):
    status = 404


class Gone(ClientError):
    """It was there once."""

    status = 410


class Unprocessable(ClientError):
    """Well formed, and at odds with what was asked before."""

    status = 422


class Unauthorized(ClientError):
    status = 401
    code = "invalid_api_key"


class TooLarge(ClientError):
    status = 413


class BodyTimeout(ClientError):
    """The client did not send what it had announced."""

    status = 408
    code = "body_timeout"


class DeadlineExceeded(SluiceError):
    """The time the client gave its request, or the server gives any, was over first."""

    status = 504
    kind = "timeout_error"
    code = "deadline_exceeded"


class Unavailable(SluiceError):
    """No engine, no detokenizer or no bus at this moment: the client may try again."""

    status = 503
    code = "service_unavailable"


class Overloaded(SluiceError):
    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class ConfigError(Exception):
    """A start that cannot succeed; the message is the one line that the operator reads."""
