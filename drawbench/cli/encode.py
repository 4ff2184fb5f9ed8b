"""``drawbench encode``: the embeddings of a prompt set's texts, computed once and kept for sampling and training."""

from __future__ import annotations

from collections.abc import Sequence

import click

from drawbench.cli.options import device_option, load_prompts, resolve_device


@click.command(short_help="Compute text embeddings once.")
@click.option(
    "--encoder",
    "name",
    required=True,
    metavar="NAME|FOLDER",
    help="T5, BERT or CLIP: a name on the model hub (google/t5-v1_1-xxl) or a folder as transformers saves one.",
)
@click.option(
    "--prompts",
    "prompt_specs",
    multiple=True,
    required=True,
    metavar="SET|FILE|SET=FILE",
    help="Whose texts: drawbench; a CSV, TSV, JSONL or text file of your own. May be repeated.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Of weights and embeddings.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=4),
    help="Longer texts are cut, and counted (default: 256; CLIP and BERT have limits of their own).",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Texts encoded at once, at most."
)
@device_option
def encode(
    name: str, prompt_specs: Sequence[str], dtype: str, max_tokens: int | None, batch_size: int, device: str
) -> None:
    """Encode texts once, and keep the embeddings in $DRAWBENCH_CACHE/features/text: sampling and training then need no
    text encoder. Texts that are there already are not encoded again; after a stop the same command goes on.

    \b
    Example:
      drawbench encode --encoder google/t5-v1_1-xxl --prompts drawbench
      drawbench encode --encoder models/t5 --dtype fp32 --prompts captions.csv --prompts drawbench=drawbench.csv
    """
    from drawbench.generators.imagen.text_cache import TextEmbeddings
    from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
    from drawbench.progress import progress

    prompts = [prompt for spec in prompt_specs for prompt in load_prompts(spec).prompts]
    texts = list(dict.fromkeys(prompt.text for prompt in prompts))
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    config = TextEncoderConfig(name, "fp32" if dtype == "fp32" else "bf16", **limit)
    encoder = TextEncoder(config, device=resolve_device(device), batch_size=batch_size)
    embeddings = TextEmbeddings(encoder)
    there, made = len(texts) - len(embeddings.missing(texts)), 0
    if there < len(texts):
        with progress(len(texts), unit="text", label=f"encode {name}", done=there) as bar:
            made = embeddings.add(texts, bar.update)
    cut = set(embeddings.cut(texts))
    click.echo(
        f"{len(texts)} texts: {made} encoded, {len(texts) - made} were there, {len(cut)} cut at {encoder.limit} tokens; "
        f"{embeddings.size() / 1e6:.1f} MB in {embeddings.folder}"
    )
    if cut:
        ids = list(dict.fromkeys(prompt.id for prompt in prompts if prompt.text in cut))
        named = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
        click.echo(f"note: the encoder did not see the end of {len(cut)} texts: {named}", err=True)
