"""Recipes, layouts and widths: nested blocks that run, train, and come out alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, vmap

from kumiai.learning.layout import compute_layout, flatten, integer_buffers, unflatten
from kumiai.learning.recipe import (
    Recipe,
    build_recipe,
    build_seeded,
    compute_token_correct,
    compute_token_loss,
    convert_widths,
    wrap_recipe,
)
from kumiai.learning.recipes.lora import LoraBuilder, choose_targets, draw_uniform, freeze
from kumiai.learning.recipes.options import scale_size
from kumiai.learning.slim import check_nested, compute_shapes, extract_width, slice_state

WIDTHS_PPM = [250_000, 500_000, 750_000, 1_000_000]
CASES = {
    "mlp": ("mlp", {"hidden": "24,10"}, (5,), 4),
    "cnn28": ("cnn", {}, (1, 28, 28), 10),
    "cnn32": ("cnn", {"channels": "8,16,32", "group_size": 2}, (3, 32, 32), 10),
    "resnet18": ("resnet18", {"base": 8, "group_size": 2}, (3, 9, 9), 10),
    "resnet18-pooled": (
        "resnet18",
        {"base": 8, "group_size": 2, "stem": "imagenet"},
        (1, 40, 33),
        10,
    ),
    "transformer": ("transformer", {"head_size": 4}, (7,), 11),
    "lora": ("lora", {"train_a": True}, (7,), 11),
    "lora-frozen-a": ("lora", {"train_a": False}, (7,), 11),
}


class TinyBase(nn.Module):
    """What adapters are put on, in the shape that language models have: no file, no library."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(11, 8)
        self.mixer = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, 8))
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, input_ids, use_cache):
        stream = self.token(input_ids)
        return SimpleNamespace(logits=self.head(stream + self.mixer(stream)))


FIRST_DRAWN = [0.19230180978775024, -0.44870924949645996, 0.18220579624176025]


def make_lora(train_a: bool) -> Recipe:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        base = freeze(TinyBase())
    targets = choose_targets(base, "all-linear", base.head, 4)
    builder = LoraBuilder(base, targets, 4, 8, train_a, 9)
    widths = convert_widths(WIDTHS_PPM)
    return Recipe("lora", builder.build, compute_token_loss, compute_token_correct, widths)


@pytest.fixture(params=CASES, scope="module")
def recipe(request) -> Recipe:
    name, options, shape, classes = CASES[request.param]
    if name == "lora":
        return make_lora(options["train_a"])
    return build_recipe(name, options, WIDTHS_PPM, shape, classes)


@pytest.fixture
def batch(request, recipe):
    _, _, shape, classes = CASES[request.node.callspec.params["recipe"]]
    generator = torch.Generator().manual_seed(5)
    if recipe.name in ("transformer", "lora"):
        tokens = torch.randint(classes, (6, shape[0] + 1), generator=generator)
        return tokens[:, :-1].float(), tokens[:, 1:]
    return (
        torch.randn(6, *shape, generator=generator),
        torch.randint(classes, (6,), generator=generator),
    )


def test_widths_nest_and_every_width_runs(recipe, batch):
    check_nested(recipe)
    inputs, targets = batch
    full = build_seeded(recipe, 1.0, seed=1)
    vector = flatten(compute_layout(full), full.state_dict())
    for width in recipe.widths:
        module = build_seeded(recipe, width, seed=2)
        outputs = functional_call(module, extract_width(recipe, vector, width), (inputs,))
        loss = recipe.compute_loss(outputs, targets)
        correct = recipe.compute_correct(outputs, targets)
        assert torch.isfinite(loss)
        assert loss.ndim == 0
        assert correct.shape == (6,)
        assert correct.dtype == torch.float32
        assert ((correct >= 0) & (correct <= 1)).all()
        assert outputs.std() > 0.02  # the narrow net of the initial model has a living signal


def test_first_block_of_a_narrow_net_computes_the_full_nets_first_channels():
    recipe = build_recipe("cnn", {}, WIDTHS_PPM, (1, 28, 28), 10)
    full = build_seeded(recipe, 1.0, seed=1)
    vector = flatten(compute_layout(full), full.state_dict())
    narrow = build_seeded(recipe, 0.25, seed=2)
    narrow.load_state_dict(extract_width(recipe, vector, 0.25))
    images = torch.randn(2, 1, 28, 28)
    assert torch.allclose(narrow.blocks[0](images), full.blocks[0](images)[:, :4], atol=1e-6)


