"""Eight captioned pictures, unlike each other, and a tiny T5 that reads bytes: what training is tried on."""

import csv

from PIL import Image, ImageDraw

from drawbench.torchvision_ops import declare_missing_ops

DARK, LIGHT = (40, 40, 40), (215, 215, 215)


def _disc(draw, colour):
    draw.ellipse((20, 20, 76, 76), fill=colour)


def _square(draw, colour):
    draw.rectangle((20, 20, 76, 76), fill=colour)


def _triangle(draw, colour):
    draw.polygon([(48, 14), (84, 82), (12, 82)], fill=colour)


def _cross(draw, colour):
    draw.rectangle((38, 8, 58, 88), fill=colour)
    draw.rectangle((8, 38, 88, 58), fill=colour)


def _dots(draw, colour):
    draw.ellipse((8, 30, 42, 64), fill=colour)
    draw.ellipse((54, 30, 88, 64), fill=colour)


def _stripes(draw, colour):
    for y in range(0, 96, 24):
        draw.rectangle((0, y, 96, y + 12), fill=colour)


PAGES = (
    ("a red disc", _disc, (200, 40, 40), DARK),
    ("a blue square", _square, (50, 60, 210), DARK),
    ("a green triangle", _triangle, (40, 180, 60), LIGHT),
    ("a yellow cross", _cross, (210, 200, 50), DARK),
    ("a purple disc on a light ground", _disc, (150, 50, 170), LIGHT),
    ("an orange square on a light ground", _square, (220, 130, 40), LIGHT),
    ("two grey dots", _dots, (150, 150, 150), DARK),
    ("blue stripes", _stripes, (40, 160, 205), DARK),
)


def picture(number, size=96):
    caption, shape, colour, ground = PAGES[number % len(PAGES)]
    image = Image.new("RGB", (96, 96), ground)
    shape(ImageDraw.Draw(image), colour)
    return image.resize((size, size), Image.Resampling.BICUBIC) if size != 96 else image, caption


def page(position, size):
    """The data function of tests: `--data picture_book.py:page`."""
    return picture(position * 5 % len(PAGES), size)


def print_book(folder, count=8):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "caption"])
        for number in range(count):
            image, caption = picture(number)
            image.save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", caption])
    return folder


def make_encoder(folder, dim=32):
    declare_missing_ops()
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.T5Config(
            vocab_size=384, d_model=dim, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
        transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder
