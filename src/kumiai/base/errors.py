"""The three ways a thing can be wrong, and who is to blame for each.

::

    ValueError                  misuse by our own code: fix the caller
    Reject                      a peer's fault, as data: the state is unchanged, evidence is kept
    KumiaiError                 the world's fault, raised by adapters and doors
      +- InputError        (2)  what the user wrote: names the field, the value and the fix
      +- VerificationError (3)  a run or a receipt does not say the truth
      +- RunFailedError    (4)  the run ended in FAILED or HALTED
      +- StoreError        (5)  disk, database or blob store; `is_retriable`: try again?
      +- InternalError     (70) a broken promise of ours

The number is the exit code of the command line. Exit codes 64 to 78 follow sysexits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reject:
    """A peer's message that was refused, with the reason and what proves it.

    `reason` is a stable kebab-case code; `detail` a sentence for people; `evidence` hashes or
    numbers that let a third party reach the same verdict.
    """

    reason: str
    detail: str
    evidence: Mapping[str, str] = field(default_factory=dict)


class KumiaiError(Exception):
    """An error of the world outside; `exit_code` is what the command line returns."""

    exit_code = 1
    is_retriable = False


class InputError(KumiaiError):
    """What the user gave cannot be used. The message names the field, the value and the fix."""

    exit_code = 2

    def __init__(self, field_name: str, value: object, fix: str) -> None:
        self.field_name = field_name
        self.value = value
        self.fix = fix
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{field_name} = {shown}: {fix}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Pickled by what it was made of: it also comes back from other processes."""
        return type(self), (self.field_name, self.value, self.fix)


class VerificationError(KumiaiError):
    """A run directory or receipt contradicts itself."""

    exit_code = 3


class RunFailedError(KumiaiError):
    """The run stopped before it finished; what was verified is settled, the rest refunded."""

    exit_code = 4


class StoreError(KumiaiError):
    """Disk, database or blob store failed; `is_retriable` tells whether trying again can help."""

    exit_code = 5

    def __init__(self, message: str, *, is_retriable: bool = False) -> None:
        super().__init__(message)
        self.is_retriable = is_retriable


class InternalError(KumiaiError):
    """A promise that this program makes to itself was broken: please report it."""

    exit_code = 70
