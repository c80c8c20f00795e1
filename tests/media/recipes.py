"""Clips as people bring them, made small by the bundled ffmpeg: frame N of a numbered clip is a grey of 40 + 3 N."""

import struct
from pathlib import Path

import numpy as np

from scope_batch.media.source import Source
from tests.media.conftest import Frames, ffmpeg, write_lossless

DARKEST, STEP = 40, 3
X265 = ("-c:v", "libx265", "-x265-params", "log-level=0:repeat-headers=1", "-tag:v", "hvc1")
X264 = ("-c:v", "libx264", "-bf", "0", "-qp", "0", "-pix_fmt", "yuv420p")
BT709, BT601 = "bt709", "smpte170m"


def numbered_frames(count: int, first: int = 0, height: int = 48, width: int = 64) -> Frames:
    levels = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] * STEP + DARKEST
    return np.broadcast_to(levels, (count, height, width, 3))


def numbers_of(frames: list[Frames]) -> list[int]:
    """The number of each frame; every pixel says the same."""
    exact = [(frame.astype(float) - DARKEST) / STEP for frame in frames]
    assert all(np.abs(numbers - round(float(numbers.mean()))).max() < 0.5 for numbers in exact)
    return [round(float(numbers.mean())) for numbers in exact]


def numbers_in(source: Source, first: int = 0) -> list[int]:
    return numbers_of([source.frame(index) for index in range(first, source.frames)])


def in_yuv(matrix: str, scaled_range: str = "tv") -> tuple[str, ...]:
    """Output options: YUV of this matrix and range, tagged so."""
    convert = f"scale=out_color_matrix={matrix}:out_range={scaled_range}:flags=accurate_rnd,format=yuv420p"
    return ("-vf", f"{convert},setparams=colorspace={matrix}:color_primaries={matrix}:color_trc={matrix}")


def joined(path: Path, *parts: Path) -> Path:
    """The clips one after another in one stream, nothing encoded anew."""
    listing = path.with_suffix(".txt")
    listing.write_text("".join(f"file '{part}'\n" for part in parts))
    ffmpeg("-f", "concat", "-safe", "0", "-i", listing, "-c", "copy", path)
    return path


def another_matrix(folder: Path) -> Path:
    """40 frames in BT.709, then 20 in BT.601."""
    first = write_lossless(folder / "a.mkv", numbered_frames(40), 16, *in_yuv(BT709), *X264)
    second = write_lossless(folder / "b.mkv", numbered_frames(20, 40), 16, *in_yuv(BT601), *X264)
    return joined(folder / "matrix.mkv", first, second)


def another_size(folder: Path) -> Path:
    """VP8 of 64x48, 32x64 and 64x48, 12 frames each, black with a white square of 16x16 in the middle."""
    parts = []
    for name, size in (("a", "64x48"), ("b", "32x64"), ("c", "64x48")):
        source = f"color=black:s={size}:r=16:d=0.75,drawbox=x=(iw-16)/2:y=(ih-16)/2:w=16:h=16:c=white:t=fill"
        parts.append(folder / f"{name}.webm")
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "0", parts[-1])
    return joined(folder / "size.webm", *parts)


def another_range(folder: Path) -> Path:
    """10 frames in limited range, then 10 in full range."""
    first = write_lossless(folder / "a.mkv", numbered_frames(10), 16, *in_yuv(BT709), *X264)
    full = (*in_yuv(BT709, "pc"), *X264, "-color_range", "pc")
    return joined(folder / "range.mkv", first, write_lossless(folder / "b.mkv", numbered_frames(10, 10), 16, *full))


def hdr(path: Path, transfer: str, colour: str = "0xC08060", white_cd_m2: int = 203) -> Path:
    """Half a second of an SDR colour graded as HDR: HEVC Main 10."""
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc"
    linear = "zscale=tin=bt709:pin=bt709:min=gbr:t=linear:npl=203,format=gbrpf32le"
    coded = f"zscale=p=bt2020:t={transfer}:m=bt2020nc:r=tv:npl={white_cd_m2},format=yuv420p10le"
    ffmpeg("-f", "lavfi", "-i", f"color=c={colour}:s=64x48:r=16:d=0.5,format=gbrp", "-vf",
           f"{tags},{linear},{coded}", *X265, "-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace",
           "bt2020nc", "-color_range", "tv", path)  # fmt: skip
    return path


def hdr_then_sdr(folder: Path) -> Path:
    """8 frames in PQ, then 8 in BT.709, of one colour: a phone whose HDR was turned off on the way."""
    first, second, both = folder / "a.ts", folder / "b.ts", folder / "both.ts"
    hdr(first, "smpte2084")
    ffmpeg("-f", "lavfi", "-i", "color=c=0xC08060:s=64x48:r=16:d=0.5,format=gbrp", *in_yuv(BT709), "-pix_fmt",
           "yuv420p10le", *X265, "-output_ts_offset", "0.5", second)  # fmt: skip
    both.write_bytes(first.read_bytes() + second.read_bytes())
    ffmpeg("-i", both, "-c", "copy", folder / "mixed.mkv")
    return folder / "mixed.mkv"


def transparent(path: Path, *encode: str) -> Path:
    """Red under full transparency, a blue box of 32x24 in its middle."""
    source = "color=c=red@0.0:s=64x48:r=16:d=0.5,format=rgba,drawbox=x=16:y=12:w=32:h=24:c=0x3060C0@1:t=fill:replace=1"
    ffmpeg("-f", "lavfi", "-i", source, *encode, path)
    return path


def resized_between_key_frames(folder: Path) -> Path:
    """AV1 whose encoder makes frames smaller as it likes: 40 frames, 128x96 and less, one key frame."""
    live = ("-usage", "realtime", "-cpu-used", "8", "-g", "100", "-aom-params", "resize-mode=2")
    frames = numbered_frames(40, 0, 96, 128)
    return write_lossless(folder / "live.mkv", frames, 16, *in_yuv(BT601), "-c:v", "libaom-av1", *live, "-crf", "1")


def dolby_vision_5(folder: Path) -> Path:
    """HEVC Main 10 that declares itself Dolby Vision of profile 5: a `dvcC` box behind the other boxes of its codec."""
    data = bytearray(hdr(folder / "a.mov", "smpte2084").read_bytes())
    declared = struct.pack(">I4sBBH", 32, b"dvcC", 1, 0, (5 << 9) | (6 << 3) | 0b101) + bytes(20)
    boxes = [data.rindex(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")]
    (length,) = struct.unpack_from(">I", data, boxes[-1])
    for box in boxes:
        struct.pack_into(">I", data, box, struct.unpack_from(">I", data, box)[0] + len(declared))
    end = boxes[-1] + length
    (folder / "dv5.mov").write_bytes(data[:end] + declared + data[end:])
    return folder / "dv5.mov"
