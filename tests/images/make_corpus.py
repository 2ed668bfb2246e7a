"""Writes the folder `corpus`: images of every kind that users have, with the pixels that others see.

`corpus/list.tsv` has a line for each image: its path, a tab, and the PNG with its pixels (RGB, over
white) or `refused: ` and a part of the error. Images with equal pixels share the PNG.

JPEGs are written by libjpeg-turbo's cjpeg and jpegtran, or changed byte by byte from theirs; their
pixels are those of its djpeg with the accurate inverse transform and smooth upsampling, which is
its default. Pixels of other formats are Pillow's, or known because the file is written here
sample by sample. Version 2.1.5 of libjpeg-turbo and 13.0.0 of Pillow wrote the present files.
"""

import hashlib
import itertools
import math
import shutil
import struct
import subprocess
import tempfile
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

CORPUS = Path(__file__).parent / "corpus"
LINES = []


def over_white(image):
    """The image as RGB, with transparency blended with white."""
    rgba = image.convert("RGBA")
    pixels = [
        tuple((value * alpha + 255 * (255 - alpha) + 127) // 255 for value in rgb)
        for *rgb, alpha in rgba.getdata()
    ]
    image = Image.new("RGB", rgba.size)
    image.putdata(pixels)
    return image


def add(path, content, image):
    """Writes a file whose pixels are those of `image`, or which is refused for the reason `image`."""
    target = CORPUS / path
    target.parent.mkdir(parents=True, exist_ok=True)
    assert not target.exists(), path
    target.write_bytes(content)
    if isinstance(image, str):
        LINES.append(f"{path}\trefused: {image}")
        return
    image = over_white(image)
    digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:12]
    expected = CORPUS / "expected" / f"{digest}.png"
    expected.parent.mkdir(exist_ok=True)
    if not expected.exists():
        image.save(expected, optimize=True)
    LINES.append(f"{path}\texpected/{digest}.png")


def pillow(content):
    """What Pillow reads."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def picture(width, height, plain=False):
    """Waves and blocks in every channel; a plain one has the same hue everywhere."""
    image = Image.new("RGB", (width, height))
    for y, x in itertools.product(range(height), range(width)):
        wave = 127.5 + 110 * math.sin(x * 0.23 + y * 0.11)
        other = 127.5 + 110 * math.sin(x * 0.07 - y * 0.31 + 1)
        block = 200 if (x // 9 + y // 7) % 2 else 60
        grey = 80 + (x * 7 + y * 5) % 80
        colour = (grey + 50, grey, grey - 40) if plain else (int(wave), int(other), block)
        image.putpixel((x, y), colour)
    return image


# JPEG

TOOLS = tempfile.TemporaryDirectory()


def run(*command, stdin):
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE)
    # 2 means warnings, such as of an unusual colour transform.
    assert done.returncode in (0, 2), command
    return done.stdout


def script(*lines):
    """A file with a scan in each line, as cjpeg and jpegtran want it."""
    path = Path(TOOLS.name) / "scans"
    path.write_text("".join(line + ";\n" for line in lines))
    return ("-scans", str(path))


def cjpeg(image, *options, quality=75):
    ppm = BytesIO()
    image.save(ppm, "PPM")
    return run("cjpeg", "-quality", str(quality), *options, stdin=ppm.getvalue())


def jpegtran(content, *options):
    return run("jpegtran", "-copy", "all", *options, stdin=content)


def djpeg(content):
    return Image.open(BytesIO(run("djpeg", "-dct", "int", "-rgb", stdin=content)))


def add_jpeg(name, content, image=None):
    add(f"jpeg/{name}.jpg", content, djpeg(content) if image is None else image)


SEPARATE = ("0", "1", "2")
LETTERS = {"1x1": "a", "2x1": "h", "1x2": "v", "2x2": "q"}
SAMPLE = picture(33, 29)


def every_sampling():
    """All 64 samplings by 1 and 2: interleaved, in three scans, progressive."""
    for factors in itertools.product(LETTERS, repeat=3):
        name = "".join(LETTERS[factor] for factor in factors)
        sampling = ("-sample", ",".join(factors))
        if factors == ("2x2",) * 3:
            # Twelve blocks: too many for an interleaved scan.
            separate = cjpeg(SAMPLE, *sampling, *script(*SEPARATE))
        else:
            whole = cjpeg(SAMPLE, *sampling)
            add_jpeg(f"sampled-{name}", whole)
            separate = jpegtran(whole, *script(*SEPARATE))
            add_jpeg(f"sampled-{name}-progressive", jpegtran(whole, "-progressive"))
        add_jpeg(f"sampled-{name}-separate", separate)


def more_samplings():
    for factors in ["4x1", "1x4", "4x2", "2x4", "3x1", "1x3", "3x2", "4x1,1x1,4x1", "4x1,2x1,1x1"]:
        sampling = ("-sample", factors if "," in factors else f"{factors},1x1,1x1")
        name = factors.replace(",", "-")
        whole = cjpeg(SAMPLE, *sampling)
        add_jpeg(f"sampled-{name}", whole)
        # The tools read these; `jpeg-decoder` does not.
        reason = "the sampling factors 2 and 4 in separate scans" if "2x1,1x1" in factors else None
        add_jpeg(f"sampled-{name}-separate", jpegtran(whole, *script(*SEPARATE)), reason)
        add_jpeg(f"sampled-{name}-progressive", jpegtran(whole, "-progressive"), reason)
    thirds = cjpeg(SAMPLE, "-sample", "3x1,1x1,1x1")
    second = segments(thirds)[0xC0] + 10 + 3
    thirds = changed(thirds, second + 1, b"\x21")
    add_jpeg("sampled-3x1-2x1-1x1", thirds, "the sampling factors 2 and 3")


def scan_orders():
    """Orders and groups of scans, restarts in rows and in blocks."""
    for name, factors in [("q", "2x2"), ("h", "2x1"), ("v", "1x2"), ("a", "1x1")]:
        whole = cjpeg(SAMPLE, "-sample", factors)
        for order, scans in [
            ("y-cc", ("0", "1 2")),
            ("reversed", ("2", "1", "0")),
            ("yc-c", ("0 1", "2")),
        ]:
            add_jpeg(f"scans-{name}-{order}", jpegtran(whole, *script(*scans)))
        add_jpeg(
            f"scans-{name}-separate-restart-2",
            jpegtran(whole, "-restart", "2B", *script(*SEPARATE)),
        )
        add_jpeg(f"restart-{name}-1", jpegtran(whole, "-restart", "1B"))
        add_jpeg(f"restart-{name}-row", jpegtran(whole, "-restart", "1"))
        add_jpeg(f"restart-{name}-progressive", jpegtran(whole, "-progressive", "-restart", "1B"))
        # Every coefficient comes in two passes, colours before brightness.
        scans = ["2: 0-0, 0, 1", "0 1: 0-0, 0, 1"]
        scans += [f"{c}: 1-63, 0, 2" for c in (1, 0, 2)]
        scans += [f"{c}: 1-63, 2, 1" for c in (0, 2, 1)] + ["0 1 2: 0-0, 1, 0"]
        scans += [f"{c}: 1-63, 1, 0" for c in (2, 1, 0)]
        add_jpeg(f"progressive-{name}-passes", jpegtran(whole, *script(*scans)))


def extents():
    """Rows and columns around the sizes of blocks.

    Where a row has fewer than five pixels, decoders upsample colours differently: those pictures
    are of one hue.
    """
    sizes = [(side, side) for side in range(1, 18)]
    sizes += [(1, 17), (17, 1), (8, 1), (1, 8), (9, 16), (16, 9), (5, 17), (2, 33), (33, 2)]
    for width, height in sizes:
        image = picture(width, height, plain=width < 5)
        for factors, kind in [("2x2", "separate"), ("2x2", "progressive"), ("2x1", "whole")]:
            content = cjpeg(image, "-sample", factors)
            if kind == "separate":
                content = jpegtran(content, *script(*SEPARATE))
            elif kind == "progressive":
                content = jpegtran(content, "-progressive")
            add_jpeg(f"extents-{width}x{height}-{factors}-{kind}", content)


def segments(content):
    """Offsets of marker segments up to the first scan, by marker."""
    found, at = {}, 2
    while content[at + 1] != 0xDA:
        found.setdefault(content[at + 1], at)
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    found[0xDA] = at
    return found


def changed(content, at, new):
    return content[:at] + new + content[at + len(new) :]


def without(content, marker):
    at = segments(content)[marker]
    end = at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return content[:at] + content[end:]


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def adobe(transform):
    return segment(0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, transform]))


def with_ids(content, ids):
    """Other component ids in the frame header and in every scan of all components."""
    at = segments(content)[0xC0] + 10
    for index, id in enumerate(ids):
        content = changed(content, at + 3 * index, bytes([id]))
        content = changed(content, segments(content)[0xDA] + 5 + 2 * index, bytes([id]))
    return content


def colours():
    """What tells the meaning of the components: JFIF, then Adobe, then their ids."""
    jfif = cjpeg(SAMPLE, "-sample", "2x1")
    bare = without(jfif, 0xE0)
    rgb = cjpeg(SAMPLE, "-rgb", "-sample", "1x1,1x1,1x1")
    add_jpeg("colours-none", bare)
    add_jpeg("colours-rgb-ids", without(rgb, 0xEE) if 0xEE in segments(rgb) else rgb)
    for transform in (0, 1, 2):
        add_jpeg(f"colours-adobe-{transform}", bare[:2] + adobe(transform) + bare[2:])
        add_jpeg(f"colours-jfif-adobe-{transform}", jfif[:20] + adobe(transform) + jfif[20:])
    for name, ids in [("0-1-2", (0, 1, 2)), ("rgb", b"RGB"), ("lower-rgb", b"rgb"), ("1-34-35", (1, 34, 35))]:
        add_jpeg(f"colours-ids-{name}", with_ids(bare, ids))
        add_jpeg(f"colours-jfif-ids-{name}", with_ids(jfif, ids))
    add_jpeg("colours-adobe-1-ids-rgb", with_ids(bare[:2] + adobe(1) + bare[2:], b"RGB"))
    for factors in ("2x2,1x1,1x1", "1x1,2x2,1x1"):
        add_jpeg(
            f"colours-rgb-{factors[0]}-{factors[4]}", cjpeg(SAMPLE, "-rgb", "-sample", factors)
        )
    for factors in ("1x1", "2x2", "4x4"):
        grey = cjpeg(SAMPLE, "-grayscale", "-sample", factors)
        add_jpeg(f"grey-{factors}", grey)
        add_jpeg(f"grey-{factors}-progressive", jpegtran(grey, "-progressive", "-restart", "3B"))


def inks():
    """Four components: CMYK without and with an Adobe segment, YCCK."""
    ink = SAMPLE.convert("CMYK")
    ink.putdata([(c, m, y, (3 * c + m) // 8) for c, m, y, _ in ink.getdata()])
    for subsampling in (0, 2):
        content = BytesIO()
        ink.save(content, "JPEG", quality=85, subsampling=subsampling)
        content = content.getvalue()
        at = segments(content)[0xEE] + 15
        kinds = {"adobe-0": content, "adobe-2": changed(content, at, b"\2")}
        kinds["bare"] = without(content, 0xEE)
        for name, content in kinds.items():
            separate = jpegtran(content, *script("0", "1", "2", "3"))
            for order, content in [
                ("whole", content),
                ("separate", separate),
                ("progressive", jpegtran(content, "-progressive")),
            ]:
                image = pillow(content).convert("RGB")
                add_jpeg(f"inks-{name}-{subsampling}-{order}", content, image)


def orientations():
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        app1 = segment(0xE1, b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0"))
        for order, options in [("whole", ()), ("separate", script(*SEPARATE))]:
            content = jpegtran(cjpeg(SAMPLE, "-sample", "2x2"), *options)
            content = content[:20] + app1 + content[20:]
            upright = djpeg(content)
            upright.getexif()[0x0112] = turn
            add_jpeg(f"turned-{turn}-{order}", content, ImageOps.exif_transpose(upright))


def tiff(order, kind, value, count=1, tag=0x0112):
    """Exif data with one field of the type `kind`, whose value lies in the field."""
    byte_order = {"II": "<", "MM": ">"}[order]
    letter = {1: "B3x", 3: "H2x", 4: "I", 6: "b3x", 8: "h2x", 9: "i"}[kind]
    values = (42, 8, 1, tag, kind, count, value, 0)
    return order.encode() + struct.pack(byte_order + "HIHHHI" + letter + "I", *values)


def metadata():
    """Every form in which Pillow's `exif_transpose` finds an orientation, and some that it ignores."""
    six, three = tiff("II", 3, 6), tiff("MM", 3, 3)
    attribute = b'<rdf:Description tiff:Orientation="6"/>'
    element = b"<rdf:Description><tiff:Orientation>8</tiff:Orientation></rdf:Description>"
    whole = cjpeg(SAMPLE, "-sample", "2x2")

    def exif(data):
        return segment(0xE1, b"Exif\0\0" + data)

    def xmp(packet):
        return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)

    def add_turned(name, before=b"", behind=b""):
        content = whole[:20] + before + whole[20:-2] + behind + whole[-2:]
        upright = djpeg(content)
        upright.getexif()[0x0112] = pillow(content).getexif().get(0x0112, 1)
        add_jpeg(f"turned-by-{name}", content, ImageOps.exif_transpose(upright))

    for order, kind in itertools.product(("II", "MM"), (1, 3, 4, 6, 8, 9)):
        add_turned(f"type-{kind}-{order}", exif(tiff(order, kind, 6)))
    add_turned("value-0", exif(tiff("II", 3, 0)) + xmp(attribute))
    add_turned("value-65542", exif(tiff("II", 4, 0x10006)))
    add_turned("two-values", exif(tiff("II", 3, 6, count=2)))
    elsewhere = tiff("II", 4, 26, count=3)[:-4] + struct.pack("<IHHH", 0, 6, 1, 1)
    add_turned("values-elsewhere", exif(elsewhere[:12] + b"\3\0" + elsewhere[14:]))
    add_turned("no-values", exif(tiff("II", 3, 6, count=0)))
    add_turned("cut-field", exif(six[:20]))
    add_turned("two-prefixes", exif(b"Exif\0\0" + six))
    add_turned("first-segment", exif(six) + exif(three))
    add_turned("split-segment", exif(six[:12]) + exif(six[12:]))
    add_turned("second-segment", exif(tiff("II", 3, 6, tag=0x0110)) + exif(six))
    add_turned("segment-behind-the-pixels", behind=exif(six))
    add_turned("xmp-attribute", xmp(attribute))
    add_turned("xmp-element", xmp(element))
    add_turned("xmp-behind-the-pixels", behind=xmp(attribute))
    add_turned("last-xmp", xmp(attribute) + xmp(element))
    add_turned("exif-not-xmp", exif(three) + xmp(attribute))
    add_turned("xmp-beside-exif", exif(tiff("II", 3, 6, tag=0x0110)) + xmp(attribute))

    image = picture(12, 9)
    content = BytesIO()
    image.save(content, "PNG")
    content = content.getvalue()
    digits = (b"Exif\0\0" + six).hex()
    raw = f"\nexif\n{len(digits) // 2:8}\n{digits[:72]}\n{digits[72:]}\n".encode()
    chunks = {
        "exif": (b"eXIf", tiff("MM", 4, 6)),
        "exif-prefix": (b"eXIf", b"Exif\0\0" + three),
        "raw-text": (b"tEXt", b"Raw profile type exif\0" + raw),
        "raw-compressed": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        "raw-international": (b"iTXt", b"Raw profile type exif\0\0\0\0\0" + raw),
        "raw-other": (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw)),
        "xmp": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + element),
        "xmp-compressed": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(attribute)),
        "malformed-text": (b"tEXt", b"no separator"),
    }
    for name, chunk in chunks.items():
        for place, at in (("before", 33), ("behind", len(content) - 12)):
            turned = content[:at] + png_chunk(*chunk) + content[at:]
            shown = ImageOps.exif_transpose(pillow(turned))
            add(f"png/turned-by-{name}-{place}.png", turned, shown)

    for name, options in [
        ("exif", {"exif": tiff("MM", 4, 6)}),
        ("exif-prefix", {"exif": b"Exif\0\0" + six}),
        ("xmp", {"xmp": element}),
        ("exif-not-xmp", {"exif": three, "xmp": attribute}),
    ]:
        content = BytesIO()
        image.save(content, "WEBP", lossless=True, **options)
        content = content.getvalue()
        # The flags that announce metadata.
        for suffix, content in (("", content), ("-unannounced", changed(content, 20, b"\0"))):
            shown = ImageOps.exif_transpose(pillow(content))
            add(f"webp/turned-by-{name}{suffix}-lossless.webp", content, shown)


