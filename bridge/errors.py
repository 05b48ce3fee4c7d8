"""Every error that crosses a border of the house, in one tree.

The class says whose fault it is; `code` is stable and machine-readable, `status` is the HTTP status it answers with,
and the docstring is the default message. `details` may name the field, what was found and what is allowed; it never
holds a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BridgeError(Exception):
    """Something went wrong inside the bridge."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str = "", **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        self.details = details
        super().__init__(self.message)


# --- the caller's fault: say which field, what was found, what is allowed -------------------------------------------


class BadInput(BridgeError):
    """The request is not valid."""

    code = "BAD_REQUEST"
    status = 400


class SettingsError(BadInput):
    """A setting is not valid."""

    code = "BAD_SETTING"


class Unauthorized(BridgeError):
    """Sign in first: the credentials are missing or wrong."""

    code = "UNAUTHORIZED"
    status = 401


class Forbidden(BridgeError):
    """This is not allowed for your role."""

    code = "FORBIDDEN"
    status = 403


class NotFound(BridgeError):
    """There is no such thing."""

    code = "NOT_FOUND"
    status = 404


class CallNotFound(NotFound):
    """There is no such call."""

    code = "CALL_NOT_FOUND"


class RecordingNotFound(NotFound):
    """There is no such recording."""

    code = "RECORDING_NOT_FOUND"


class RecordingNotReady(NotFound):
    """The recording is expected, and not there yet."""

    code = "RECORDING_NOT_READY"


class Conflict(BridgeError):
    """The thing is not in a state that allows this."""

    code = "CONFLICT"
    status = 409


class CallOver(Conflict):
    """The call is over already."""

    code = "CALL_OVER"


class TooLarge(BridgeError):
    """The request is too large."""

    code = "TOO_LARGE"
    status = 413


class TooManyRequests(BridgeError):
    """Too many requests: try again later."""

    code = "TOO_MANY_REQUESTS"
    status = 429


# --- the outside world's fault: expected, retried or answered with a fallback ---------------------------------------


class Outside(BridgeError):
    """A system outside the bridge did not do its part."""

    code = "OUTSIDE_FAILURE"
    status = 502


class PbxUnavailable(Outside):
    """The PBX is not connected."""

    code = "PBX_UNAVAILABLE"
    status = 503


class AgiViolation(Outside):
    """What connected does not speak AGI, or not as Asterisk does."""

    code = "AGI_VIOLATION"


class CallerGone(Outside):
    """The caller hung up, or Asterisk closed the conversation about the call."""

    code = "CALLER_GONE"


class AgiRefused(Outside):
    """Asterisk refused an AGI command."""

    code = "AGI_REFUSED"


class ConnectionLost(PbxUnavailable):
    """The connection to the PBX was lost before it answered: whether it acted is not known. Nothing is sent again."""

    code = "PBX_CONNECTION_LOST"


class ActionTimeout(PbxUnavailable):
    """The PBX did not answer in time: whether it acted is not known. Nothing is sent again."""

    code = "PBX_TIMEOUT"
    status = 504


class ActionFailed(Outside):
    """The PBX refused the action."""

    code = "PBX_REFUSED"


class AriError(Outside):
    """The REST interface of the PBX refused the request."""

    code = "ARI_ERROR"

    def __init__(self, http_status: int, message: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.http_status = http_status  # what Asterisk answered; 0: it did not answer


class HostUnknown(Outside):
    """The name of a host has no address."""

    code = "HOST_UNKNOWN"


class HostForbidden(Outside):
    """The name of a host leads where the bridge must not call."""

    code = "HOST_FORBIDDEN"


class CrmUnavailable(Outside):
    """The CRM cannot be reached, is overloaded, or does not answer as a CRM does."""

    code = "CRM_UNAVAILABLE"

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class CrmTimeout(CrmUnavailable):
    """The CRM did not answer in time."""

    code = "CRM_TIMEOUT"
    status = 504


class CrmRefused(Outside):
    """The CRM said no. `final`: the same request will never be right; else the account has to be put right."""

    code = "CRM_REFUSED"

    def __init__(self, message: str = "", *, final: bool = False, response: Any = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.final = final
        self.response = response


class RecordingGone(Outside):
    """The recording does not exist any more, or never will."""

    code = "RECORDING_GONE"


class RecordingNotYet(Outside):
    """The recording is expected, and not there yet. `retry_after` in seconds."""

    code = "RECORDING_NOT_YET"

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class RecordingFailed(Outside):
    """The source of the recording did not do its part. `final`: the same request will never be right."""

    code = "RECORDING_FAILED"

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, final: bool = False, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after
        self.final = final


class StoreProblem(Outside):
    """The store of the recordings did not do its part."""

    code = "STORE_UNAVAILABLE"
    status = 503


class MangoUnavailable(Outside):
    """Mango Office cannot be reached, is overloaded, or does not answer as it should. `retry_after` in seconds."""

    code = "MANGO_UNAVAILABLE"
    status = 503

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class MangoTimeout(MangoUnavailable):
    """Mango Office did not answer in time: whether it acted is not known. Nothing is sent again."""

    code = "MANGO_TIMEOUT"
    status = 504


class MangoPaused(MangoUnavailable):
    """Mango Office must be left alone for a while: another request would make its penalty worse."""

    code = "MANGO_PAUSED"


class MangoRefused(Outside):
    """Mango Office refused the request. `result` is its code, where it gave one."""

    code = "MANGO_REFUSED"

    def __init__(self, message: str = "", *, result: int | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.result = result


class DatabaseProblem(BridgeError):
    """The database cannot be used."""

    code = "DATABASE_PROBLEM"
    status = 503


class SecretProblem(BridgeError):
    """A stored secret cannot be opened."""

    code = "SECRET_PROBLEM"
    status = 503
