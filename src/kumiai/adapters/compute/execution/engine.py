"""The learning engine: trains a round's members and evaluates models, as fast as it can.

`Engine.train` gives each member's difference to the global model; which backend runs it (inline,
vectorised, process, ray) changes the time, not the result (to float rounding). With the same
backend and the same seeds the result is the same to the byte. `backend="auto"` chooses by the
recipe, by a short measurement and by what the run will cost, and never ray; `engine.reason` says
why in one sentence. A recipe that declares `parallel` has each member trained by several processes,
whatever the backend. Training may run on a GPU (`devices`); evaluation never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.backends import Backend, Means, build_backend
from kumiai.adapters.compute.execution.choose import (
    Choice,
    Wish,
    as_tier,
    choose,
    compute_decision_key,
    load_decision,
    save_decision,
)
from kumiai.adapters.compute.execution.counting import count_sample_flop
from kumiai.adapters.compute.execution.devices import FIELD as DEVICE_FIELD
from kumiai.adapters.compute.execution.devices import (
    deterministic,
    explain_cpu,
    pick_device,
    place_shards,
    place_work,
    read_device,
)
from kumiai.adapters.compute.execution.evaluate import evaluate_models
from kumiai.adapters.compute.execution.lowering import LoweringError
from kumiai.adapters.compute.execution.parallel_rules import (
    check_divisible,
    check_parallel,
    describe_parallel,
    pick_device_type,
)
from kumiai.adapters.compute.execution.private import PrivateTrainer
from kumiai.adapters.compute.execution.probe import has_convolution, probe
from kumiai.adapters.compute.execution.ray_cluster import RayOptions, check_ray
from kumiai.adapters.compute.execution.shards import (
    CPU,
    JoinedShards,
    Shard,
    count_member_iterations,
    is_same,
    join_shards,
    remember,
)
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork, TrainSettings, build_local_work
from kumiai.learning.layout import Layout
from kumiai.learning.privacy.sgd import PrivacySettings
from kumiai.learning.recipe import Recipe
from kumiai.learning.slim import narrow_recipe

BACKENDS = ("auto", "inline", "vectorised", "process", "ray")

PRIVATE_CHOICE = Choice(
    "inline", "eager", "inline, eager: private training needs each sample's own gradient"
)


@dataclass(frozen=True)
class RoundResult:
    """What a round's local training gave, in the order of the shards.

    updates_NP: local - global, float32. losses_N: mean training loss over the samples as they were
    seen, NaN or inf where training diverged (the caller decides). iterations_N: optimiser updates;
    samples_N: samples in each shard.
    """

    updates_NP: Tensor
    losses_N: Tensor
    iterations_N: tuple[int, ...]
    samples_N: tuple[int, ...]


class Engine:
    """Runs local training and evaluation of one recipe under one set of settings.

    Use as a context manager, or call `close`: the backends process and ray own workers.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: TrainSettings,
        backend: str = "auto",
        cache_dir: str | Path | None = None,
        *,
        tier: str = "auto",
        rounds_expected: int = 20,
        worker_count: int | None = None,
        privacy: PrivacySettings | None = None,
        ray_address: str = "",
        ray_store_bytes_max: int | None = None,
        device: str = "cpu",
    ) -> None:
        """Build the networks; nothing is measured or started before the first `train`.

        cache_dir: where decisions and compiled artefacts are kept between runs, None for nowhere.
        tier: "eager", "traced", "compiled" or "auto". rounds_expected: what the choice weighs the
        cost of compiling against. worker_count: of process and ray, by default one a core.
        privacy: train by DP-SGD, one member after the other, with `train`'s keys. ray_address,
        ray_store_bytes_max: see `RayOptions`. device: where training runs, see `devices`. Raises
        ValueError for an unknown backend or tier, a recipe that does not build, or one that cannot
        be trained privately; InputError for ray where it is not installed, a device that is not
        there or not for this work, or settings that do not go with the recipe's `parallel`.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
        if tier != "auto":
            as_tier(tier)
        if backend == "ray":
            check_ray(ray_address)
        is_private = privacy is not None
        check_parallel(recipe, settings, backend, tier, is_private=is_private)
        self._device_text = device
        ray_options = RayOptions(ray_address, worker_count, ray_store_bytes_max)
        self._work: LocalWork = build_local_work(recipe, settings)
        self._private: PrivateTrainer | None = None
        if privacy is not None:
            if backend not in ("auto", "inline") or tier not in ("auto", "eager"):
                raise ValueError(
                    f"backend {backend!r} in tier {tier!r} cannot train privately: "
                    "choose backend 'auto' or 'inline', tier 'auto' or 'eager'"
                )
            self._private = PrivateTrainer(self._work, privacy)
        self._wish = Wish(backend, tier, rounds_expected)
        self._wanted = read_device(device)
        hindrance = ""
        if recipe.parallel is None:  # whose processes take no notice of the backend
            hindrance = explain_cpu(backend, tier, is_private=is_private)
        if hindrance and self._wanted is not None and self._wanted.type != CPU.type:
            raise InputError(DEVICE_FIELD, device, f"{hindrance}: write auto or cpu")
        if hindrance:
            self._wanted = CPU
        self._placed: LocalWork | None = None  # the work on the device that trains
        self._cache_dir = None if cache_dir is None else Path(cache_dir)
        self._means = Means(self._cache_dir, worker_count, ray_options)
        self._backend: Backend | None = None
        self._joined: tuple[list[tuple[Shard, int, int]], JoinedShards] | None = None
        self._flop: dict[tuple[int, ...], int] = {}
        self._narrow: dict[int, Engine] = {}
        self.choice: Choice | None = None
        self.device = CPU  # that trains, once something was trained

    @property
    def layout(self) -> Layout:
        """The flat order of the model's P numbers."""
        return self._work.layout

    @property
    def work(self) -> LocalWork:
        """The recipe under its rule, on the CPU, for whoever runs its iterations himself."""
        return self._work

    @property
    def settings(self) -> TrainSettings:
        """How every member trains."""
        return self._work.settings

    @property
    def guide_size(self) -> int:
        """G, the numbers that each round tells every member beside the model."""
        return self._work.guide_size

    @property
    def backend(self) -> str:
        """The backend in use, or the one asked for as long as nothing was trained."""
        return self.choice.backend if self.choice else self._wish.backend

    @property
    def reason(self) -> str:
        """Why this backend and tier, in one sentence."""
        return self.choice.reason if self.choice else "not chosen yet: nothing was trained"

    def train(
        self,
        global_P: Tensor,
        shards: Sequence[Shard],
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
        keys: Sequence[bytes] = (),
    ) -> RoundResult:
        """Train every member from `global_P` on its shard (inputs, targets) with its seed.

        guides_NG: for rules that are told something each round (see `LocalWork.guide`), and only
        for them. keys: with privacy, each member's secret key of this very piece of work (32 bytes,
        never used for another); its losses are then 0, untold. Raises ValueError for sizes that do
        not fit, an empty shard, or a recipe that raises (naming recipe and member).
        """
        if global_P.shape != (self.layout.size,) or global_P.dtype != torch.float32:
            raise ValueError(
                f"global model is {global_P.dtype} {tuple(global_P.shape)}, "
                f"expected torch.float32 ({self.layout.size},)"
            )
        if len(seeds) != len(shards):
            raise ValueError(f"{len(shards)} shards but {len(seeds)} seeds")
        guide_size = self.guide_size
        found = (0,) if guides_NG is None else tuple(guides_NG.shape)
        if found != ((len(seeds), guide_size) if guide_size else (0,)):
            raise ValueError(f"guides of shape {found}, expected {len(seeds)} of {guide_size}")
        if len(keys) != (len(shards) if self._private else 0):
            raise ValueError(f"{len(keys)} secret keys for {len(shards)} shards")
        data = self._join(shards, global_P)
        with torch.no_grad():
            if self._private is None:
                updates_NP, losses_N = self._train(global_P.detach(), data, seeds, guides_NG)
            else:
                self.choice = PRIVATE_CHOICE
                updates_NP = self._private.train(global_P.detach(), data, seeds, keys, guides_NG)
                losses_N = torch.zeros(len(seeds))
        iterations = count_member_iterations(self._work.settings, data.counts)
        return RoundResult(updates_NP, losses_N, iterations, data.counts)

    def narrow(self, place: int) -> Engine:
        """Return the engine of the network of the recipe's widths[place], kept until `close`.

        It works as this one was asked to, on vectors of its own, shorter layout. Its settings'
        narrower widths are shares of its own. ValueError with privacy or on ray, which do not know
        it.
        """
        if place == len(self._work.recipe.widths) - 1:
            return self
        if self._private is not None or self._wish.backend == "ray":
            raise ValueError("a narrower engine trains neither privately nor on ray")
        if place not in self._narrow:
            recipe = narrow_recipe(self._work.recipe, place)
            settings = self._work.settings
            own = replace(settings, slim_widths=recipe.widths[:-1] if settings.slim_widths else ())
            self._narrow[place] = Engine(
                recipe,
                own,
                self._wish.backend,
                self._cache_dir,
                tier=self._wish.tier,
                rounds_expected=self._wish.rounds_expected,
                worker_count=self._means.worker_count,
                device=self._device_text,
            )
        return self._narrow[place]

    def evaluate(
        self, vectors_MP: Tensor, inputs: Tensor, targets: Tensor, width: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy (float64, [M]) of M models on the same samples.

        vectors_MP: full-width vectors; `width` < 1 evaluates their leading blocks.
        """
        return evaluate_models(
            self._work.recipe, self.layout, vectors_MP, inputs, targets, width=width
        )

    def count_flop(self, sample_shape: Sequence[int], targets: Tensor | None = None) -> int:
        """Return the floating point operations of one sample, forward and backward.

        Counted on one sample of zeros (see `WorkCounter`). targets: one target [1, ...], by default
        class 0. Cached by shape.
        """
        shape = tuple(sample_shape)
        if shape not in self._flop:
            self._flop[shape] = count_sample_flop(self._work, shape, targets)
        return self._flop[shape]

    def close(self) -> None:
        """Stop workers and drop the joined data; the engine may be used again afterwards."""
        if self._backend is not None:
            self._backend.close()
        self._backend = None
        self._joined = None
        for engine in self._narrow.values():
            engine.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _join(self, shards: Sequence[Shard], global_P: Tensor) -> JoinedShards:
        """Return the joined shards, those of the last round if they are the same tensors."""
        if self._joined is not None and is_same(self._joined[0], shards):
            return self._joined[1]
        joined = join_shards(shards, is_channels_last=has_convolution(self._work))
        if self._work.recipe.parallel is None:
            joined = self._place(joined, global_P)
        self._joined = (remember(shards), joined)
        return joined

    def _place(self, data: JoinedShards, global_P: Tensor) -> JoinedShards:
        """Return the samples on the device that trains, which the first of them decide."""
        if self._placed is None:
            count = partial(self._count_iteration, data)
            self.device = pick_device(self._wanted, count, self._work, data, global_P.detach())
            self._placed = place_work(self._work, self.device)
        return place_shards(data, self.device)

    def _count_iteration(self, data: JoinedShards) -> int:
        """Return the floating point operations of one iteration."""
        flop = self.count_flop(tuple(data.inputs.shape[1:]), data.targets[:1])
        return flop * min(self._work.settings.batch_size, max(data.counts))

    def _train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Train on the chosen backend, one tier lower wherever lowering fails."""
        if self._backend is None:
            self._choose(global_P, data)
        while True:
            assert self.choice is not None
            try:
                if self._backend is None:
                    self._backend = build_backend(
                        self._placed or self._work, self.choice, global_P, data, self._means
                    )
                with deterministic(data.device):
                    return self._backend.train(global_P, data, seeds, guides_NG)
            except LoweringError as error:
                if self._backend is not None:
                    self._backend.close()
                self._backend = None
                self._settle(
                    data, Choice(self.choice.backend, "eager", f"eager, as {first_line(error)}")
                )

    def _choose(self, global_P: Tensor, data: JoinedShards) -> None:
        """Take the recipe's choice, the decision kept from an earlier run, or decide now."""
        parallel = self._work.recipe.parallel
        if parallel is not None:
            check_divisible(self._work, global_P, data)
            device_type = pick_device_type(parallel, self._wanted, self._count_iteration(data))
            self.device = torch.device(device_type)
            reason = describe_parallel(parallel, device_type)
            self.choice = Choice("parallel", "eager", reason, device_type)
            return
        path = self._decision_path(data)
        kept = load_decision(path) if path else None
        if kept is not None:
            self.choice = kept
            return
        assert self._placed is not None
        start_P = global_P.to(data.device)
        with deterministic(data.device):
            traits = probe(self._placed, start_P, data)
            self._settle(data, choose(self._placed, traits, start_P, data, self._wish))

    def _settle(self, data: JoinedShards, choice: Choice) -> None:
        self.choice = choice
        path = self._decision_path(data)
        if path:
            save_decision(path, choice)

    def _decision_path(self, data: JoinedShards) -> Path | None:
        if self._cache_dir is None:
            return None
        return self._cache_dir / f"{compute_decision_key(self._work, data, self._wish)}.json"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message: compilers write pages."""
    return str(error).strip().partition("\n")[0]
