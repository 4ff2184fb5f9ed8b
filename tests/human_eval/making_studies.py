"""Small runs of the shapes world to make studies of: systems whose truth is known."""

from drawbench.generators.shapes_truth import shapes_truth
from drawbench.prompts import select
from drawbench.runner import generate
from drawbench.shapes.prompts import shapes
from drawbench.store import Manifest, Plan, Run, System


def make_run(path, name, wrong_rate=0.0, limit="22", samples=2, seed=0):
    """A run of the truth, or of what is wrong at a given rate."""
    ids = [prompt.id for prompt in select(shapes(), limit)]
    options = {"wrong_rate": str(wrong_rate)}
    return run_of(path, name, shapes_truth(wrong_rate=wrong_rate), ids, samples, seed, options)


def run_of(path, name, generator, prompt_ids, samples=1, seed=0, options=None):
    """A run of some prompts by a generator."""
    prompts = shapes()
    manifest = Manifest(
        system=System(name, "shapes_truth", options or {}, generator.fingerprint()),
        prompt_set="shapes",
        prompt_set_sha256=prompts.sha256,
        prompt_count=len(prompts.prompts),
        seed=seed,
        dtype="of the generator",
        plan=Plan(tuple(prompt_ids), samples),
        batch_size=8,
        created="2026-01-01T00:00:00+00:00",
    )
    run = Run.start(path, manifest, prompts)
    generate(run, generator, run.items(), batch_size=8, device="cpu")
    return run
