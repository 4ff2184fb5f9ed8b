"""Small runs of the shapes world to make studies of: systems whose truth is known."""

from drawbench.generators.shapes_truth import shapes_truth
from drawbench.prompts import select
from drawbench.runner import generate
from drawbench.shapes.prompts import shapes
from drawbench.store import Manifest, Plan, Run, System


def make_run(path, name, wrong_rate=0.0, limit="22", samples=2):
    """A run of the truth, or of what is wrong at a given rate."""
    prompts = shapes()
    generator = shapes_truth(wrong_rate=wrong_rate)
    manifest = Manifest(
        system=System(name, "shapes_truth", {"wrong_rate": str(wrong_rate)}, generator.fingerprint()),
        prompt_set="shapes",
        prompt_set_sha256=prompts.sha256,
        prompt_count=len(prompts.prompts),
        seed=0,
        dtype="of the generator",
        plan=Plan(tuple(prompt.id for prompt in select(prompts, limit)), samples),
        batch_size=8,
        created="2026-01-01T00:00:00+00:00",
    )
    run = Run.start(path, manifest, prompts)
    generate(run, generator, run.items(), batch_size=8, device="cpu")
    return run