@pytest.mark.parametrize(
    ("stem", "classes", "size"), [("imagenet", 1000, 11_689_512), ("cifar", 10, 11_173_962)]
)
def test_resnet18_has_the_size_of_the_published_one(stem, classes, size):
    recipe = build_recipe("resnet18", {"stem": stem}, WIDTHS_PPM, (3, 32, 32), classes)
    assert compute_layout(build_seeded(recipe, 1.0, seed=0)).size == size


def test_a_residual_block_without_its_change_passes_its_input_on():
    recipe = build_recipe("resnet18", {"base": 8, "group_size": 2}, WIDTHS_PPM, (3, 8, 8), 10)
    module = build_seeded(recipe, 1.0, seed=1)
    values = torch.randn(2, 8, 8, 8).relu()
    block = module.blocks[1]
    assert not torch.allclose(block(values), values, atol=1e-3)
    nn.init.zeros_(block.second_norm.weight)
    assert torch.equal(block(values), values)
    shapes = []
    for stage in module.blocks:
        values = stage(values)
        shapes.append(tuple(values.shape[1:]))
    assert shapes[1::2] == [(8, 8, 8), (16, 4, 4), (32, 2, 2), (64, 1, 1)]


def test_resnet18_nests_where_two_stages_round_to_the_same_channels():
    widths = [100_000, 1_000_000]  # 2 channels in the first stage and in the second
    recipe = build_recipe("resnet18", {"base": 8, "group_size": 2}, widths, (3, 8, 8), 10)
    check_nested(recipe)
    assert build_seeded(recipe, 0.1, seed=0)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_resnet18_stem_at_a_quarter_is_the_full_ones_first_channels():
    recipe = build_recipe("resnet18", {"base": 16, "group_size": 2}, WIDTHS_PPM, (3, 8, 8), 10)
    full = build_seeded(recipe, 1.0, seed=1)
    vector = flatten(compute_layout(full), full.state_dict())
    narrow = build_seeded(recipe, 0.25, seed=2)
    narrow.load_state_dict(extract_width(recipe, vector, 0.25))
    images = torch.randn(2, 3, 8, 8)
    wide = full.stem_norm(full.stem(images))
    assert torch.allclose(narrow.stem_norm(narrow.stem(images)), wide[:, :4], atol=1e-5)


def test_a_future_token_does_not_change_the_past():
    recipe = build_recipe("transformer", {}, WIDTHS_PPM, (8,), 9)
    module = build_seeded(recipe, 1.0, seed=1)
    tokens = torch.randint(9, (3, 8))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    before, after = module(tokens), module(changed)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-4)


def test_building_is_seeded_and_leaves_the_global_state_alone(recipe, request):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second = build_seeded(recipe, 1.0, 11), build_seeded(recipe, 1.0, 11)
    other = build_seeded(recipe, 1.0, 12)
    layout = compute_layout(first)
    vectors = [flatten(layout, module.state_dict()) for module in (first, second, other)]
    assert torch.equal(vectors[0], vectors[1])
    # adapters whose A is not trained start as nothing, whatever the seed
    starts_at_nought = request.node.callspec.params["recipe"] == "lora-frozen-a"
    assert torch.equal(vectors[0], vectors[2]) == starts_at_nought
    assert torch.equal(torch.get_rng_state(), before)


def test_adapters_are_the_papers_product_beside_the_frozen_layer():
    layer = make_lora(True).build(1.0).base.mixer[0]
    nn.init.normal_(layer.lora_b)
    values = torch.randn(3, 8)
    weight = layer.inner.weight + 8 / 4 * layer.lora_b @ layer.lora_a
    expected = values @ weight.T + layer.inner.bias
    assert torch.allclose(layer(values), expected, atol=1e-5)


def test_frozen_a_is_the_same_numbers_on_every_machine():
    drawn = draw_uniform("9/mixer.0", (4, 8), 0.5)
    assert drawn.dtype == torch.float32 and drawn.abs().max() <= 0.5
    assert drawn[0, :3].tolist() == FIRST_DRAWN
    many = draw_uniform("0/many", (100, 1000), 1.0)
    assert abs(float(many.mean())) < 0.01
    assert float(many.var()) == pytest.approx(1 / 3, rel=0.02)


