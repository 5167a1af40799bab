"""The drawn people: always the same, each unlike the others, laid out as folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.demo.portraits import PEOPLE, STRANGER, draw_group, draw_landscape, draw_portrait, write_people

if TYPE_CHECKING:
    from pathlib import Path


def test_a_portrait_is_the_same_every_time() -> None:
    assert np.array_equal(draw_portrait(3, 2), draw_portrait(3, 2))


def test_a_variation_is_another_photo_of_the_same_person() -> None:
    photos = [draw_portrait(3, variation) for variation in range(6)]
    assert len({photo.tobytes() for photo in photos}) == len(photos)


@pytest.mark.parametrize("size", [(240, 280), (160, 200), (300, 300)])
def test_a_portrait_is_rgb_of_the_size_asked_for(size: tuple[int, int]) -> None:
    portrait = draw_portrait(STRANGER, 1, size)
    assert portrait.shape == (size[1], size[0], 3)
    assert portrait.dtype == np.uint8


def test_scenes_have_the_size_asked_for() -> None:
    assert draw_group([0, 1], size=(500, 300)).shape == (300, 500, 3)
    assert draw_landscape((320, 200)).shape == (200, 320, 3)


def test_people_have_a_dozen_different_names() -> None:
    assert len(set(PEOPLE)) == len(PEOPLE) == 12


def test_people_are_written_as_a_folder_each(tmp_path: Path) -> None:
    written = write_people(tmp_path, PEOPLE[:2], photos_each=3)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        f"{name}/{number}.jpg" for name in PEOPLE[:2] for number in (1, 2, 3)
    ]
    assert all(path.read_bytes().startswith(b"\xff\xd8\xff") for path in written)


def test_only_people_with_a_name_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        write_people(tmp_path, ["Nobody"])
