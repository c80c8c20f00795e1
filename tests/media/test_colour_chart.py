"""Colours through every kind of input, and out through every kind of output and back in.

`python -m tests.media.test_colour_chart` prints the largest errors as a table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.plan import Chunk
from scope_batch.media.open import open_source
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, claim_outputs, open_sinks
from tests.media import profiles
from tests.media.chart import chart, largest_error
from tests.media.conftest import write_lossless
from tests.media.plans import chunk_of, plan_of

Make = Callable[[Path], Path]


def clip(name: str, *output: str) -> Make:
    return lambda folder: write_lossless(folder / name, chart(), 16, *output)


def yuv(name: str, matrix: str, pixels: str, *codec: str, scaled: str = "tv") -> Make:
    convert = f"scale=out_color_matrix={matrix}:out_range={scaled}:flags=accurate_rnd+full_chroma_int,format={pixels}"
    tags = f"setparams=colorspace={matrix}:color_primaries=bt709:color_trc=bt709:range={scaled}"
    return clip(name, "-vf", f"{convert},{tags}", *codec)


def graded(name: str, transfer: str, primaries: str, matrix: str, pixels: str, *codec: str) -> Make:
    """The same colours in another colour space, white at 203 cd/m2."""
    tags = "format=gbrp,setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    exact = f"agamma={int(transfer == 'arib-std-b67')}"
    linear = f"zscale=tin=bt709:pin=bt709:min=gbr:t=linear:npl=203:{exact},format=gbrpf32le"
    coded = f"zscale=p={primaries}:t={transfer}:m={matrix}:r=tv:npl=203:{exact},format={pixels}"
    return clip(name, "-vf", f"{tags},{linear},{coded}", *codec)


def picture(name: str, **options: Any) -> Make:
    def make(folder: Path) -> Path:
        Image.fromarray(chart(1)[0]).save(folder / name, **options)
        return folder / name

    return make


def profiled(primaries: tuple[tuple[float, float], ...], gamma: float | None) -> Make:
    """A PNG whose numbers and profile together mean the chart."""

    def make(folder: Path) -> Path:
        srgb, own = profiles.matrix_of(profiles.SRGB), profiles.matrix_of(primaries)
        light = profiles.linear(chart(1)[0] / 255, None) @ (np.linalg.inv(own) @ srgb).T
        levels = light.clip(0, 1) ** (1 / gamma) if gamma else profiles.encoded(light.clip(0, 1))
        data = (levels * 255).round().astype(np.uint8)
        Image.fromarray(data).save(folder / "p.png", icc_profile=profiles.profile("own", primaries, gamma))
        return folder / "p.png"

    return make


def moving(name: str, **options: Any) -> Make:
    def make(folder: Path) -> Path:
        frames = chart()
        frames[1::2, 0, 0] ^= 1  # equal frames would be joined
        first, *others = map(Image.fromarray, frames)
        first.save(folder / name, save_all=True, append_images=others, duration=62, **options)
        return folder / name

    return make


def array(folder: Path) -> Path:
    np.save(folder / "c.npy", chart())
    return folder / "c.npy"


def folder_of_pictures(folder: Path) -> Path:
    for index, frame in enumerate(chart()):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


X264 = ("-c:v", "libx264", "-qp", "1")
X265 = ("-c:v", "libx265", "-x265-params", "log-level=0:lossless=1", "-tag:v", "hvc1")
FFV1 = ("-c:v", "ffv1")
GRAPHIC = ("-vf", "split[a][b];[a]palettegen=reserve_transparent=0[p];[b][p]paletteuse=dither=none")

# In wide colours the darkest red of the chart, 8 in the cyan patch, is a difference of large numbers: in 8 and 10 bits
# it is kept to a few levels only.
INPUTS: dict[str, tuple[Make, float]] = {
    "ffv1 RGB": (clip("c.mkv"), 0),
    "h264 4:2:0 BT.709": (yuv("c.mp4", "bt709", "yuv420p", *X264), 2),
    "h264 4:2:0 BT.601": (yuv("c.mp4", "smpte170m", "yuv420p", *X264), 2),
    "h264 4:2:0 full range": (yuv("c.mp4", "bt709", "yuvj420p", *X264, scaled="pc"), 2),
    "h264 4:4:4": (yuv("c.mp4", "bt709", "yuv444p", *X264), 2),
    "hevc Main 10": (yuv("c.mp4", "bt709", "yuv420p10le", *X265), 1),
    "hevc BT.2020 matrix": (yuv("c.mp4", "bt2020nc", "yuv420p10le", *X265), 1),
    "vp8 WebM": (yuv("c.webm", "smpte170m", "yuv420p", "-c:v", "libvpx", "-crf", "4", "-b:v", "8M"), 4),
    "vp9 WebM": (yuv("c.webm", "bt709", "yuv420p", "-c:v", "libvpx-vp9", "-lossless", "1"), 2),
    "av1": (yuv("c.mp4", "bt709", "yuv420p", "-c:v", "libsvtav1", "-preset", "12", "-crf", "1"), 3),
    "prores 422": (yuv("c.mov", "bt709", "yuv422p10le", "-c:v", "prores_ks", "-profile:v", "3"), 2),
    "prores 4444": (yuv("c.mov", "bt709", "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4444"), 2),
    "mjpeg": (clip("c.avi", "-c:v", "mjpeg", "-q:v", "1"), 4),
    "mpeg2 transport stream": (yuv("c.ts", "smpte170m", "yuv420p", "-c:v", "mpeg2video", "-q:v", "1", "-r", "25"), 4),
    "HLG": (graded("c.mov", "arib-std-b67", "bt2020", "bt2020nc", "yuv444p10le", *X265), 5),
    "PQ": (graded("c.mov", "smpte2084", "bt2020", "bt2020nc", "yuv444p10le", *X265), 9),
    "HLG 12 bit": (graded("c.mkv", "arib-std-b67", "bt2020", "bt2020nc", "yuv444p12le", *FFV1), 3),
    "PQ 12 bit": (graded("c.mkv", "smpte2084", "bt2020", "bt2020nc", "yuv444p12le", *FFV1), 2),
    "BT.2020 SDR 12 bit": (graded("c.mkv", "bt709", "bt2020", "bt2020nc", "yuv444p12le", *FFV1), 2),
    "BT.2020 SDR": (graded("c.mov", "bt709", "bt2020", "bt2020nc", "yuv444p10le", *X265), 3),
    "Display P3": (graded("c.mkv", "bt709", "smpte432", "bt709", "yuv444p10le", *FFV1), 3),
    "YCgCo": (graded("c.mkv", "bt709", "bt709", "ycgco", "yuv444p10le", *FFV1), 1),
    "ICtCp PQ": (graded("c.mkv", "smpte2084", "bt2020", "ictcp", "yuv444p12le", *FFV1), 2),
    "BT.2020 constant luminance": (graded("c.mkv", "bt2020-10", "bt2020", "2020_cl", "yuv444p12le", *FFV1), 2),
    "gif": (clip("c.gif", *GRAPHIC), 0),
    "raw nut": (clip("c.nut", "-c:v", "rawvideo"), 0),
    "animated WebP": (moving("c.webp", lossless=True), 0),
    "animated PNG": (moving("c.png"), 0),
    "npy": (array, 0),
    "folder of PNG": (folder_of_pictures, 0),
    "PNG": (picture("p.png"), 0),
    "JPEG": (picture("p.jpg", quality=95, subsampling=0), 3),
    "WebP": (picture("p.webp", lossless=True), 0),
    "PNG in Adobe RGB": (profiled(profiles.ADOBE_RGB, 563 / 256), 5),
    "PNG in Display P3": (profiled(profiles.DISPLAY_P3, None), 2),
}

OUTPUTS: dict[str, tuple[Any, float]] = {
    "mp4": ("c.mp4", 4),
    "mp4 4:4:4": ({"path": "c.mp4", "pix_fmt": "yuv444p", "crf": 1}, 2),
    "mp4 10 bit": ({"path": "c.mp4", "pix_fmt": "yuv420p10le", "crf": 1}, 2),
    "mov h265": ({"path": "c.mov", "codec": "libx265"}, 4),
    "mkv ffv1": ({"path": "c.mkv", "codec": "ffv1"}, 0),
    "webm": ("c.webm", 4),
    "nut": ("c.nut", 0),
    "npy": ("c.npy", 0),
    "png": ("c%03d.png", 0),
}


@dataclass
class Made:
    """A `Generated` that returns the input frames."""

    chunk: Chunk
    data: np.ndarray

    def frames(self) -> np.ndarray:
        return self.data

    def latents(self) -> None:
        return None


def written(folder: Path, output: Any, frames: np.ndarray) -> Path:
    """The frames as this output, in the folder."""
    output_fields = output if isinstance(output, dict) else {"path": output}
    path = folder / output_fields["path"]
    plan = plan_of(chunk_of(len(frames)))
    plan = replace(plan, height=frames.shape[1], width=frames.shape[2], fps=Fraction(16))
    parsed, settings = parse_outputs([{**output_fields, "path": str(path)}], [], None, "job"), SinkSettings()
    with claim_outputs(parsed, settings) as publication, open_sinks(parsed, plan, settings, publication) as writer:
        writer.submit(Made(plan.chunks[0], frames), len(frames))
    return path


def first_frame(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return source.frame(0)


@pytest.mark.parametrize(("make", "bound"), INPUTS.values(), ids=INPUTS)
def test_a_chart_arrives_in_its_colours(tmp_path, make, bound):
    assert largest_error(first_frame(make(tmp_path))) <= bound


@pytest.mark.parametrize(("output", "bound"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_chart_goes_out_and_comes_back_in_its_colours(tmp_path, output, bound):
    assert largest_error(first_frame(written(tmp_path, output, chart()))) <= bound


@pytest.mark.parametrize("name", ["h264 4:2:0 BT.601", "HLG", "PNG in Adobe RGB"])
def test_a_chart_keeps_its_colours_all_the_way(tmp_path, name):
    make, bound = INPUTS[name]
    (tmp_path / "in").mkdir()
    arrived = np.broadcast_to(first_frame(make(tmp_path / "in")), chart().shape)
    output, added = OUTPUTS["mp4"]
    assert largest_error(first_frame(written(tmp_path, output, arrived))) <= bound + added


def main() -> None:
    for kind, rows, made in (
        ("in", INPUTS, lambda folder, make: make(folder)),
        ("out", OUTPUTS, lambda folder, output: written(folder, output, chart())),
    ):
        for name, (what, bound) in rows.items():
            with tempfile.TemporaryDirectory() as folder:
                error = largest_error(first_frame(made(Path(folder), what)))
            print(f"| {kind} | {name} | {error:.2f} | {bound} |")


if __name__ == "__main__":
    main()
