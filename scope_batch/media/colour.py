"""Converts the colours of a clip to 8-bit RGB in BT.709: builds the ffmpeg filters and describes the conversion.

HLG and PQ are tone-mapped: reference white (203 cd/m2, ITU-R BT.2408) becomes 255, only highlights above 90 % of it are
compressed. Wider primaries are converted, colours outside BT.709 are clipped. Transfer curves of SDR are left
unchanged, as in players.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scope_batch.errors import JobError

HD_WIDTH, HD_HEIGHT = 1280, 720
"""YUV without a matrix tag counts as BT.709 from this size on, else as BT.601, as in cameras and players."""

REFERENCE_WHITE_CD_M2 = 203
HDR_PEAK_CD_M2 = 1000
"""Highlights above this, the mastering peak of HLG and most PQ, are clipped."""
KNEE = 0.9
"""Share of the reference white above which highlights are compressed."""

SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
"""The same pixels on every processor, chroma filtered at full resolution."""

_HDR = {"arib-std-b67": "HLG", "smpte2084": "PQ (HDR10)"}
_WIDE = {"bt2020": "BT.2020", "smpte431": "DCI-P3", "smpte432": "Display P3", "film": "film", "bt470m": "NTSC 1953"}
_MATRIX_NAMES = {"bt709": "BT.709", "smpte170m": "BT.601", "bt470bg": "BT.601", "bt2020nc": "BT.2020", "gbr": "RGB"}
_RANGE_NAMES = {"tv": "limited", "pc": "full"}
_NOT_SDR = frozenset({"linear", "log100", "log316"})
_UNCONVERTIBLE = frozenset({"smpte2085", "ipt-c2", "ycgco-re", "ycgco-ro", "smpte428"})
"""Matrices and transfers that neither filter supports."""
_BY_ZSCALE = {"bt2020c": "2020_cl", "ictcp": "ictcp", "ycgco": "ycgco", "chroma-derived-nc": "chroma-derived-nc",
              "chroma-derived-c": "chroma-derived-c"}  # fmt: skip
"""Matrices that the scale filter does not support -> their names in the zscale filter."""
_UNTAGGED = frozenset({"unknown", "reserved", "unspecified"})
_ALPHA = re.compile(r"^(rgba|bgra|argb|abgr|gbrap|yuva|ya\d|ayuv|vuya|pal8)")
_YUV = re.compile(r"^(yuv|yuyv|uyvy|nv|p0|p2|p4|y2|xv|ayuv|vuya)")


@dataclass(frozen=True, slots=True)
class Colour:
    """pixels: ffmpeg's pixel format. range, matrix, primaries, transfer: ffmpeg's names of a frame's colour tags."""

    pixels: str
    range: str
    matrix: str
    primaries: str
    transfer: str

    @property
    def alpha(self) -> bool:
        return bool(_ALPHA.match(self.pixels))

    @property
    def words(self) -> str:
        """Matrix and range, "BT.709, limited range", or "HLG, ..."; distinguishes the parts of a clip."""
        kind = _HDR.get(self.transfer) or _MATRIX_NAMES.get(self.matrix, self.matrix)
        return f"{kind}, {_RANGE_NAMES.get(self.range, self.range)} range"

    def note(self) -> str | None:
        """Describe the conversion; None if the colours are only decoded."""
        if self.pixels.startswith("xyz"):
            return None  # decoded to colours that every conversion to RGB supports
        if self.transfer in _HDR:
            return f"{_HDR[self.transfer]}, converted to SDR"
        if self.primaries in _WIDE:
            return f"{_WIDE[self.primaries]} colours, converted to BT.709"
        if self.transfer in _NOT_SDR:
            return f"{self.transfer} transfer, converted to BT.709"
        return None

    def filters(self, name: str, width: int, height: int) -> str:
        """Filters that turn frames of width x height into rgb24, or rgba with straight alpha.

        Raises JobError, beginning with `name`, for colours that cannot be converted.
        """
        for tag in (self.matrix, self.transfer):
            if tag in _UNCONVERTIBLE and not self.pixels.startswith("xyz"):
                raise JobError(f"{name}: its colours are stored as {tag}, which cannot be read; {EXPORT_AS}")
        pixels = "rgba" if self.alpha else "rgb24"
        matrix = self._assumed_matrix(width, height)
        if self.note() is None and matrix not in _BY_ZSCALE:
            known = "auto" if matrix == self.matrix else matrix
            return f"scale=in_color_matrix={known}:flags={SCALE_FLAGS},format={pixels}"
        linear, whole = ("gbrapf32le", "gbrap") if self.alpha else ("gbrpf32le", "gbrp")
        hdr = self.transfer in _HDR
        transfer = self._assumed_transfer()
        # For HLG the filter's approximate curve acts on each channel and keeps saturation, the exact one on luminance.
        exact = f"agamma={int(self.transfer == 'arib-std-b67')}"
        shown = "bt709" if hdr or transfer in _NOT_SDR else transfer
        whole_chroma = [f"scale=flags={SCALE_FLAGS}", f"format={'yuva' if self.alpha else 'yuv'}444p16le"]
        return ",".join(
            (
                # The zscale filter does not support subsampled chroma at odd sizes.
                *(whole_chroma if (width % 2 or height % 2) and _YUV.match(self.pixels) else []),
                f"zscale=min={_BY_ZSCALE.get(matrix, matrix)}:rin={self._assumed_range()}:"
                f"pin={self._assumed_primaries()}:tin={transfer}:t=linear:npl={REFERENCE_WHITE_CD_M2}:{exact}",
                f"format={linear}",
                "zscale=p=bt709",
                *([f"tonemap=mobius:param={KNEE}:desat=0:peak={HDR_PEAK_CD_M2 / REFERENCE_WHITE_CD_M2:.4f}"] * hdr),
                f"zscale=t={shown}:m=gbr:r=pc:{exact}",
                f"format={whole}",
                f"format={pixels}",
            )
        )

    def _assumed_matrix(self, width: int, height: int) -> str:
        if self.matrix not in _UNTAGGED:
            return self.matrix
        if not _YUV.match(self.pixels):
            return "gbr" if self.note() else self.matrix
        if self.primaries == "bt2020":
            return "bt2020nc"
        return "bt709" if width >= HD_WIDTH or height >= HD_HEIGHT else "smpte170m"

    def _assumed_range(self) -> str:
        return "tv" if self.range == "tv" or (self.range != "pc" and _YUV.match(self.pixels)) else "pc"

    def _assumed_primaries(self) -> str:
        if self.primaries not in _UNTAGGED:
            return self.primaries
        return "bt2020" if self.transfer in _HDR else "bt709"

    def _assumed_transfer(self) -> str:
        return "bt709" if self.transfer in _UNTAGGED or self.transfer == "bt1361e" else self.transfer


EXPORT_AS = "export it as H.264 or ProRes with BT.709 colours"
"""Advice for clips whose colours cannot be read."""
