"""The one tree of domain errors; it knows no HTTP, `api.problems` gives each its status."""


class LocalPayError(Exception):
    """Root of everything that LocalPay refuses or fails at, with a sentence for a person.

    `extra` holds machine-readable members that belong to the error, such as `available`.
    """

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class MalformedError(LocalPayError):
    """What arrived cannot be read at all: no JSON, a broken header."""


class InvalidError(LocalPayError):
    """What arrived can be read and breaks a rule; names the field and the rule."""

    def __init__(self, field: str, rule: str, **extra: object) -> None:
        super().__init__(f"{field}: {rule}", field=field, rule=rule, **extra)
        self.field = field
        self.rule = rule


class UnauthenticatedError(LocalPayError):
    """The caller did not prove who it is."""


class ForbiddenError(LocalPayError):
    """The caller is known and may not do this."""


class NotFoundError(LocalPayError):
    """There is no such thing, or none that the caller may know of."""


class ConflictError(LocalPayError):
    """The request is sound and the state of things forbids it."""


class RefusedError(ConflictError):
    """A transfer was refused and stays refused; `reason` and `available` say why."""


class TooLargeError(LocalPayError):
    """More was sent than is read."""


class UnsupportedMediaError(LocalPayError):
    """A media type that is not read here."""


class NotAcceptableError(LocalPayError):
    """None of the media types that the caller takes is one that this is given in."""


class TooManyError(LocalPayError):
    """Too much in a short time; `retry_after_seconds` says when to come back."""

    def __init__(self, detail: str, retry_after_seconds: int, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(LocalPayError):
    """Something that this needs does not answer now."""

    def __init__(self, detail: str, retry_after_seconds: int = 30, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.retry_after_seconds = retry_after_seconds


class FetchError(LocalPayError):
    """A fetch through the one door failed; `final` where trying again is useless.

    `wait_seconds` is how long the host is left alone yet, where it was therefore not asked.
    """

    def __init__(
        self,
        detail: str,
        *,
        final: bool = False,
        status: int | None = None,
        wait_seconds: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.final = final
        self.status = status
        self.wait_seconds = wait_seconds


class AddressRefusedError(FetchError):
    """The address is one that the door does not open to; nothing was sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, final=True)
