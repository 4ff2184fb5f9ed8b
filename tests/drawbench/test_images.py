import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from drawbench.errors import UserError
from drawbench.images import decode_rgb, encode_png, read_foreign


@pytest.fixture
def picture():
    ramp = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(ramp)


def test_png_gives_back_the_pixels_and_carries_nothing_else(picture):
    picture.info["comment"] = "who made this"
    data = encode_png(picture)
    assert data == encode_png(picture)
    assert b"who made this" not in data
    assert np.array_equal(decode_rgb(data), np.asarray(picture).transpose(2, 0, 1))


def test_only_rgb_becomes_an_image_of_a_run(picture):
    with pytest.raises(ValueError, match="mode 'RGBA'; allowed is 'RGB'"):
        encode_png(picture.convert("RGBA"))


@pytest.mark.parametrize(("suffix", "codec"), [("png", "PNG"), ("webp", "WEBP"), ("bmp", "BMP"), ("tiff", "TIFF")])
def test_lossless_files_keep_their_pixels(picture, tmp_path, suffix, codec):
    file = tmp_path / f"a.{suffix}"
    picture.save(file, **({"lossless": True} if suffix == "webp" else {}))
    image, facts = read_foreign(file)
    assert np.array_equal(image, picture)
    assert (facts["source_codec"], facts["source_mode"]) == (codec, "RGB")
    assert len(str(facts["source_sha256"])) == 64


def test_a_jpeg_is_what_pillow_decodes_whatever_its_name_says(picture, tmp_path):
    file = tmp_path / "a.png"
    picture.save(file, "JPEG")
    image, facts = read_foreign(file)
    assert facts["source_codec"] == "JPEG"
    assert np.array_equal(image, Image.open(file))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes_become_rgb_and_say_so(picture, tmp_path, mode):
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.convert(mode).save(file)
    image, facts = read_foreign(file)
    assert (image.mode, facts["source_mode"]) == ("RGB", mode)
    assert np.array_equal(image, Image.open(file).convert("RGB"))


def test_opaque_alpha_is_dropped_and_real_transparency_refused(picture, tmp_path):
    rgba = picture.convert("RGBA")
    rgba.save(tmp_path / "opaque.png")
    assert np.array_equal(read_foreign(tmp_path / "opaque.png").image, picture)
    rgba.putpixel((0, 0), (9, 9, 9, 0))
    rgba.save(tmp_path / "hole.png")
    with pytest.raises(UserError, match="transparent in .* flatten it first"):
        read_foreign(tmp_path / "hole.png")
    picture.save(tmp_path / "key.png", transparency=picture.getpixel((0, 0)))
    with pytest.raises(UserError, match="transparent in"):
        read_foreign(tmp_path / "key.png")
    palette = Image.new("P", (4, 4))
    palette.save(tmp_path / "palette.png", transparency=0)
    with pytest.raises(UserError, match="transparent in 16 of its 16 pixels"):
        read_foreign(tmp_path / "palette.png")


def test_sixteen_bits_of_grey_keep_the_high_byte(tmp_path):
    wide = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    image, facts = read_foreign(tmp_path / "a.png")
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 255]
    assert facts["source_bits"] == 16


def test_sixteen_bits_of_rgb_are_noticed(tmp_path):
    """Pillow opens a 48-bit PNG as RGB without a word."""
    pixels = struct.pack(">3H", 0x0180, 0x8000, 0xFFFF)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + pixels))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "a.png").write_bytes(png)
    image, facts = read_foreign(tmp_path / "a.png")
    assert image.getpixel((0, 0)) == (1, 128, 255)
    assert facts["source_bits"] == 16


def test_floating_point_and_values_over_16_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(UserError, match="floating-point"):
        read_foreign(tmp_path / "f.tiff")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "i.tiff")
    with pytest.raises(UserError, match="values from 70000 to 70000"):
        read_foreign(tmp_path / "i.tiff")


def test_an_exif_orientation_is_applied_and_recorded(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to see it upright
    picture.save(tmp_path / "a.png", exif=exif)
    image, facts = read_foreign(tmp_path / "a.png")
    assert facts["exif_orientation"] == 6
    assert np.array_equal(image, np.rot90(np.asarray(picture), -1))


def test_an_animation_is_refused(picture, tmp_path):
    picture.save(tmp_path / "a.png", save_all=True, append_images=[picture.transpose(Image.Transpose.ROTATE_180)])
    with pytest.raises(UserError, match="has 2 frames"):
        read_foreign(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused(picture, tmp_path, kind, part):
    stream = io.BytesIO()
    picture.save(stream, kind)
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(stream.getvalue()[: int(len(stream.getvalue()) * part)])
    with pytest.raises(UserError, match="cannot be read as an image|is not an image|is empty"):
        read_foreign(file)


def test_something_else_under_an_images_name_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>Not found</html>")
    with pytest.raises(UserError, match=r"a\.jpg is not an image"):
        read_foreign(tmp_path / "a.jpg")
    (tmp_path / "b.png").touch()
    with pytest.raises(UserError, match=r"b\.png is empty"):
        read_foreign(tmp_path / "b.png")


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("1", (8193, 8192)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match=r"is 8193x8192; at most"):
        read_foreign(tmp_path / "a.png")
