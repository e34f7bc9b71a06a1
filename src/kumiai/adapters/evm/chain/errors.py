"""What the chain answers when it cannot do what was asked, in geth's words and numbers.

Clients recognise these texts ("nonce too low", "execution reverted"): they are part of the promise.
"""

from __future__ import annotations

from kumiai.base.errors import KumiaiError

PARSE, INVALID_REQUEST, NO_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
REFUSED, LIMITED, REVERTED = -32000, -32005, 3


class RpcError(KumiaiError):
    """A JSON-RPC error object: `code`, the message, and `data` (hex) where a call reverted."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[type[RpcError], tuple[int, str, str | None]]:
        """Pickled by what it was made of."""
        return type(self), (self.code, self.message, self.data)

    def to_json(self) -> dict[str, object]:
        """The `error` member of a response."""
        said: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            said["data"] = self.data
        return said


def refuse(message: str) -> RpcError:
    """-32000, what geth's own refusals carry."""
    return RpcError(REFUSED, message)


def reject_params(message: str) -> RpcError:
    """-32602: the parameters cannot be read."""
    return RpcError(BAD_PARAMS, message)
