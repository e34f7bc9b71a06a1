"""docs/nips.md names modules and tests that are there, and leaves out no codec."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NIPS = ROOT / "src/kumiai/market/nips"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/nips.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| document")
]
NOT_DOCUMENTS = {"__init__", "drafts", "urls"}


def test_every_row_has_a_status_and_what_shows_it():
    for name, module, status, _what, tests, left_out in ROWS:
        assert status in {"yes", "partly", "no"}, name
        named = re.findall(r"`([\w/]*test_\w+\.py)`", tests)
        assert bool(named) == (status != "no"), name
        assert all(_find_test(each, module) for each in named), name
        assert left_out, name
        path = NIPS / module.strip("`")
        is_adapter = (ROOT / "src/kumiai" / module.strip("`")).is_dir()
        assert module == "-" or is_adapter or path.is_dir() or path.with_suffix(".py").exists(), (
            name
        )


def _find_test(name, module):
    beside = ROOT / "tests" / module.strip("`")
    places = (Path(__file__).parent / name, ROOT / name, beside / name)
    return any(place.is_file() for place in places)


def test_every_codec_has_a_row():
    codecs = {path.stem for path in NIPS.iterdir() if path.name != "__pycache__"} - NOT_DOCUMENTS
    assert codecs == {row[1].strip("`") for row in ROWS} - {"-", "adapters/blobs", "adapters/nostr"}
