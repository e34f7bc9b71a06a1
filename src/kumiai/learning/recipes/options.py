"""Reading a built-in recipe's options: each has a name, a type, a default and a clear error."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

OptionValue = int | str | bool


def check_names(recipe: str, options: Mapping[str, OptionValue], known: Collection[str]) -> None:
    """Raise ValueError naming the first option that `recipe` does not have."""
    for name in options:
        if name not in known:
            raise ValueError(
                f"recipe {recipe!r} has no option {name!r}: it has {', '.join(sorted(known))}"
            )


def get_count(recipe: str, options: Mapping[str, OptionValue], name: str, default: int) -> int:
    """Return a positive integer option."""
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"recipe {recipe!r}: {name} = {value!r} is not a positive integer")
    return value


def get_sizes(
    recipe: str, options: Mapping[str, OptionValue], name: str, default: str
) -> tuple[int, ...]:
    """Return a list of positive sizes, written "64" or "64,32" or as one integer."""
    value = options.get(name, default)
    parts = str(value).split(",") if not isinstance(value, bool) else [""]
    try:
        sizes = tuple(int(part) for part in parts)
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise ValueError(
            f'recipe {recipe!r}: {name} = {value!r} is not a list of positive sizes like "64,32"'
        )
    return sizes


def get_choice(
    recipe: str, options: Mapping[str, OptionValue], name: str, choices: Sequence[str]
) -> str:
    """Return one of `choices`, the first by default."""
    value = options.get(name, choices[0])
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"recipe {recipe!r}: {name} = {value!r} is not {' or '.join(choices)}")
    return value


def scale_size(size: int, width: float, multiple: int = 1) -> int:
    """Return `size` at `width`, rounded to a multiple (never 0), half up; the full size at 1.

    Monotone in width, so that narrower blocks nest in wider ones.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width {width} is outside 0 < width <= 1")
    if size % multiple:
        raise ValueError(f"size {size} is not a multiple of {multiple}")
    return max(1, int(size // multiple * width + 0.5)) * multiple
