"""The packs that can be pulled by name: where each file comes from, its pins, and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from facesearch.recognition.packs.folder import DEFAULT_THRESHOLD, UNMEASURED, UNSTATED, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PACK: Final = "buffalo_l"
_INSIGHTFACE_URL: Final = "https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip"
_OPENCV_URL: Final = "https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models/"
_AURAFACE_URL: Final = "https://huggingface.co/fal/AuraFace-v1/resolve/af6d057c9b0ec4071d4c49c80e3539258798b609/"

_ANY_USE: Final = "any, commercial use included"


def _insightface(data: str) -> Terms:
    return Terms(
        "InsightFace's trained models (https://github.com/deepinsight/insightface#license)",
        data,
        "non-commercial research only; any other use needs a licence from InsightFace",
    )


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of a pack; size in bytes and SHA-256 are None where they are not pinned."""

    name: str
    size: int | None = None
    sha256: str | None = None
    terms: Terms = UNSTATED
    url: str | None = None
    """None: it is in the pack's archive."""


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack that can be pulled by name: the two files that are used, each from a host of its own or an archive."""

    name: str
    summary: str
    detector: KnownFile
    recognizer: KnownFile
    url: str | None = None
    """Of the archive; None where each file has its own."""
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

    @property
    def download_size(self) -> int | None:
        """Bytes that are downloaded; None where that is not known."""
        sizes = [file.size for file in self.files] if self.url is None else [self.archive_size]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def notice(self) -> str:
        """What somebody has to read before a download."""
        lines = "".join(f"\n  {file.name}: {file.terms}" for file in self.files)
        return f"{self.name}, as we read it (not legal advice):{lines}"


_WIDER: Final = "WIDER FACE"
_DET_10G = KnownFile(
    "det_10g.onnx",
    16_923_827,
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    _insightface(_WIDER),
)
_DET_2_5G = KnownFile(
    "det_2.5g.onnx",
    3_292_009,
    "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",
    _insightface(_WIDER),
)
_DET_500M = KnownFile(
    "det_500m.onnx",
    2_524_817,
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
    _insightface(_WIDER),
)
_R50 = KnownFile(
    "w600k_r50.onnx",
    174_383_860,
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    _insightface("WebFace600K"),
)
_MBF = KnownFile(
    "w600k_mbf.onnx",
    13_616_099,
    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
    _insightface("WebFace600K"),
)
_YUNET = KnownFile(
    "face_detection_yunet_2026may.onnx",
    229_738,
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    Terms("MIT", _WIDER, _ANY_USE),
    f"{_OPENCV_URL}face_detection_yunet/face_detection_yunet_2026may.onnx",
)
_SFACE = KnownFile(
    "face_recognition_sface_2021dec.onnx",
    38_696_353,
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    Terms(
        "Apache-2.0",
        "not stated: asked in opencv_zoo#124 and #313, and not answered",
        f"{_ANY_USE}, if the weights may be under this licence: their provenance is open",
    ),
    f"{_OPENCV_URL}face_recognition_sface/face_recognition_sface_2021dec.onnx",
)
_AURAFACE = KnownFile(
    "glintr100.onnx",
    260_694_151,
    "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
    Terms("Apache-2.0", '"commercially and publicly available" data, which are not named', _ANY_USE),
    f"{_AURAFACE_URL}glintr100.onnx",
)

_R50_THRESHOLD: Final = 0.4078
_R50_BASIS: Final = "published: FMR 1e-6 on MR-ALL (InsightFace model zoo), not measured on this gallery"
_CALIBRATE: Final = "not measured for this pack: run facesearch calibrate"


def _zip(
    name: str,
    summary: str,
    detector: KnownFile,
    recognizer: KnownFile,
    archive: tuple[int, str] | tuple[None, None] = (None, None),
) -> KnownPack:
    """A pack of InsightFace's release."""
    return KnownPack(
        name=name,
        summary=summary,
        detector=detector,
        recognizer=recognizer,
        url=_INSIGHTFACE_URL.format(name=name),
        archive_size=archive[0],
        archive_sha256=archive[1],
        threshold=_R50_THRESHOLD if recognizer is _R50 else DEFAULT_THRESHOLD,
        threshold_basis=_R50_BASIS if recognizer is _R50 else UNMEASURED,
    )


KNOWN_PACKS: Final[Mapping[str, KnownPack]] = MappingProxyType(
    {
        pack.name: pack
        for pack in (
            _zip(
                DEFAULT_PACK,
                "SCRFD-10G and ResNet-50: the most accurate of the buffalo packs, and the default",
                _DET_10G,
                _R50,
                (288_621_354, "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"),
            ),
            _zip("buffalo_m", "SCRFD-2.5G and ResNet-50: detects faster", _DET_2_5G, _R50),
            _zip("buffalo_s", "SCRFD-500M and MobileFaceNet: small and fast", _DET_500M, _MBF),
            _zip(
                "buffalo_sc",
                "the two files of buffalo_s in a smaller archive",
                _DET_500M,
                _MBF,
                (16_140_916, "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72"),
            ),
            _zip(
                "antelopev2",
                "SCRFD-10G and ResNet-100 trained on Glint360K",
                KnownFile("scrfd_10g_bnkps.onnx", _DET_10G.size, _DET_10G.sha256, _DET_10G.terms),
                KnownFile(
                    "glintr100.onnx",
                    260_665_334,
                    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
                    _insightface("Glint360K"),
                ),
            ),
            KnownPack(
                "yunet_auraface",
                "YuNet and AuraFace v1 (ResNet-100): for commercial use; weak on children and across ages",
                _YUNET,
                _AURAFACE,
                threshold_basis=_CALIBRATE,
            ),
            KnownPack(
                "yunet_sface",
                "YuNet and SFace: small, for commercial use if its provenance does; weak on children and across ages",
                _YUNET,
                _SFACE,
                threshold=0.363,
                threshold_basis="published by OpenCV for LFW; not measured here: run facesearch calibrate",
                input_mean=0.0,
                input_std=1.0,
                dimension=128,
            ),
        )
    }
)
"""By name, the default first."""
