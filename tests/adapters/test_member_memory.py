"""What a member remembers comes back out of its bytes, whichever parts it has."""

from __future__ import annotations

import numpy as np
import pytest

from kumiai.adapters.compute.memory import Memory, decode_memory, encode_memory
from kumiai.learning.codecs import build_codec


@pytest.mark.parametrize("codec_text", ["dense-fixed", "ef|topk:density=0.1|int8"])
@pytest.mark.parametrize("program", [b"", b"program"])
@pytest.mark.parametrize("control", [0, 9])
def test_all_that_a_member_remembers_in_one_blob(
    codec_text: str, program: bytes, control: int
) -> None:
    codec = build_codec(codec_text)
    first = Memory(np.zeros(control, np.int32), codec.init(9))
    state = codec.encode(np.arange(9, dtype=np.float32), codec.init(9), 1)[1]
    kept = Memory(np.arange(control, dtype=np.int32), state, program)
    data = encode_memory(kept)
    found = decode_memory(codec, first, data, 9)
    assert found.control_P.tolist() == kept.control_P.tolist()
    assert [array.tolist() for array in found.codec] == [array.tolist() for array in state]
    assert found.program == program
    if len(data) > len(program):
        with pytest.raises(ValueError, match="expected"):
            decode_memory(codec, first, data[: len(data) - len(program) - 1], 9)