def rarities():
    """Quantisation, fill bytes, lacking tables and scans, and what is refused."""
    for quality in (1, 100):
        for factors in ("1x1", "2x2"):
            # Without -baseline a table at quality 1 has 16 bits.
            content = cjpeg(SAMPLE, "-sample", factors, quality=quality)
            add_jpeg(f"quality-{quality}-{factors}", content)
    whole = cjpeg(SAMPLE, "-sample", "2x2")
    separate = jpegtran(whole, *script(*SEPARATE))
    for name, content in [("whole", whole), ("separate", separate)]:
        filled = content
        for marker in (0xDB, 0xC0, 0xC4, 0xDA):
            filled = filled.replace(bytes([0xFF, marker]), bytes([0xFF] * 4 + [marker]))
        filled = filled[:-2] + b"\xff\xff\xff\xd9"
        add_jpeg(f"filled-{name}", filled)
        add_jpeg(f"after-the-end-{name}", content + b"\xff\xd8\xff trailing bytes")
        comments = segment(0xFE, b"\xff\xd9 \xff\xda") + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(99))
        add_jpeg(f"comments-{name}", content[:20] + comments + content[20:])

        add_jpeg(f"zeros-before-the-end-{name}", content[:-2] + bytes(50) + content[-2:])

    # The frames of a Motion JPEG rely on the standard tables.
    for name, content in [("colours", whole), ("grey", cjpeg(SAMPLE, "-grayscale"))]:
        while 0xC4 in segments(content):
            content = without(content, 0xC4)
        add_jpeg(f"standard-tables-{name}", content)
    # Where all pixels are equal, smoothing by libjpeg changes nothing.
    plain = cjpeg(Image.new("RGB", (33, 29), (200, 90, 40)))
    add_jpeg("progressive-first-scan", jpegtran(plain, *script("0 1 2: 0-0, 0, 0")))

    frame = segments(whole)[0xC0]
    add_jpeg("12-bits", changed(whole, frame, b"\xff\xc1\0\x11\x0c"), "12 bits per sample")
    add_jpeg("no-rows", changed(whole, frame + 5, b"\0\0"), "(DNL)")
    add_jpeg("lossless", changed(whole, frame, b"\xff\xc3"), "lossless coding")
    add_jpeg("hierarchical", changed(whole, frame, b"\xff\xc5"), "hierarchical coding")
    add_jpeg("arithmetic", cjpeg(SAMPLE, "-arithmetic"), "arithmetic coding")
    add_jpeg(
        "arithmetic-progressive", cjpeg(SAMPLE, "-arithmetic", "-progressive"), "arithmetic coding"
    )
    add_jpeg("extended-sequential", changed(whole, frame, b"\xff\xc1"))
    # The third component goes: from the frame header, with its scan, or only the scan.
    third = separate.rindex(b"\xff\xda")
    short = separate[:third] + b"\xff\xd9"
    add_jpeg("no-third-scan", short, "no scan has its component 3")
    at = segments(short)[0xC0]
    two = short[: at + 2] + b"\0\x0e" + short[at + 4 : at + 9] + b"\2" + short[at + 10 : at + 16]
    add_jpeg("two-components", two + short[at + 19 :], "2 components")
    # For measuring memory.
    large = Image.new("RGB", (1000, 800), (200, 90, 40))
    add_jpeg("large", cjpeg(large, "-sample", "1x1"))
    add_jpeg("large-progressive", cjpeg(large, "-sample", "1x1", "-progressive"))
    add_jpeg("no-end", whole[:-2], "it is truncated")
    add_jpeg("tables-only", whole[:frame] + b"\xff\xd9", "it has no frame header")


