"""Training that hides every single sample: clipped gradients, a secret batch, Gaussian noise.

DP-SGD: M. Abadi et al., "Deep Learning with Differential Privacy" (2016), algorithm 1. With L the
`batch_size` (expected), N the member's samples, C = `clip_norm`, z = `noise_multiplier`:

    batch     each sample with probability q = min(1, L / N), independently (Poisson sampling)
    g(x)      gradient of x's own loss, times min(1, C / ||g(x)||_2) over all parameters together
    gradient  (sum of g(x) over the batch + normal(0, z^2 C^2)) / (q N)

The rule (SGD, AdamW, FedProx) takes `gradient` as any other. Batch and noise both come from the
member's secret stream: who could foretell the batch would gain what the sampling hides. What the
accountant counts is one such step (q, z) per iteration, neighbours differing by one sample more or
less; N is public. A sample whose gradient is not finite counts as zero, and no loss is handed out:
either would tell about samples what no noise covers.

Tensors that training does not move (buffers) stay as they were. Batch normalisation lets samples
see each other, which no clipping of single gradients bounds: refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.privacy.stream import SecretStream

GRADIENT_BYTES_MAX = 64 * 2**20  # single samples' gradients in memory at once
CHUNK_MAX = 256  # samples
CLIP_MARGIN = 1.0 - 1e-6  # float32 products round up at times; the bound must hold


@dataclass(frozen=True)
class PrivacySettings:
    """How much one sample may move a step, and how much noise hides it.

    clip_norm: largest 2-norm of one sample's gradient. noise_multiplier: standard deviation of the
    noise on the gradients' sum, in units of clip_norm. delta: chance that epsilon does not hold.
    """

    noise_multiplier: float
    clip_norm: float
    delta: float

    def __post_init__(self) -> None:
        """Raise ValueError, with the number, for settings that protect nobody."""
        if not 0.0 < self.noise_multiplier < float("inf"):
            raise ValueError(f"noise_multiplier {self.noise_multiplier} must be above 0")
        if not 0.0 < self.clip_norm < float("inf"):
            raise ValueError(f"clip_norm {self.clip_norm} must be above 0")
        if not 0.0 < self.delta < 1.0:
            raise ValueError(f"delta {self.delta} must lie between 0 and 1, both excluded")


def check_private(work: LocalWork) -> None:
    """Raise ValueError, naming the layer, for a network whose samples see each other."""
    for module, _ in work.modules:
        for name, layer in module.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                raise ValueError(
                    f"layer {name!r} is {type(layer).__name__}, which mixes the samples of a "
                    "batch: private training needs GroupNorm or LayerNorm in its place"
                )


def step_private(
    work: LocalWork,
    carry: Carry,
    anchor: Params,
    batch: tuple[Tensor, Tensor],
    expected: int,
    stream: SecretStream,
    settings: PrivacySettings,
) -> Carry:
    """One iteration on one Poisson sample (inputs, targets), possibly empty.

    expected: the sample's expected size q N, which divides the sum.
    """
    sums = compute_clipped_sum(work, carry, *batch, settings.clip_norm)
    deviation = settings.noise_multiplier * settings.clip_norm
    noisy: Params = {}
    for name, total in sums.items():
        noise = torch.from_numpy(stream.draw_normal(total.numel())).view(total.shape)
        noisy[name] = ((total + deviation * noise) / expected).to(carry.params[name].dtype)
    params, slots = work.rule.apply(noisy, carry.slots, carry.params, anchor)
    return Carry(params, carry.rest, slots)


def compute_clipped_sum(
    work: LocalWork, carry: Carry, inputs: Tensor, targets: Tensor, clip_norm: float
) -> Params:
    """Return the sum over samples of their gradients, each cut to `clip_norm`; float64, by name.

    In chunks of samples, so that memory stays flat however large the sample turned out.
    """
    sums = {name: torch.zeros(w.shape, dtype=torch.float64) for name, w in carry.params.items()}
    size = sum(w.numel() for w in carry.params.values())
    chunk = max(1, min(CHUNK_MAX, GRADIENT_BYTES_MAX // (4 * size)))
    compute = vmap(
        grad(work.compute_loss, has_aux=True),
        in_dims=(None, None, 0, 0, None),
        out_dims=(0, 0),
        randomness="different",
    )
    for start in range(0, len(inputs), chunk):
        part = slice(start, start + chunk)
        # each sample as a batch of one: its loss is then its own
        grads, _ = compute(
            carry.params, carry.rest, inputs[part].unsqueeze(1), targets[part].unsqueeze(1), None
        )
        for name, clipped in _clip(grads, clip_norm).items():
            sums[name] += clipped.sum(0, dtype=torch.float64)
    return sums


def _clip(grads: Params, clip_norm: float) -> Params:
    """Scale each sample's gradient, [B, ...] by name, to at most `clip_norm` over all names."""
    squares_B = torch.stack([g.flatten(1).double().square().sum(1) for g in grads.values()]).sum(0)
    norms_B = squares_B.sqrt()
    is_finite_B = torch.isfinite(norms_B)
    factors_B = (CLIP_MARGIN * clip_norm / norms_B.clamp(min=clip_norm)).float()
    clipped = {}
    for name, g in grads.items():
        shape = (-1,) + (1,) * (g.dim() - 1)
        scaled = g * factors_B.view(shape)
        clipped[name] = torch.where(is_finite_B.view(shape), scaled, torch.zeros_like(g))
    return clipped
