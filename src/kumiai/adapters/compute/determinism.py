"""What makes the same work give the same bits: the switches, the machine's class, its calibration.

A class is a promise about a machine: two machines of one class give the same bits for the same
work. It is named by a sha256 over

    build       versions and build options of PyTorch, its BLAS, its kernels' level (AVX2, AVX512)
    processor   maker, family, model name and arithmetic extensions; of a GPU its name, capability,
                and the versions of CUDA and cuDNN
    switches    what `reproducible` sets
    calibration the digest of a small fixed piece of work (products, a convolution, exponentials,
                a few optimiser updates), computed on the spot

The first three are what is known to decide which kernel runs; the calibration finds what is not.
Equal calibrations alone do not make a class: work of another shape may still differ.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional

from kumiai.adapters.compute.execution.devices import WORKSPACE, deterministic
from kumiai.base import canonical

MANIFEST_TYPE = "kumiai/machine/1"
CPU_FILE = Path("/proc/cpuinfo")
CPU_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping", "CPU implementer",
              "CPU part")  # fmt: skip
EXTENSIONS = ("sse", "avx", "fma", "f16c", "amx", "bf16", "neon", "asimd", "sve")  # prefixes
SWITCHES: Mapping[str, str] = {
    "threads": "1",
    "deterministic_algorithms": "error",
    "tf32": "off",
    "cudnn": "deterministic, no benchmark",
    "cublas_workspace": ":4096:8",
}
CALIBRATION_SIZES = (7, 64, 255)  # below, at and beside the widths of vector registers


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Set every switch of `SWITCHES`, and put back what was set before.

    Inside, an operation without a deterministic algorithm is a RuntimeError of PyTorch's that
    names it: such a recipe cannot be audited.
    """
    if device.type == "cuda":
        os.environ.setdefault(WORKSPACE, SWITCHES["cublas_workspace"])
    threads = torch.get_num_threads()
    was_on = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        with deterministic(device):
            torch.use_deterministic_algorithms(True)
            yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=warned)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)


@cache
def describe_machine(device_text: str = "cpu") -> dict[str, object]:
    """Return the manifest: everything a class is made of, and `class`, its sha256.

    device_text: cpu, cuda or cuda:N. Computed once a process; takes about a tenth of a second.
    """
    device = torch.device(device_text)
    manifest: dict[str, object] = {
        "type": MANIFEST_TYPE,
        "device": device.type,
        "build": _describe_build(),
        "processor": _describe_processor(device),
        "switches": dict(SWITCHES),
        "calibration": calibrate(device),
    }
    return {**manifest, "class": canonical.hash_document(manifest)}


def get_class(device: torch.device) -> str:
    """Return the class of this machine with this device, 64 hexadecimal digits."""
    return str(describe_machine(str(device))["class"])


def list_differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return in which entries two manifests differ; of one class are those that differ in none."""
    found = []
    for name in sorted({*one, *other} - {"class"}):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            entries = sorted({*mine, *theirs})
            found += [f"{name}.{e}" for e in entries if mine.get(e) != theirs.get(e)]
        elif mine != theirs:
            found.append(name)
    return found


def check_manifest(document: object) -> dict[str, object]:
    """Return a manifest that was read from elsewhere; ValueError unless it is one, unchanged."""
    if not isinstance(document, dict) or document.get("type") != MANIFEST_TYPE:
        raise ValueError(f"no manifest of a machine: type is not {MANIFEST_TYPE}")
    body = {name: value for name, value in document.items() if name != "class"}
    if canonical.hash_document(body) != document.get("class"):
        raise ValueError("the manifest's class is not the hash of what it says")
    return document


def calibrate(device: torch.device) -> str:
    """Return the digest of a fixed piece of work on this device."""
    digest = hashlib.sha256()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    def add(tensor: torch.Tensor) -> None:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())

    with reproducible(device), torch.enable_grad():
        for size in CALIBRATION_SIZES:
            left, right = draw(33, size), draw(size, 65)
            add(left @ right)
            add(functional.softmax(left, 1))
            add(functional.layer_norm(left, (size,)).sum(0))
            add(torch.tanh(left).mean() + left.exp().log1p().sum() + left.pow(2).sqrt().sum())
            weights = draw(size, 10).requires_grad_()
            targets = torch.arange(33, device=device) % 10
            for _ in range(4):  # errors of a bit grow from one update to the next
                loss = functional.cross_entropy(functional.relu(left @ weights), targets)
                (gradient,) = torch.autograd.grad(loss, weights)
                weights = (weights - 0.3 * gradient).detach().requires_grad_()
            add(weights)
        images, kernels = draw(4, 3, 17, 17), draw(8, 3, 3, 3).requires_grad_()
        features = functional.conv2d(images, kernels, padding=1)
        add(features)
        add(torch.autograd.grad(features.square().mean(), kernels)[0])
    return digest.hexdigest()


def _describe_build() -> dict[str, object]:
    return {
        "torch": torch.__version__,
        "options": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "system": platform.system(),
    }


def _describe_processor(device: torch.device) -> dict[str, object]:
    found: dict[str, object] = {"machine": platform.machine()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
    try:
        text = CPU_FILE.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:  # not Linux: less is known, and fewer machines are of one class
        return found | {"name": platform.processor(), "node": platform.platform()}
    lines = (line.partition(":") for line in text.splitlines())
    entries = {name.strip(): value.strip() for name, _, value in lines}
    flags = (entries.get("flags") or entries.get("Features") or "").split()
    found |= {name: entries[name] for name in CPU_FIELDS if name in entries}
    found["extensions"] = " ".join(sorted(f for f in flags if f.startswith(EXTENSIONS)))
    return found