def test_flatten_and_unflatten_are_inverse_views(recipe):
    module = build_seeded(recipe, 1.0, 3)
    layout = compute_layout(module)
    vector = flatten(layout, module.state_dict())
    assert vector.shape == (layout.size,)
    assert layout.offsets[-1] + layout.sizes[-1] == layout.size
    tensors = unflatten(layout, vector)
    assert all(torch.equal(tensors[name], module.state_dict()[name]) for name in layout.names)
    tensors[layout.names[-1]].fill_(9.0)
    assert (vector[layout.offsets[-1] :] == 9.0).all()
    stacked = unflatten(layout, torch.stack([vector, 2 * vector]))
    assert stacked[layout.names[0]].shape == (2, *layout.shapes[0])


def test_stacked_gradients_over_all_widths_equal_single_ones(recipe, batch):
    inputs, targets = batch
    modules = {width: build_seeded(recipe, width, 0) for width in recipe.widths}
    shapes = {width: compute_shapes(recipe, width) for width in recipe.widths}
    layout = compute_layout(modules[1.0])
    vector = flatten(layout, modules[1.0].state_dict())

    def compute_loss(vector_P, x, y):
        state = unflatten(layout, vector_P)
        return sum(
            recipe.compute_loss(
                functional_call(modules[width], slice_state(state, shapes[width]), (x,)), y
            )
            for width in recipe.widths
        )

    stacked = vmap(grad(compute_loss))(
        torch.stack([vector, 0.5 * vector]),
        torch.stack([inputs, inputs]),
        torch.stack([targets, targets]),
    )
    for row, start in zip(stacked, (vector, 0.5 * vector), strict=True):
        single = grad(compute_loss)(start, inputs, targets)
        assert torch.allclose(row, single, atol=1e-4)


def test_a_narrow_loss_moves_leading_blocks_only():
    recipe = build_recipe("mlp", {"hidden": "8"}, WIDTHS_PPM, (3,), 2)
    module, narrow = build_seeded(recipe, 1.0, 0), build_seeded(recipe, 0.25, 0)
    layout, shapes = compute_layout(module), compute_shapes(recipe, 0.25)
    vector = flatten(layout, module.state_dict()).abs().requires_grad_()
    outputs = functional_call(
        narrow, slice_state(unflatten(layout, vector), shapes), (torch.ones(4, 3),)
    )
    outputs[:, 0].sum().backward()
    gradient = unflatten(layout, vector.grad)["hidden.0.weight"]
    assert (gradient[:2] != 0).all()
    assert (gradient[2:] == 0).all()


def test_export_ships_the_narrow_net_alone(recipe):
    full = build_seeded(recipe, 1.0, 3)
    vector = flatten(compute_layout(full), full.state_dict())
    for width in recipe.widths:
        blocks = extract_width(recipe, vector, width)
        module = build_seeded(recipe, width, 4)
        assert set(blocks) == set(module.state_dict())
        module.load_state_dict(blocks)
        for name, block in blocks.items():
            leading = full.state_dict()[name][tuple(slice(size) for size in block.shape)]
            assert torch.equal(block, leading)
            assert block.is_contiguous()
            assert block.untyped_storage().nbytes() == 4 * block.numel()


