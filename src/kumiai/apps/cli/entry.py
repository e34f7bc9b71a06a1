"""`main`: run a command, and turn whatever goes wrong into one plain line and an exit code.

`EXIT_CODES` lists the codes. With KUMIAI_DEBUG=1 the traceback is shown as well. The environment is
read here and nowhere else.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

# Members share the machine: one thread each. numpy reads this once, when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kumiai.base.errors import InternalError, KumiaiError, StoreError

EXIT_INTERRUPTED = 130
EXIT_CODES = (
    (0, "ok"),
    (1, "error"),
    (2, "bad input"),
    (3, "verification failed"),
    (4, "the run failed"),
    (5, "storage (disk, database)"),
    (6, "the chain (node, contract)"),
    (7, "the market (relay, blob server, wallet)"),
    (InternalError.exit_code, "a mistake of ours"),
    (EXIT_INTERRUPTED, "interrupted"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own); return its exit code, never raise."""
    from kumiai.apps.cli.app import app

    try:
        app(args=None if argv is None else list(argv), prog_name="kumiai")
    except SystemExit as stop:
        if _is_interrupted(stop):
            _tell("interrupted")
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KumiaiError as error:
        _show_traceback()
        _tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted")
        return EXIT_INTERRUPTED
    except OSError as error:
        _show_traceback()
        place = f" ({error.filename})" if error.filename else ""
        _tell(f"the system refused: {error.strerror or error}{place}")
        return StoreError.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost loop: nothing may pass unnamed
        _show_traceback()
        _tell(f"this is a mistake of ours: {type(error).__name__}: {error}{_find_place(error)}")
        _tell("please report it with what `KUMIAI_DEBUG=1 kumiai ...` and `kumiai --version` print")
        return InternalError.exit_code
    return 0


def _is_interrupted(stop: SystemExit) -> bool:
    """Typer makes of Ctrl-C an exit without a word, and leaves the interruption as its cause."""
    return isinstance(getattr(stop.__context__, "__cause__", None), KeyboardInterrupt)


def _tell(message: str) -> None:
    print(f"kumiai: {message}", file=sys.stderr)  # noqa: T201 - the terminal is this module's task


def _show_traceback() -> None:
    if os.environ.get("KUMIAI_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()


def _find_place(error: BaseException) -> str:
    """Where it happened, as " (module.py, line 12)"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def get_language(asked: str | None) -> str:
    """The language of the terminal: what was asked, or what the system says, "en" or "ja"."""
    if asked:
        return asked
    for name in ("KUMIAI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"


def get_setting(name: str) -> str:
    """What the environment says as KUMIAI_NAME, "" if nothing; an option wins over it."""
    return os.environ.get(f"KUMIAI_{name}", "")


def get_settings() -> dict[str, str]:
    """All settings of the environment by their names without KUMIAI_, for wallets and the like."""
    found = {name.partition("KUMIAI_")[2]: value for name, value in os.environ.items()}
    return {name: value for name, value in found.items() if name}
