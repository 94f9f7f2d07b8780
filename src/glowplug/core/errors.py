"""One error tree. Each error knows its HTTP status, a stable code, and who must act.

GlowplugError
|- UserError           the caller or the function's author must change something (4xx)
|  |- InvalidName 400, InvalidDeclaration 400, InvalidUpload 400, InvalidWorkload 400
|  |- InvalidTrace 400, Unauthorized 401
|  |- UnknownFunction 404, UnknownEndpoint 404, UnknownVersion 404, UnknownSecret 404, UnknownCall 404
|  |- UnknownDevice 404, UnknownRequest 404, NotFound 404
|  |- MethodNotAllowed 405, CallNotRetriable 409, CallCancelled 410, BodyTooLarge 413
|  |- EncodedBody 415, InvalidArguments 422, WeightsError 422, BuildFailed 422, IdempotencyKeyReused 422
|  |- HeadTooLarge 431
|- FunctionFailed 500  the function's own code raised; what it raised says so (`in_words`)
|- CapacityError       try again later; carries retry_after_s
|  |- QueueFull 429, Overloaded 503, Unavailable 503, DeviceFailed 503
|  |- NoSpace 507, DeviceFull 507
|- WorkerDied 502      the process with the request in it is gone
|  |- OutOfMemory 502  it held more than the function may
|- CallLost 502        a spawned call may have run, may not run twice, and nobody knows how it ended
|- DeadlinePassed 504
|- RequestCancelled 499 the client left
"""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import ClassVar

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: for a text that is none, and for what is
nested without end, it has no exception of its own."""


class GlowplugError(Exception):
    """Root of the tree. `str(error)` names the thing and says what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    of_a_call = False
    """Whether it is about a call to another process: what that answered, or why nothing could be sent."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


def sayable(message: str) -> str:
    """As it can be sent: what stands for bytes that are no text, as in a file's name, is spelt out."""
    return message.encode("utf-8", "backslashreplace").decode()


def told(error: GlowplugError) -> str:
    """Its message, also when a user's code gave it something else than a text, or none. Raises what the code
    of that raises."""
    return str(getattr(error, "message", error))


def in_words(error: BaseException) -> str:
    """What a user's exception says, as a traceback ends: its class and all lines of its message and notes.
    Of a SyntaxError the place is left out, and of one that cannot be printed all but the class. One of ours
    has its code in the place of its module."""
    try:
        if (meant := _meant(error)) is not error:
            return "\n".join([in_words(meant), *getattr(error, "__notes__", ())])
        if isinstance(error, GlowplugError):
            line = f"{type(error).__name__} ({error.code}): {told(error)}"
            return "\n".join([line, *getattr(error, "__notes__", ())])
        if isinstance(error, SyntaxError):
            return "\n".join([f"{type(error).__name__}: {error.msg}", *getattr(error, "__notes__", ())])
        return "".join(traceback.format_exception_only(error)).strip()
    except Exception:  # its attributes are the user's code
        return type(error).__name__


def _meant(error: BaseException) -> BaseException:
    """A frozen dataclass that is hidden by its own refusal: contextlib sets the traceback of what passes
    through a generator's block."""
    is_refusal = type(error).__name__ == "FrozenInstanceError" and "'__traceback__'" in str(error)
    return error.__context__ or error if is_refusal else error


def print_safely(error: BaseException) -> None:
    """Prints the traceback on stderr, as far as that can be done: neither what the exception's own code
    raises nor a sys.stderr that was closed stops whoever tells of it."""
    try:
        traceback.print_exception(error)
    except Exception:
        frames = "".join(traceback.format_tb(error.__traceback__))
        said = f"Traceback (most recent call last):\n{frames}{in_words(error)}\n"
        with contextlib.suppress(OSError):
            os.write(2, said.encode("utf-8", "backslashreplace"))


class UserError(GlowplugError):
    status = 400
    code = "bad_request"


class InvalidName(UserError):
    code = "invalid_name"


class InvalidDeclaration(UserError):
    code = "invalid_declaration"


