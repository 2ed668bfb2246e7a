"""Writes the images of this folder. It needs Pillow; version 13.0.0 wrote the present files.

The tests contain the colours that this script prints.
"""

from io import BytesIO
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
# Amounts of cyan, magenta, yellow and black ink, from 0 (none) to 255 (full).
INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (30, 200, 120, 60), (90, 40, 210, 128)]


def patches(mode, colours):
    """Four patches of 16x16 pixels: top left, top right, bottom left, bottom right."""
    image = Image.new(mode, (32, 32))
    for index, colour in enumerate(colours):
        left, top = index % 2 * 16, index // 2 * 16
        image.paste(colour, (left, top, left + 16, top + 16))
    return image


def show(name):
    """Prints what Pillow reads at the centre of each patch."""
    image = Image.open(FOLDER / name)
    rgb = image.convert("RGB")
    print(name, image.mode, image.size, [rgb.getpixel((x, y)) for y in (8, 24) for x in (8, 24)])


cmyk = BytesIO()
patches("CMYK", INKS).save(cmyk, "JPEG", quality=95, subsampling=0)
cmyk = cmyk.getvalue()
(FOLDER / "cmyk.jpg").write_bytes(cmyk)

# The last byte of the Adobe segment is the colour transform; 2 means YCCK.
adobe = cmyk.index(b"Adobe")
(FOLDER / "ycck.jpg").write_bytes(cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :])

# Three components with colour transform 0 are plain RGB.
patches("RGB", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)]).save(
    FOLDER / "stored-as-rgb.jpg", "JPEG", quality=95, keep_rgb=True
)

# Stored 48 pixels wide and 32 high; its EXIF orientation 6 turns it clockwise by 90 degrees, so
# that the red patch appears at the top right.
lying = Image.new("RGB", (48, 32), (20, 40, 220))
lying.paste((220, 30, 20), (0, 0, 16, 16))
exif = Image.Exif()
exif[0x0112] = 6
lying.save(FOLDER / "rotated.jpg", "JPEG", quality=95, subsampling=0, exif=exif)

# Other files that visitors may drop on the browser page.
COLOURS = [(200, 40, 40), (40, 160, 60), (50, 80, 210), (230, 200, 60)]
grey = patches("L", [20, 90, 160, 240])
grey.save(FOLDER / "grey.png", optimize=True)
half_clear = patches(
    "RGBA", [colour + (alpha,) for colour, alpha in zip(COLOURS, (0, 90, 180, 255))]
)
half_clear.save(FOLDER / "clear.png", optimize=True)
Image.new("RGB", (1, 1), (90, 140, 200)).save(FOLDER / "pixel.png", optimize=True)
frames = [patches("RGB", COLOURS[turn:] + COLOURS[:turn]) for turn in range(3)]
frames[0].save(FOLDER / "moving.gif", save_all=True, append_images=frames[1:], duration=200, loop=0)
patches("RGB", COLOURS).save(FOLDER / "image.avif", quality=80)

for name in ["cmyk.jpg", "ycck.jpg", "stored-as-rgb.jpg"]:
    show(name)
