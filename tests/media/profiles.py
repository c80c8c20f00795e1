"""Small ICC profiles, as cameras and phones embed them: three primaries, white D65, one gamma."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SRGB_GAMMA = None
"""The curve of sRGB, which Display P3 has too."""


def xyz_of(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def matrix_of(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear RGB -> XYZ under D50."""
    white = xyz_of(0.3127, 0.3290)
    columns = np.stack([xyz_of(*primary) for primary in primaries], axis=1)
    to_d65 = columns * np.linalg.solve(columns, white)
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    return adapt @ to_d65


def linear(levels: np.ndarray, gamma: float | None) -> np.ndarray:
    """0..1 -> linear light."""
    if gamma is not None:
        return levels**gamma
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def managed(
    colour: tuple[int, int, int], primaries: tuple[tuple[float, float], ...], gamma: float | None
) -> np.ndarray:
    """What 8-bit numbers of these primaries are in sRGB, clipped."""
    light = np.linalg.inv(matrix_of(SRGB)) @ matrix_of(primaries) @ linear(np.array(colour) / 255, gamma)
    return 255 * encoded(light.clip(0, 1))


def encoded(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 -> levels of sRGB, 0..1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def profile(name: str, primaries: tuple[tuple[float, float], ...], gamma: float | None) -> bytes:
    """ICC version 2, matrix and curves."""
    table = linear(np.linspace(0, 1, 1024), gamma)
    curve = b"curv" + bytes(4) + struct.pack(">I", 1024) + (table * 65535).round().astype(">u2").tobytes()
    text = name.encode("ascii") + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(12 + 67)
    matrix = matrix_of(primaries)
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(D50), b"rTRC": curve}
    tags |= {b"gTRC": curve, b"bTRC": curve}
    tags |= {key: _xyz(matrix[:, i]) for i, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _file(tags)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _file(tags: dict[bytes, bytes]) -> bytes:
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">2I", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(">I4sI4s4s4s12s4s", start + len(data), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ",
                         bytes(12), b"acsp")  # fmt: skip
    return header + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(128 - len(header) - 40) + table + data