class InvalidUpload(UserError):
    code = "invalid_upload"


class InvalidWorkload(UserError):
    """A text that names no workload, or parameters that do not go together."""

    code = "invalid_workload"


class InvalidTrace(UserError):
    """A file of recorded calls is not as its reader expects; the message has the file and the line."""

    code = "invalid_trace"


class Unauthorized(UserError):
    status = 401
    code = "unauthorized"


class UnknownFunction(UserError):
    status = 404
    code = "unknown_function"


class UnknownEndpoint(UserError):
    status = 404
    code = "unknown_endpoint"


class NotFound(UserError):
    """No such path."""

    status = 404
    code = "not_found"


class MethodNotAllowed(UserError):
    status = 405
    code = "method_not_allowed"


class UnknownVersion(UserError):
    status = 404
    code = "unknown_version"


class UnknownSecret(UserError):
    status = 404
    code = "unknown_secret"


class UnknownCall(UserError):
    status = 404
    code = "unknown_call"


class UnknownDevice(UserError):
    status = 404
    code = "unknown_device"


class UnknownRequest(UserError):
    """Neither the journal nor the traces that are kept tell of it (any more)."""

    status = 404
    code = "unknown_request"


class CallNotRetriable(UserError):
    status = 409
    code = "call_not_retriable"


class CallCancelled(UserError):
    status = 410
    code = "call_cancelled"


class BodyTooLarge(UserError):
    status = 413
    code = "body_too_large"


class EncodedBody(UserError):
    status = 415
    code = "encoded_body"


class HeadTooLarge(UserError):
    status = 431
    code = "head_too_large"


class InvalidArguments(UserError):
    """`field` names the argument that does not fit."""

    status = 422
    code = "invalid_arguments"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class WeightsError(UserError):
    """A weights file is truncated, corrupt, lacks a tensor, or has one of another shape or dtype."""

    status = 422
    code = "weights"


class BuildFailed(UserError):
    status = 422
    code = "build_failed"


class IdempotencyKeyReused(UserError):
    """The key belongs to a call of the same function with another body."""

    status = 422
    code = "idempotency_key_reused"


class FunctionFailed(GlowplugError):
    code = "function_failed"


class CapacityError(GlowplugError):
    status = 503
    code = "capacity"


class QueueFull(CapacityError):
    status = 429
    code = "queue_full"


class Overloaded(CapacityError):
    code = "overloaded"


class Unavailable(CapacityError):
    code = "unavailable"


class NoSpace(CapacityError):
    status = 507
    code = "no_space"


class DeviceFailed(CapacityError):
    """A model did not get to its device: the copy failed, or the device is gone."""

    code = "device_failed"


class DeviceFull(NoSpace):
    """A device has less room than the controller believes."""

    code = "device_full"


class WorkerDied(GlowplugError):
    status = 502
    code = "worker_died"


class OutOfMemory(WorkerDied):
    code = "out_of_memory"


class CallLost(GlowplugError):
    status = 502
    code = "call_lost"


class DeadlinePassed(GlowplugError):
    status = 504
    code = "deadline_passed"


class RequestCancelled(GlowplugError):
    status = 499
    code = "cancelled"


def _tree(root: type[GlowplugError]) -> dict[str, type[GlowplugError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[GlowplugError]] = _tree(GlowplugError)


def known_code(error: GlowplugError) -> str:
    """What tells a client of it: its code or, of a class that somebody derived with a code of its own, that
    of the nearest class of ours."""
    for kind in type(error).__mro__:
        code = vars(kind).get("code")
        if isinstance(code, str) and code in BY_CODE:
            return code
    return GlowplugError.code


def from_code(code: str, message: str, retry_after_s: float | None = None) -> GlowplugError:
    """Rebuilds an error that travelled as (code, message); an unknown code becomes a GlowplugError."""
    error = BY_CODE.get(code, GlowplugError)(message)
    error.retry_after_s, error.of_a_call = retry_after_s, True
    return error
