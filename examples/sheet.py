"""Writes a contact sheet of a rendered array, every 12th frame: python examples/sheet.py out/slate.npy out/slate.png"""

import sys

import numpy as np
from PIL import Image

COLUMNS, STEP = 3, 12

frames = np.load(sys.argv[1], mmap_mode="r")[::STEP]  # uint8 [T, H, W, 3]
count, height, width, _ = frames.shape
sheet = Image.new("RGB", (COLUMNS * width, -(-count // COLUMNS) * height))
for index, frame in enumerate(frames):
    sheet.paste(Image.fromarray(frame), (index % COLUMNS * width, index // COLUMNS * height))
sheet.save(sys.argv[2])
