"""A generator in 20 lines: writes the prompt's quoted text on a card in a colour of the image's seed."""

import random

from PIL import Image, ImageDraw, ImageFont

from drawbench.interfaces import Drawn


class Poster:
    pads = False

    def fingerprint(self):
        return {"poster": "1"}

    def generate(self, items):
        return [Drawn(self.draw(item)) for item in items]

    def draw(self, item):
        bits = random.Random(item.seed)
        image = Image.new("RGB", (256, 256), tuple(bits.randrange(150, 256) for _ in range(3)))
        words = item.prompt.text.split('"')[1::2] or [""]
        ImageDraw.Draw(image).text((16, 100), words[0], "black", ImageFont.load_default(self.size))
        return image


def poster(*, size: int = 32):
    generator = Poster()
    generator.size = size
    return generator