class Counting(nn.Module):
    """A module with every kind of entry: counters, float buffers, frozen and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)


def test_layout_of_buffers_frozen_and_tied_weights():
    module = Counting()
    layout = compute_layout(module)
    trained = dict(zip(layout.names, layout.is_parameter, strict=True))
    assert trained == {
        "frozen": False,
        "norm.weight": True,
        "norm.bias": True,
        "norm.running_mean": False,
        "norm.running_var": False,
        "first.weight": True,
    }
    assert layout.size == 2 + 4 * 3 + 9
    counters = integer_buffers(module)
    assert list(counters) == ["norm.num_batches_tracked"]
    counters["norm.num_batches_tracked"] += 1
    assert module.norm.num_batches_tracked == 0


def test_layout_refuses_what_it_cannot_carry():
    with pytest.raises(ValueError, match=r"'weight' has dtype torch\.float64"):
        compute_layout(nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match="no float32"):
        compute_layout(nn.ReLU())
    layout = compute_layout(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="'bias' is missing"):
        flatten(layout, {"weight": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match=r"'weight' has shape \(2, 3\), expected \(3, 2\)"):
        flatten(layout, {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)})
    with pytest.raises(ValueError, match="8 numbers, the layout 9"):
        unflatten(layout, torch.zeros(8))


def build_wrong(kind):
    def build(width: float) -> nn.Module:
        hidden = max(1, round(8 * width))
        if kind == "grows":
            return nn.Linear(3, 8 if width == 1 else 9)
        if kind == "dimensions":
            return nn.Linear(3, 8) if width == 1 else nn.Conv1d(3, 8, 1)
        if kind == "names":
            return nn.Linear(3, hidden, bias=width == 1)
        if kind == "extra":
            return nn.Linear(3, hidden, bias=width < 1)
        if kind == "raises":
            raise RuntimeError("no such layer")
        return "a network"  # type: ignore[return-value]

    return build


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("grows", r"'weight' has shape \(9, 3\) at width 0.5 and \(8, 3\) at full width: .*scale"),
        ("dimensions", r"'weight' has shape \(8, 3, 1\)"),
        ("names", "'bias' at width 0.5 is missing"),
        ("extra", "'bias' at width 0.5 is not at full width"),
        ("raises", r"build\(1.0\) raised RuntimeError: no such layer"),
        ("text", r"build\(1.0\) returned str"),
    ],
)
def test_wrong_recipes_are_named(kind, message):
    with pytest.raises(ValueError, match=message):
        check_nested(wrap_recipe("mine", build_wrong(kind), [500_000, 1_000_000]))


def test_a_recipe_that_changes_between_calls_is_refused():
    sizes = iter(range(9, 1, -1))
    recipe = wrap_recipe("moody", lambda width: nn.Linear(3, next(sizes)), [1_000_000])
    with pytest.raises(ValueError, match="differs from call to call"):
        check_nested(recipe)


def test_a_users_recipe_brings_its_own_loss():
    recipe = wrap_recipe(
        "mine",
        lambda width: nn.Linear(2, 1),
        [1_000_000],
        loss=lambda outputs, targets: ((outputs[:, 0] - targets) ** 2).mean(),
    )
    assert recipe.compute_loss(torch.ones(2, 1), torch.tensor([1, 3])) == 2.0
    assert recipe.compute_correct(torch.eye(2), torch.tensor([0, 0])).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="not a function"):
        wrap_recipe("mine", None, [1_000_000])  # type: ignore[arg-type]


def test_token_loss_and_share_of_right_tokens():
    outputs = torch.zeros(2, 2, 4)
    outputs[0, 0, 3] = 5.0
    targets = torch.tensor([[3, 1], [0, 0]])
    assert compute_token_correct(outputs, targets).tolist() == [0.5, 1.0]
    even = compute_token_loss(torch.zeros(2, 2, 4), targets)
    assert float(even) == pytest.approx(np.log(4))


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("resnet", {}, (3,), "unknown"),
        ("mlp", {"depth": 3}, (3,), "no option 'depth'"),
        ("mlp", {"hidden": "64,x"}, (3,), "not a list of positive sizes"),
        ("mlp", {"hidden": True}, (3,), "not a list of positive sizes"),
        ("mlp", {"hidden": 0}, (3,), "not a list of positive sizes"),
        ("cnn", {}, (784,), "needs samples of shape"),
        ("cnn", {"channels": "6"}, (1, 8, 8), "do not split in groups of 4"),
        ("cnn", {"channels": "4,4,4,4"}, (1, 8, 8), "to nothing"),
        ("resnet18", {}, (784,), "needs samples of shape"),
        ("resnet18", {"base": 24}, (3, 32, 32), "24 channels do not split in groups of 16"),
        ("resnet18", {"stem": "mnist"}, (3, 32, 32), "stem = 'mnist' is not cifar or imagenet"),
        ("resnet18", {"stem": True}, (3, 32, 32), "stem = True is not cifar"),
        ("resnet18", {"group_size": 1}, (3, 8, 8), "ends at 1 pixel"),
        ("transformer", {}, (3, 4), "needs samples of shape"),
        ("transformer", {"heads": "2"}, (3,), "not a positive integer"),
    ],
)
def test_wrong_options_are_named(name, options, shape, message):
    with pytest.raises(ValueError, match=message):
        build_recipe(name, options, WIDTHS_PPM, shape, 10)


@pytest.mark.parametrize(
    "widths", [[], [500_000], [1_000_000, 1_000_000], [0, 1_000_000], [5, 3, 1_000_000]]
)
def test_widths_ascend_to_the_full_one(widths):
    with pytest.raises(ValueError, match="widths_ppm"):
        convert_widths(widths)


@given(st.integers(1, 50), st.integers(1, 8), st.floats(0.001, 1), st.floats(0.001, 1))
def test_sizes_nest_and_stay_whole_groups(groups, multiple, first, second):
    size = groups * multiple
    small, large = sorted((first, second))
    assert 0 < scale_size(size, small, multiple) <= scale_size(size, large, multiple) <= size
    assert scale_size(size, small, multiple) % multiple == 0
    assert scale_size(size, 1.0, multiple) == size
