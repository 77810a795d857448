"""Whose fault it is, and which HTTP status says so."""


class SluiceError(Exception):
    """Every error a caller may see. `status` is the HTTP status that fits; `kind` and `code` are OpenAI's words."""

    status = 500
    kind = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code

    def body(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class ClientError(SluiceError):
    """The request is wrong; `param` names the field."""

    status = 400
    kind = "invalid_request_error"


class NotFound(ClientError):
    status = 404


class Unauthorized(ClientError):
    status = 401
    code = "invalid_api_key"


class TooLarge(ClientError):
    status = 413


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
