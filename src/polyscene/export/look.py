"""python look.py PHOTO [OUT.npz]: a photograph through the network beside this file, by numpy, onnxruntime, pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

home = Path(__file__).resolve().parent
about = json.loads((home / "export.json").read_text())
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
scale = (about["size"][0] * about["size"][1] / (photo.width * photo.height)) ** 0.5
size = [max(32, round(side * scale / 32) * 32) for side in photo.size] if about["any_size"] else about["size"][::-1]
pixels = np.asarray(photo.resize(size, Image.Resampling.BILINEAR), np.float32).transpose(2, 0, 1)[None] / 255
inputs = {"images": pixels, "focal": np.array([(about["canonical_focal"] or 1) * size[0]], np.float32)}
session = onnxruntime.InferenceSession(str(home / about["file"]), providers=["CPUExecutionProvider"])
found = session.run(about["outputs"], {name: inputs[name] for name in about["inputs"]})
found = dict(zip(about["outputs"], found, strict=True))
values = {name: array[0].argmax(0) if about["classes"][name] else array[0].squeeze() for name, array in found.items()}
for name, array in values.items():
    print(f"{name}: {array.shape}, {array.min():.3g} to {array.max():.3g} {about['units'][name]}")
np.savez_compressed(sys.argv[2] if len(sys.argv) > 2 else "values.npz", **values)
