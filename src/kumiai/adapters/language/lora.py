"""The recipe `lora`: its options, read; its base, checked and loaded; adapters as the network.

base            folder of the base, beside the task file or absolute
base_sha256     the base's hash; filled in where a task file is read, checked wherever it is run
rank, alpha     r (8) and alpha (16) of `learning.recipes.lora`
target_modules  endings of layers' names, "c_attn,c_proj"; or "all-linear" (the default)
train_a         false: A is drawn from the task's seed and only B is trained
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kumiai.adapters.language.base_folder import (
    FIELD,
    HASH_FIELD,
    TOKENIZER,
    BaseFolder,
    check_hash,
    hash_file,
    open_base,
)
from kumiai.adapters.language.base_model import load_base
from kumiai.base.errors import InputError
from kumiai.learning.recipe import (
    OptionValue,
    Recipe,
    RecipeOrigin,
    compute_token_correct,
    compute_token_loss,
    convert_widths,
)
from kumiai.learning.recipes.lora import (
    ALL_LINEAR,
    ALPHA_DEFAULT,
    RANK_DEFAULT,
    LoraBuilder,
    choose_targets,
)
from kumiai.learning.recipes.options import check_names, get_count

LORA = "lora"
OPTIONS = ("base", "base_sha256", "rank", "alpha", "target_modules", "train_a")
SEED = "a_seed"  # in an origin, beside the options: what a worker cannot know otherwise


def bind_base(options: Mapping[str, OptionValue], base_dir: Path) -> dict[str, OptionValue]:
    """Return the options with `base_sha256` filled in where it was left out."""
    if "base_sha256" in options:
        return dict(options)
    return {**options, "base_sha256": open_base(find_folder(options, base_dir)).sha256}


def find_folder(options: Mapping[str, OptionValue], base_dir: Path) -> Path:
    """Return where the base lies; InputError unless `base` is given."""
    base = options.get("base")
    if not isinstance(base, str) or not base:
        fix = 'recipe lora needs the folder of a base model: base = "FOLDER"'
        raise InputError(FIELD, base, fix)
    return (base_dir / base).resolve()


def open_bound(options: Mapping[str, OptionValue], base_dir: Path) -> BaseFolder:
    """Return the checked base folder; InputError with both hashes where it is not the task's."""
    folder = open_base(find_folder(options, base_dir))
    if "base_sha256" not in options:
        fix = f'is missing: write base_sha256 = "{folder.sha256}", so that the task names its base'
        raise InputError(HASH_FIELD, None, fix)
    check_hash(folder, options["base_sha256"])
    return folder


def load_lora_recipe(
    options: Mapping[str, OptionValue],
    widths_ppm: Sequence[int],
    base_dir: Path,
    input_shape: tuple[int, ...],
    class_count: int,
    seed: int,
) -> Recipe:
    """Return the recipe over the base in its folder. seed: the task's, which A is drawn from.

    Raises InputError for a base that is missing, forbidden, changed, or made for other tokens;
    ValueError for options that do not hold.
    """
    check_names(LORA, options, OPTIONS)
    if len(input_shape) != 1:
        raise ValueError(f"recipe 'lora' needs samples of shape [tokens], not {input_shape}")
    rank = get_count(LORA, options, "rank", RANK_DEFAULT)
    alpha = get_count(LORA, options, "alpha", ALPHA_DEFAULT)
    train_a = options.get("train_a", False)
    targets = options.get("target_modules", ALL_LINEAR)
    if not isinstance(train_a, bool):
        raise ValueError(f"recipe 'lora': train_a = {train_a!r} is not true or false")
    if not isinstance(targets, str):
        raise ValueError(f"recipe 'lora': target_modules = {targets!r} is not a text")
    widths = convert_widths(widths_ppm)
    folder = open_bound(options, base_dir)
    model = load_base(folder)
    _check_tokens(folder, model, input_shape[0], class_count)
    head = model.get_output_embeddings()  # type: ignore[operator]
    chosen = choose_targets(model, targets, head, rank)
    builder = LoraBuilder(model, chosen, rank, alpha, train_a, seed)
    given = tuple(sorted({**options, SEED: seed}.items()))
    origin = RecipeOrigin(
        LORA, given, tuple(widths_ppm), input_shape, class_count, folder=str(base_dir.resolve())
    )
    return Recipe(LORA, builder.build, compute_token_loss, compute_token_correct, widths, origin)


def remake_lora_recipe(origin: RecipeOrigin) -> Recipe:
    """Return the recipe again from its origin, in another process."""
    options = dict(origin.options)
    seed = int(options.pop(SEED))
    return load_lora_recipe(
        options,
        origin.widths_ppm,
        Path(origin.folder),
        origin.input_shape,
        origin.class_count,
        seed,
    )


def check_tokenizer(data_folder: Path, folder: BaseFolder) -> None:
    """Raise InputError, with both hashes, unless the data's tokens are the base's."""
    found = hash_file(data_folder / TOKENIZER)
    if found != folder.tokenizer_sha256:
        fix = f"its {TOKENIZER} has {found}, the base's {folder.tokenizer_sha256 or '(none)'}"
        raise InputError("data.options.tokenizer", str(data_folder), fix)


def _check_tokens(folder: BaseFolder, model: object, length: int, class_count: int) -> None:
    """The data's token numbers must be the base's, and a sample must fit its positions."""
    config = model.config  # type: ignore[attr-defined]
    vocabulary = int(config.vocab_size)
    if class_count != vocabulary:
        fix = (
            f"its vocabulary has {vocabulary} tokens, the data have {class_count}: number the "
            'texts with the base\'s tokenizer (data.options.tokenizer = "FOLDER")'
        )
        raise InputError(FIELD, str(folder.path), fix)
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and length > positions:
        fix = f"it reads {positions} tokens, samples have {length}: lower data.options.length"
        raise InputError(FIELD, str(folder.path), fix)
