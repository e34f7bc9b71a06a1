"""FjORD and HeteroFL: widths by what a member's device can carry, not by what it gave.

Horváth et al., "FjORD: Fair and Accurate Federated Learning under Heterogeneous Targets with
Ordered Dropout", 2021: each batch trains one width drawn from those up to the member's own.
Diao, Ding and Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning for
Heterogeneous Clients", 2021: each member trains its own width alone. Both average every coordinate
over the members that hold it, FjORD by samples, HeteroFL by heads; one that nobody holds keeps its
value. Capacities: a quarter of the members each at 1/4, 1/2, 3/4 and 1, shuffled, at least one at 1
(the devices of a federation are not told by its data). HeteroFL's scaler and masked outputs are
left out (reconstruction): ordered slices without batch statistics need no scaler here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received
from kumiai.learning.layout import Layout
from kumiai.learning.recipe import Recipe
from kumiai.learning.slim import compute_shapes

CAPACITIES = (1.0, 0.75, 0.5, 0.25)


def play_fjord(federation: Federation) -> Received:
    """Return the model at each member's capacity, trained by ordered dropout."""
    return _play(federation, is_ordered=True)


def play_heterofl(federation: Federation) -> Received:
    """Return the model at each member's capacity, each trained at its own width."""
    return _play(federation, is_ordered=False)


def _play(federation: Federation, *, is_ordered: bool) -> Received:
    trainer, data = federation.trainer, federation.data
    generator = torch.Generator().manual_seed(federation.seed)
    order = torch.randperm(federation.size, generator=generator).tolist()
    widths_N = tuple(CAPACITIES[place % len(CAPACITIES)] for place in order)
    groups = {w: [n for n, own in enumerate(widths_N) if own == w] for w in sorted(set(widths_N))}
    masks = {w: mask_width(trainer.recipe, trainer.layout, w) for w in groups}
    cover_NP = torch.stack([masks[w] for w in widths_N]).float()
    heads_N = torch.full((federation.size,), 1.0 / federation.size)
    weights_NP = cover_NP * (federation.shares_N if is_ordered else heads_N)[:, None]
    weights_NP /= weights_NP.sum(0).clamp(min=1e-12)
    model_P = federation.start_P
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        seeds = federation.get_seeds(number)
        updates_NP = torch.zeros(federation.size, len(model_P))
        for width, members in groups.items():
            sets = tuple((w,) for w in sorted(CAPACITIES) if w <= width)
            start = model_P.expand(len(members), -1).contiguous()
            local = trainer.train(
                start,
                data.select(members),
                [seeds[n] for n in members],
                _draw(sets, trainer.settings.local_iterations, generator)
                if is_ordered
                else ((width,),),
            )
            updates_NP[members] = local - start
        model_P = model_P + (weights_NP * updates_NP).sum(0)
        last.add(number, model_P)
    return Received(last.compute_mean().expand(federation.size, -1), widths_N)


def mask_width(recipe: Recipe, layout: Layout, width: float) -> Tensor:
    """Return 1 for the coordinates [P] that belong to the network of `width`."""
    pieces = []
    shapes_p = compute_shapes(recipe, width)
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        block = torch.zeros(shape)
        block[tuple(slice(0, size) for size in shapes_p[name])] = 1
        pieces.append(block.flatten())
    return torch.cat(pieces).bool()


def _draw(
    sets: tuple[tuple[float, ...], ...], count: int, generator: torch.Generator
) -> tuple[tuple[float, ...], ...]:
    places = torch.randint(len(sets), (count,), generator=generator).tolist()
    return tuple(sets[place] for place in places)