# PNG


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour_type, depth, rows, chunks=(), interlaced=False):
    """From rows of pixels, each a tuple of samples."""
    width, height = len(rows[0]), len(rows)

    def filtered(rows):
        data = b""
        for row in rows:
            bits = "".join(format(sample, f"0{depth}b") for pixel in row for sample in pixel)
            bits += "0" * (-len(bits) % 8)
            data += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        return data

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = passes + [(0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x, y, dx, dy in passes:
        part = [row[x::dx] for row in rows[y::dy]]
        data += filtered([row for row in part if row])
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(png_chunk(*chunk) for chunk in chunks)
        + png_chunk(b"IDAT", zlib.compress(data, 9))
        + png_chunk(b"IEND", b"")
    )


def seen(pixels, size):
    """An image from RGBA pixels, components 0 to 1."""
    image = Image.new("RGBA", size)
    image.putdata([tuple(int(value * 255 + 0.5) for value in pixel) for pixel in pixels])
    return image


def pngs():
    """Every colour type and depth, straight and interlaced, with and without a clear colour."""
    width, height = 13, 11
    for colour_type, depths in [(0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))]:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
        for depth in depths:
            top = 2**depth - 1
            entries = min(top + 1, 40)
            rows = [
                [
                    tuple(
                        (x * (7 + c) * 977 + y * (3 + c) * 1409 + c * 5000) % (entries if colour_type == 3 else top + 1)
                        for c in range(channels)
                    )
                    for x in range(width)
                ]
                for y in range(height)
            ]
            palette = [((i * 47) % 256, (i * 91 + 30) % 256, (255 - i * 6) % 256) for i in range(entries)]
            clear = rows[3][4]
            alphas = bytes((i * 37) % 256 for i in range(entries // 2))
            for trns in (False, True) if colour_type in (0, 2, 3) else (False,):
                chunks = []
                if colour_type == 3:
                    chunks.append((b"PLTE", bytes(sum(palette, ()))))
                if trns and colour_type == 3:
                    chunks.append((b"tRNS", alphas))
                elif trns:
                    chunks.append((b"tRNS", b"".join(struct.pack(">H", s) for s in clear)))
                pixels = []
                for pixel in sum(rows, []):
                    alpha = 0 if trns and colour_type != 3 and pixel == clear else 1
                    values = [sample / top for sample in pixel]
                    if colour_type == 3:
                        (index,) = pixel
                        alpha = alphas[index] / 255 if trns and index < len(alphas) else 1
                        values = [value / 255 for value in palette[index]]
                    if colour_type in (4, 6):
                        *values, alpha = values
                    pixels.append((*(values * 3 if len(values) == 1 else values), alpha))
                image = seen(pixels, (width, height))
                for interlaced in (False, True):
                    name = f"{colour_type}-{depth}" + "-clear" * trns + "-interlaced" * interlaced
                    content = png(colour_type, depth, rows, chunks, interlaced)
                    add(f"png/{name}.png", content, image)
                    # Pillow has no RGB of 16 bits, and scales no clear grey of fewer than 8.
                    if depth == 8 or depth < 8 and not (trns and colour_type == 0):
                        theirs = over_white(pillow(content)).tobytes()
                        assert theirs == over_white(image).tobytes(), name

    frames = [picture(20, 14), picture(20, 14).rotate(180)]
    content = BytesIO()
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    add("png/animated.png", content.getvalue(), frames[0])
    odd = png(3, 1, [[(0,), (1,)]], [(b"PLTE", bytes(4))])
    add("png/odd-palette.png", odd, "its palette has 4 bytes")
    # Check sums, and ends that are missing.
    content = BytesIO()
    SAMPLE.save(content, "PNG")
    content = content.getvalue()
    end = content.index(b"IEND") - 4
    for name, damaged in [
        ("sum-of-pixels", changed(content, end - 4, b"sums")),
        ("sum-of-end", content[:-4] + b"sums"),
        ("cut-end", content[:-6]),
        ("cut-before-end", content[:end]),
        ("cut-sum", content[: end - 2]),
        ("cut-sum-of-stream", content[: end - 7]),
    ]:
        add(f"png/{name}.png", damaged, pillow(damaged))
    interlaced = png(2, 8, [[SAMPLE.getpixel((x, y)) for x in range(33)] for y in range(29)], interlaced=True)
    add("png/cut-interlaced.png", interlaced[:-16], SAMPLE)
    add("png/cut-pixels.png", content[: end - 40], "damaged PNG image")
    add("png/sum-of-header.png", changed(content, 29, b"sums"), "CRC error")
    stored = zlib.compress(b"".join(b"\0" + bytes(range(12)) for _ in range(4)), 0)
    for name, data in [("changed", changed(stored, 20, b"new")), ("sum-of-stream", stored[:-4] + b"sums")]:
        start = png(2, 8, [[(0, 0, 0)] * 4] * 4)[:33]
        chunk = png_chunk(b"IDAT", data)[:-4] + b"sums"
        add(f"png/{name}-pixels.png", start + chunk + png_chunk(b"IEND", b""), "damaged PNG image")
    exif = Image.Exif()
    exif[0x0112] = 6
    content = BytesIO()
    frames[0].save(content, "PNG", exif=exif)
    add("png/turned.png", content.getvalue(), ImageOps.exif_transpose(pillow(content.getvalue())))


# GIF


def gifs():
    def save(image, **options):
        content = BytesIO()
        image.save(content, "GIF", **options)
        return content.getvalue()

    def add_gif(name, content, image=None):
        add(f"gif/{name}.gif", content, image or pillow(content).convert("RGBA"))

    def on_white(size, corner):
        """What browsers show; Pillow fills a canvas with the background colour."""
        canvas = Image.new("RGB", size, "white")
        canvas.paste(image.convert("RGB"), corner)
        return canvas

    image = picture(21, 17).quantize(32)
    for interlaced in (0, 1):
        content = save(image, interlace=interlaced)
        suffix = "-interlaced" * interlaced
        add_gif("whole" + suffix, content)
        add_gif("clear" + suffix, save(image, interlace=interlaced, transparency=image.getpixel((5, 5))))
        # The image descriptor: left, top, width, height; the canvas: width, height.
        descriptor = content.index(b"\x2c\0\0\0\0")
        shifted = changed(content, descriptor + 1, struct.pack("<HH", 4, 9))
        for name, source, canvas, shown in [
            ("offset", shifted, (40, 30), on_white((40, 30), (4, 9))),
            ("high-canvas", content, (21, 30), on_white((21, 30), (0, 0))),
            ("small-canvas", content, (10, 5), on_white((21, 17), (0, 0))),
            ("partly-outside", shifted, (22, 18), on_white((25, 26), (4, 9))),
        ]:
            source = changed(source, 6, struct.pack("<HH", *canvas))
            assert pillow(source).size == shown.size
            add_gif(name + suffix, source, shown)
    # The palette moves from the screen to the frame.
    content = save(image)
    entries = 3 << (content[10] & 7) + 1
    descriptor = content.index(b"\x2c\0\0\0\0")
    local = bytearray(content[:13] + content[13 + entries : descriptor + 10] + content[13 : 13 + entries])
    local[descriptor - entries + 9] |= 0x80 | content[10] & 7
    local[10] &= 0x7F
    add_gif("local-palette", bytes(local) + content[descriptor + 10 :])
    # What may stand before and behind the frame.
    for name, extension in [("unknown", b"!\x42\3abc\2de\0"), ("comment", b"!\xfe\3abc\0")]:
        add_gif(f"{name}-extension", content[:descriptor] + extension + content[descriptor:])
    add_gif("no-trailer", content[:-1])
    add_gif("after-the-end", content + b"trailing bytes")
    empty = changed(content, descriptor + 5, bytes(4))
    add_gif("empty-frame", empty, "its first frame has no pixels")
    frames = [picture(21, 17), picture(21, 17).rotate(180)]
    add_gif("animated", save(frames[0], save_all=True, append_images=frames[1:], duration=100))


# BMP


def bmp(header, bits, rows, compression=0, masks=(), palette=b"", top_down=False, data=None):
    """From rows of pixel values, or from compressed `data`."""
    width, height = len(rows[0]), len(rows)
    if data is None:
        data = b""
        for row in rows if top_down else reversed(rows):
            line = "".join(format(value, f"0{bits}b") for value in row) if bits < 8 else ""
            line += "0" * (-len(line) % 8)
            raw = int(line, 2).to_bytes(len(line) // 8, "big") if line else b""
            if bits >= 8:
                raw = b"".join(value.to_bytes(bits // 8, "little") for value in row)
            data += raw + bytes(-len(raw) % 4)
    signed = -height if top_down else height
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        colours = len(palette) // 4
        info = struct.pack("<IiiHHIIiiII", header, width, signed, 1, bits, compression, len(data), 0, 0, colours, 0)
        info += b"".join(struct.pack("<I", mask) for mask in masks)
        info += bytes(max(0, header - len(info)))
    offset = 14 + len(info) + len(palette)
    return struct.pack("<2sIII", b"BM", offset + len(data), 0, offset) + info + palette + data


def bmps():
    width, height = 13, 11
    size = (width, height)

    def grid(value):
        return [[value(x, y) for x in range(width)] for y in range(height)]

    def shown(rows, colour):
        return seen([colour(value) for row in rows for value in row], size)

    colours = [((i * 47) % 256, (i * 91 + 30) % 256, (255 - i) % 256) for i in range(256)]
    for bits in (1, 4, 8):
        count = 2**bits
        rows = grid(lambda x, y: (x * 7 + y * 5) % count)
        image = shown(rows, lambda i: (*(c / 255 for c in colours[i]), 1))
        long = b"".join(bytes((b, g, r, 0)) for r, g, b in colours[:count])
        short = b"".join(bytes((b, g, r)) for r, g, b in colours[:count])
        add(f"bmp/{bits}-bits.bmp", bmp(40, bits, rows, palette=long), image)
        add(f"bmp/{bits}-bits-top-down.bmp", bmp(40, bits, rows, palette=long, top_down=True), image)
        add(f"bmp/{bits}-bits-os2.bmp", bmp(12, bits, rows, palette=short), image)
        add(f"bmp/{bits}-bits-v5.bmp", bmp(124, bits, rows, palette=long), image)
        add(f"bmp/{bits}-bits-os2-2.bmp", bmp(64, bits, rows, palette=long), image)
        if bits == 8:
            # Where the pixels begin, and more colours than needed.
            for header, palette in ((12, short), (40, long), (64, long)):
                content = bmp(header, bits, rows, palette=palette)
                for name, offset in (("0", 0), ("of-palette", 14 + header)):
                    moved = changed(content, 10, struct.pack("<I", offset))
                    add(f"bmp/8-bits-{header}-offset-{name}.bmp", moved, image)
            large = bmp(40, bits, rows, palette=long + bytes(4 * 44))
            add("bmp/8-bits-300-colours.bmp", large, image)

        # Run lengths: runs, a literal run, and rows that end early or are skipped. What is skipped
        # is black in Windows, and in Pillow the first colour: here both.
        if bits == 1:
            continue
        long = bytes(4) + long[4:]
        rows = grid(lambda x, y: 0 if y == 4 or x > 9 else 3 if x < 6 else (x + y) % count)
        data = b""
        for row in reversed(rows):
            if not any(row):
                data += b"\0\0"
                continue
            run, literal = row[:6], row[6:10]
            if bits == 8:
                data += bytes((6, run[0], 0, 4, *literal, 0, 0))
            else:
                a, b, c, d = literal
                data += bytes((6, run[0] * 17, 0, 4, a * 16 + b, c * 16 + d, 0, 0))
        image = shown(rows, lambda i: (*(c / 255 for c in (colours[i] if i else (0, 0, 0))), 1))
        content = bmp(40, bits, rows, compression={8: 1, 4: 2}[bits], palette=long, data=data + b"\0\1")
        add(f"bmp/{bits}-bits-rle.bmp", content, image)
        add(f"bmp/{bits}-bits-rle-cut.bmp", content[:-20], "its run lengths are truncated")

        # Runs and indices that go beyond the end of their row, where they end; a skip into the next
        # row; no end of the image.
        for top_down in (False, True):
            rows = grid(lambda x, y: 1 if x < 5 else 2)
            stored = rows if top_down else rows[::-1]
            stored[4][:] = [0] * width
            stored[5][:2] = [0, 0]
            data = b""
            for y, row in enumerate(stored):
                if y == 4:
                    data += b"\0\2\2\1"
                    continue
                data += bytes((row.count(1), 1 if bits == 8 else 0x11))
                if y % 2:
                    data += bytes((0, 12, *((2,) * 12 if bits == 8 else (0x22,) * 6)))
                else:
                    data += bytes((20, 2 if bits == 8 else 0x22))
                data += b"\0\0" if y + 1 < height else b""
            image = shown(rows, lambda i: (*(c / 255 for c in (colours[i] if i else (0, 0, 0))), 1))
            content = bmp(40, bits, rows, {8: 1, 4: 2}[bits], palette=long, top_down=top_down, data=data)
            add(f"bmp/{bits}-bits-rle-long{'-top-down' * top_down}.bmp", content, image)

    rows = grid(lambda x, y: (x * 19 % 256) << 16 | (y * 23 % 256) << 8 | (x * y) % 256)
    image = shown(rows, lambda v: ((v >> 16 & 255) / 255, (v >> 8 & 255) / 255, (v & 255) / 255, 1))
    add("bmp/24-bits.bmp", bmp(40, 24, rows), image)
    add("bmp/24-bits-os2.bmp", bmp(12, 24, rows), image)
    add("bmp/24-bits-top-down.bmp", bmp(40, 24, rows, top_down=True), image)
    for planes in (0, 3):
        for header, at in ((12, 22), (40, 26), (64, 26)):
            content = changed(bmp(header, 24, rows), at, struct.pack("<H", planes))
            add(f"bmp/24-bits-{header}-planes-{planes}.bmp", content, image)
    for header in (40, 108, 124):
        add(f"bmp/32-bits-{header}.bmp", bmp(header, 32, rows), image)
    add("bmp/24-bits-os2-2.bmp", bmp(64, 24, rows), image)
    add("bmp/24-bits-os2-2-cut.bmp", bmp(64, 24, rows)[:70], "damaged BMP image")
    add("bmp/24-bits-os2-2-rle.bmp", bmp(64, 24, rows, 4), "run lengths of 24 bits")
    add("bmp/1-bits-os2-2-huffman.bmp", bmp(64, 1, [[0]], 3, palette=bytes(8)), "Huffman coding")
    masks = (0xFF0000, 0xFF00, 0xFF)
    fields = bmp(40, 32, rows, 3, masks)
    add("bmp/32-bits-fields.bmp", fields, image)
    add("bmp/32-bits-fields-offset-0.bmp", changed(fields, 10, bytes(4)), image)
    moved = changed(fields, 10, struct.pack("<I", 54))
    add("bmp/32-bits-fields-offset-of-masks.bmp", moved, "its pixels begin at byte 54")
    # A header of 40 bytes has a mask of alpha behind it only with another compression.
    for header, fields in ((40, 6), (56, 3), (56, 6), (108, 3), (108, 6), (124, 3)):
        kind = f"{header}-alpha-fields" if fields == 6 else f"{header}"
        no_mask = bmp(header, 32, rows, fields, (*masks, 0))
        no_alpha = bmp(header, 32, rows, fields, (*masks, 0xFF000000))
        add(f"bmp/32-bits-{kind}-no-alpha-mask.bmp", no_mask, image)
        add(f"bmp/32-bits-{kind}-alpha-zero.bmp", no_alpha, image)
        clear = [[(40 * (x % 7)) << 24 | value for x, value in enumerate(row)] for row in rows]
        parts = lambda v: tuple((v >> shift & 255) / 255 for shift in (16, 8, 0, 24))
        content = bmp(header, 32, clear, fields, (*masks, 0xFF000000))
        add(f"bmp/32-bits-{kind}-alpha.bmp", content, shown(clear, parts))
    swapped = [[(v & 0xFF) << 24 | (v & 0xFF00) << 8 | v >> 8 & 0xFF00 for v in row] for row in rows]
    content = bmp(56, 32, swapped, 3, (0xFF00, 0xFF0000, 0xFF000000, 0))
    add("bmp/32-bits-other-order.bmp", content, image)
    for name, masks, shifts in [
        ("555", (0x7C00, 0x3E0, 0x1F), ((10, 31), (5, 31), (0, 31))),
        ("565", (0xF800, 0x7E0, 0x1F), ((11, 31), (5, 63), (0, 31))),
        ("444", (0xF00, 0xF0, 0xF), ((8, 15), (4, 15), (0, 15))),
    ]:
        top = sum(masks)
        rows = grid(lambda x, y: (x * 2801 + y * 1777) & top)
        image = shown(rows, lambda v: (*((v >> s & m) / m for s, m in shifts), 1))
        add(f"bmp/16-bits-fields-{name}.bmp", bmp(40, 16, rows, 3, masks), image)
        if name == "555":
            add("bmp/16-bits.bmp", bmp(40, 16, rows), image)
    rows = grid(lambda x, y: (x * 5801 + y * 3777) % 2**16)
    parts = lambda v: (*((v >> s & 31) / 31 for s in (10, 5, 0)), v >> 15)
    content = bmp(108, 16, rows, 3, (0x7C00, 0x3E0, 0x1F, 0x8000))
    add("bmp/16-bits-fields-1555.bmp", content, shown(rows, parts))
    jpeg = bmp(40, 0, rows, 4, data=cjpeg(SAMPLE))
    add("bmp/jpeg.bmp", jpeg, "JPEG compression")


# WebP


def webps():
    image = picture(29, 23)
    clear = image.convert("RGBA")
    clear.putdata([(r, g, b, (r + 3 * g) % 256) for r, g, b, _ in clear.getdata()])
    frames = [clear, clear.rotate(180)]
    for name, source, options in [
        ("lossy", image, {"quality": 80}),
        ("lossless", image, {"lossless": True}),
        ("lossy-alpha", clear, {"quality": 80, "alpha_quality": 50}),
        ("lossless-alpha", clear, {"lossless": True, "exact": True}),
        ("animated-lossy", image, {"save_all": True, "append_images": [image.rotate(90)]}),
        ("animated-lossless", clear, {"save_all": True, "append_images": frames[1:], "lossless": True}),
        ("odd", picture(1, 17), {"quality": 80}),
        ("even", picture(16, 2), {"quality": 80}),
        ("few-colours", image.quantize(6).convert("RGB"), {"lossless": True}),
    ]:
        content = BytesIO()
        source.save(content, "WEBP", **options)
        content = content.getvalue()
        add(f"webp/{name}.webp", content, pillow(content).convert("RGBA"))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = BytesIO()
    image.save(content, "WEBP", lossless=True, exif=exif)
    content = content.getvalue()
    add("webp/turned.webp", content, ImageOps.exif_transpose(image_with(image, exif)))
    unknown = content + b"ABCD\4\0\0\0abcd"
    unknown = changed(unknown, 4, struct.pack("<I", len(unknown) - 8))
    add("webp/unknown-lossless.webp", unknown, ImageOps.exif_transpose(pillow(unknown)))


def large_images():
    """For measuring memory: they compress to little, whatever they take."""
    size = (1000, 800)
    image = Image.new("RGB", size, (200, 90, 40))
    clear = Image.new("RGBA", size, (200, 90, 40, 128))
    other = Image.new("RGBA", size, (20, 90, 40, 200))
    animated = {"save_all": True, "append_images": [other]}
    for name, source, options in [
        ("webp/large-lossy.webp", image, {}),
        ("webp/large-lossy-alpha.webp", clear, {}),
        ("webp/large-lossless-alpha.webp", clear, {"lossless": True, "exact": True}),
        ("webp/large-animated-lossy.webp", clear, animated),
        ("webp/large-animated-lossless.webp", clear, {"lossless": True, **animated}),
        ("gif/large.gif", image.quantize(4), {"save_all": True, "append_images": [other.quantize(4)]}),
        ("png/large-alpha.png", clear, {}),
    ]:
        content = BytesIO()
        source.save(content, name.rsplit(".")[-1], **options)
        content = content.getvalue()
        add(name, content, pillow(content).convert("RGBA"))
    rows = [[(0,)] * size[0]] * size[1]
    palette = [(b"PLTE", bytes((200, 90, 40)))]
    for name, interlaced in [("large-interlaced", True), ("large-palette", False)]:
        add(f"png/{name}.png", png(3, 1, rows, palette, interlaced), image)
    # Every run has at most 255 pixels.
    row = b"\xff\0" * 3 + b"\xeb\0" + b"\0\0"
    colours = bytes((40, 90, 200, 0))
    pixels = [[0] * size[0]] * size[1]
    runs = bmp(40, 8, pixels, 1, palette=colours, data=row * size[1] + b"\0\1")
    add("bmp/large-runs.bmp", runs, image)


def image_with(image, exif):
    image = image.copy()
    image.getexif()[0x0112] = exif[0x0112]
    return image


shutil.rmtree(CORPUS, ignore_errors=True)
every_sampling()
more_samplings()
scan_orders()
extents()
colours()
inks()
orientations()
metadata()
rarities()
pngs()
gifs()
bmps()
webps()
large_images()
(CORPUS / "list.tsv").write_text("".join(line + "\n" for line in sorted(LINES)))
