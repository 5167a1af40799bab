"""The named model packs: InsightFace's v0.7 release, with sizes and SHA-256 where independent projects agree on them.

Not pinned, and hence trusted on first use: the archives of buffalo_m, buffalo_s and antelopev2, and both files of
antelopev2.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from facesearch.recognition.packfolder import DEFAULT_THRESHOLD, UNMEASURED

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PACK = "buffalo_l"
INSIGHTFACE_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip"
INSIGHTFACE_LICENCE = (
    "InsightFace's trained models are for non-commercial research only "
    "(https://github.com/deepinsight/insightface#license); any other use needs a licence from them."
)
"""Shown before a download."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of a pack; size in bytes and SHA-256 are None where they are not pinned."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack that can be pulled by name: its archive and the two files in it that are used."""

    name: str
    summary: str
    url: str
    licence: str
    detector: KnownFile
    recognizer: KnownFile
    archive_size: int | None = None
    archive_sha256: str | None = None
    max_archive_size: int = 600_000_000
    """Bytes; the cap where no size is pinned. The largest, antelopev2, has some 360 MB."""
    threshold: float = DEFAULT_THRESHOLD
    threshold_basis: str = UNMEASURED
    input_mean: float = 127.5
    input_std: float = 127.5
    dimension: int = 512

    @property
    def files(self) -> tuple[KnownFile, KnownFile]:
        """The two files that are used; the archives hold others."""
        return self.detector, self.recognizer


_DET_10G = KnownFile("det_10g.onnx", 16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91")
_DET_2_5G = KnownFile("det_2.5g.onnx", 3_292_009, "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9")
_DET_500M = KnownFile("det_500m.onnx", 2_524_817, "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a")
_R50 = KnownFile("w600k_r50.onnx", 174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43")
_MBF = KnownFile("w600k_mbf.onnx", 13_616_099, "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f")

_R50_THRESHOLD = 0.4078
_R50_BASIS = "published: FMR 1e-6 on MR-ALL (InsightFace model zoo), not measured on this gallery"


def _pack(
    name: str,
    summary: str,
    detector: KnownFile,
    recognizer: KnownFile,
    archive: tuple[int, str] | tuple[None, None] = (None, None),
) -> KnownPack:
    threshold, basis = (_R50_THRESHOLD, _R50_BASIS) if recognizer is _R50 else (DEFAULT_THRESHOLD, UNMEASURED)
    return KnownPack(
        name=name,
        summary=summary,
        url=INSIGHTFACE_URL.format(name=name),
        licence=INSIGHTFACE_LICENCE,
        detector=detector,
        recognizer=recognizer,
        archive_size=archive[0],
        archive_sha256=archive[1],
        threshold=threshold,
        threshold_basis=basis,
    )


KNOWN_PACKS: Mapping[str, KnownPack] = MappingProxyType(
    {
        pack.name: pack
        for pack in (
            _pack(
                "buffalo_l",
                "SCRFD-10G and ResNet-50: the most accurate of the buffalo packs, and the default",
                _DET_10G,
                _R50,
                (288_621_354, "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"),
            ),
            _pack("buffalo_m", "SCRFD-2.5G and ResNet-50: detects faster", _DET_2_5G, _R50),
            _pack("buffalo_s", "SCRFD-500M and MobileFaceNet: small and fast", _DET_500M, _MBF),
            _pack(
                "buffalo_sc",
                "the two files of buffalo_s in a smaller archive",
                _DET_500M,
                _MBF,
                (16_140_916, "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72"),
            ),
            _pack(
                "antelopev2",
                "SCRFD-10G and ResNet-100 trained on Glint360K",
                KnownFile("scrfd_10g_bnkps.onnx"),
                KnownFile("glintr100.onnx"),
            ),
        )
    }
)
"""By name, the default first."""
