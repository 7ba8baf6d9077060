"""Takes on a track, sample by sample."""

import numpy as np
import pytest

from services.worker.dubbing.place import mix_into, with_edge_fades


def test_edges_are_faded_and_the_middle_is_not() -> None:
    take = np.ones(1_000, dtype=np.float32)
    faded = with_edge_fades(take, sample_rate=10_000, fade_s=0.01)
    assert faded[0] < 0.01
    assert faded[-1] < 0.01
    assert np.all(np.diff(faded[:100]) > 0)
    assert np.array_equal(faded[100:-100], take[100:-100])
    assert np.array_equal(take, np.ones(1_000)), "the take itself is left alone"


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_tiny_takes_survive_fading(length: int) -> None:
    assert with_edge_fades(np.ones(length, dtype=np.float32), sample_rate=48_000).shape == (length,)


def test_channels_fade_alike() -> None:
    faded = with_edge_fades(np.ones((100, 2), dtype=np.float32), sample_rate=1_000)
    assert np.array_equal(faded[:, 0], faded[:, 1])


def test_takes_add_up_where_they_meet() -> None:
    track = np.zeros(6, dtype=np.float32)
    assert mix_into(track, np.ones(3, dtype=np.float32), 1) == 0
    assert mix_into(track, np.ones(3, dtype=np.float32), 2) == 0
    assert track.tolist() == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize(("offset", "outside"), [(4, 1), (6, 3), (100, 3), (-1, 1), (-3, 3), (-9, 3)])
def test_no_hard_trim_goes_unreported(offset: int, outside: int) -> None:
    track = np.zeros(6, dtype=np.float32)
    assert mix_into(track, np.ones(3, dtype=np.float32), offset) == outside
    assert track.sum() == 3 - outside
