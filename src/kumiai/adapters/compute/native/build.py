"""From loops.c to a loaded library: compiled once for this processor, kept in a private folder.

The file's name is a digest of the source, the compiler's own description, its flags and the
processor, so a change in any of them compiles anew. What lies there is loaded as code: a folder
that others may write to is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("loops.c")
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-shared", "-fPIC", "-std=c11")
PLAIN_FLAGS = ("-O3", "-shared", "-fPIC", "-std=c11")  # for compilers that refuse the others
COMPILE_SECONDS_MAX = 60


class BuildError(RuntimeError):
    """No library could be made here; compute without it."""


def load_library(cache_dir: Path | None = None) -> ctypes.CDLL:
    """Return the compiled loops, from `cache_dir` if they are there; BuildError without them.

    cache_dir: None for a temporary folder, compiled anew (half a second).
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError("no C compiler (cc, gcc or clang) was found")
    try:
        if cache_dir is None:
            with tempfile.TemporaryDirectory() as folder:
                return ctypes.CDLL(str(_compile(compiler, Path(folder) / "loops.so")))
        cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_private(cache_dir)
        path = cache_dir / f"loops-{_compute_key(compiler)}.so"
        with contextlib.suppress(OSError):  # not there, or cut short: compile it (again)
            return ctypes.CDLL(str(path))
        return ctypes.CDLL(str(_compile(compiler, path)))
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"loops.c could not be compiled or loaded: {error}") from error


def _check_private(folder: Path) -> None:
    """BuildError where somebody else could put code into `folder`."""
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BuildError(
            f"{folder} belongs to user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):o}: "
            f"it must be yours ({os.getuid()}) and writable by you alone"
        )


def _compile(compiler: str, path: Path) -> Path:
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        for flags in (FLAGS, PLAIN_FLAGS):
            run = subprocess.run(
                [compiler, *flags, str(SOURCE), "-o", str(made)],
                capture_output=True,
                check=False,
                timeout=COMPILE_SECONDS_MAX,
            )
            if run.returncode == 0:
                made.replace(path)  # at once: another process never sees half a library
                return path
        raise BuildError(f"{compiler}: {run.stderr.decode(errors='replace')[-500:]}")
    finally:
        made.unlink(missing_ok=True)


def _compute_key(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=10)
    parts = (SOURCE.read_bytes(), version.stdout, repr(FLAGS).encode(), _describe_processor())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _describe_processor() -> bytes:
    """Machine type and, where the system tells them, the instruction sets it has."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()} {flags}".encode()
