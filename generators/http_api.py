"""A model behind an HTTP API, as a system: what is asked, and what an answer means."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from drawbench.errors import UserError
from drawbench.generators.http_answers import decode, read_answer
from drawbench.generators.http_calls import Caller, Trouble, retry_after
from drawbench.generators.http_secrets import check_url, names_secret, read_key, shown
from drawbench.images import Imported
from drawbench.interfaces import Drawn, Failed, Item, Refused
from drawbench.settings import Aside

INTERRUPTED = "interrupted: what was answered is kept, and the same command goes on"


def http(
    *,
    url: str,
    style: Literal["openai", "plain"] = "openai",
    model: str | None = None,
    size: str | None = None,
    extra: str = "",
    response_format: Literal["unsent", "b64_json", "url"] = "unsent",
    seed_field: str | None = "auto",
    seed_bits: int = 31,
    prompt_field: str = "prompt",
    image_field: str = "image",
    key_env: Annotated[str, Aside] = "",
    key_header: Annotated[str, Aside] = "Authorization",
    concurrency: Annotated[int, Aside] = 4,
    per_minute: Annotated[float | None, Aside] = None,
    timeout: Annotated[float, Aside] = 180.0,
    retries: Annotated[int, Aside] = 4,
    back_off: Annotated[float, Aside] = 2.0,
    cost: Annotated[float | None, Aside] = None,
) -> HttpApi:
    """Asks an HTTP API for each image.

    style=openai posts {model, prompt, n, size} to URL/images/generations and reads base64 or an address from the answer.
    style=plain posts {prompt, seed} to URL and reads an image, or JSON whose image_field (dots lead inwards: images.0)
    holds base64 or an address; {"refused": reason} is a refusal. extra is JSON that is merged into the body.

    The key is read from the environment variable that key_env names, and is sent as a bearer, or bare under another
    key_header. seed_field names the body's field for the image's seed, of which the low seed_bits are sent; auto is `seed`
    in the plain style and none in the OpenAI style, whose API has no seed. concurrency is how many requests are under way
    at once, at most the batch size; per_minute limits how many are sent: both hold for each process, so that with
    --processes 4, or four shards, four times as many go out. timeout and back_off are seconds. cost is what
    one image costs, for the journal; what the answer says goes before it.
    """
    _check(url, size, seed_bits, concurrency, per_minute, timeout, retries, back_off, cost)
    key = read_key(key_env, key_header)
    if any(key.stands_in(text or "") for text in (url, model, size, extra, seed_field, prompt_field, image_field)):
        raise UserError("the key stands in an option that goes on record; leave it to the variable of http.key_env")
    if seed_field == "auto":
        seed_field = "seed" if style == "plain" else None
    body: dict[str, Any] = {"model": model, "size": size}
    if style == "openai":
        body |= {"n": 1, "response_format": None if response_format == "unsent" else response_format}
    elif response_format != "unsent":
        raise UserError("http.response_format is of style=openai; put fields of a plain API into http.extra")
    body = {name: value for name, value in body.items() if value is not None}
    body |= _extra(extra, {prompt_field, seed_field, "n" if style == "openai" else None})
    caller = Caller(key, timeout=timeout, retries=retries, back_off=back_off, per_minute=per_minute)
    if style == "openai":
        return HttpApi(caller, _generations(url), body, prompt_field, None, seed_field, seed_bits, concurrency, cost)
    return HttpApi(caller, url, body, prompt_field, image_field, seed_field, seed_bits, concurrency, cost)


class HttpApi:
    """Asks for the images of a batch at once; what fails is one image, and its batch-mates are kept."""

    pads = False

    def __init__(
        self,
        caller: Caller,
        url: str,
        body: Mapping[str, Any],
        prompt_field: str,
        image_field: str | None,
        seed_field: str | None,
        seed_bits: int,
        concurrency: int,
        cost: float | None,
    ) -> None:
        self.caller, self.url, self.body = caller, url, body
        self.prompt_field, self.seed_field, self.seed_bits = prompt_field, seed_field, seed_bits
        self.image_field = image_field
        """None: the answer is OpenAI's."""
        self.concurrency, self.cost = concurrency, cost
        self.costs: list[float] = []

    def fingerprint(self) -> Mapping[str, str]:
        """What can be known from outside: nothing of the weights, and whether a seed is sent."""
        seed = (
            f"sent as {self.seed_field!r}, {self.seed_bits} bits" if self.seed_field else "not sent: not reproducible"
        )
        return {"weights": "unknown, behind an API", "seed": seed}

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused | Failed]:
        pool = ThreadPoolExecutor(min(self.concurrency, max(1, len(items))), thread_name_prefix="http")
        jobs = [pool.submit(self._result, item) for item in items]
        try:
            wait(jobs)
        except BaseException as error:
            self.caller.end(INTERRUPTED)
            if not isinstance(error, KeyboardInterrupt):
                raise  # Else: what is under way is paid, and is waited for; interrupted again, not any more.
        finally:
            pool.shutdown(cancel_futures=True)
        results = [Failed(INTERRUPTED, ends_run=True) if job.cancelled() else job.result() for job in jobs]
        self.costs += [float(r.facts["cost"]) for r in results if isinstance(r, Drawn) and "cost" in r.facts]
        return results

    def remarks(self, items: Sequence[Item]) -> list[str]:
        """Says what was asked for and paid, and whether it could be had again."""
        if not self.caller.requests:
            return []
        spent = f"; {len(self.costs)} images cost {sum(self.costs):g}" if self.costs else ""
        told = [f"{self.caller.requests} requests to {shown(self.url)}{spent}"]
        if self.seed_field is None:
            told.append("no seed was sent: these images cannot be drawn again (http.seed_field, where the API has one)")
        return told

    def _result(self, item: Item) -> Drawn | Refused | Failed:
        key = self.caller.key
        try:
            result = self.caller.persist(item.seed, lambda attempt: self._ask(item, attempt))
        except Trouble as trouble:
            if trouble.ends_run:
                self.caller.end(trouble.reason)
            return Failed(key.redact(trouble.reason), trouble.ends_run)
        except Exception as error:  # noqa: BLE001  raised, it would cost the batch-mates that are paid
            return Failed(key.line(f"{type(error).__name__}: {error}"))
        if isinstance(result, Refused):
            return Refused(key.line(result.reason))
        facts = {key.redact(name): value for name, value in result.facts.items()}
        return result._replace(prompt_used=result.prompt_used and key.redact(result.prompt_used), facts=facts)

    def _ask(self, item: Item, attempt: int) -> Drawn | Refused:
        body = {**self.body, self.prompt_field: item.prompt.text}
        facts: dict[str, str | int | float] = {} if attempt == 1 else {"tries": attempt}
        if self.seed_field:
            body[self.seed_field] = facts["seed_sent"] = item.seed % 2**self.seed_bits
        told = read_answer(self.caller.post(self.url, body), self.image_field, self.caller.key, self.url)
        if isinstance(told, Refused):
            return told
        image, source = decode(told.image) if told.image is not None else self._fetched(str(told.address), item.seed)
        if self.cost is not None:
            facts["cost"] = self.cost
        text = told.prompt_used if told.prompt_used != item.prompt.text else None
        return Drawn(image, text, facts={**source, **facts, **told.numbers})

    def _fetched(self, address: str, seed: int) -> Imported:
        """Fetches an image that is paid: however often it must be tried, it is not asked for again."""

        def fetch(_: int) -> Imported:
            answer = self.caller.get(address, key_for=self.url)
            if answer.status != 200:
                again = answer.status in (404, 408, 425, 429) or answer.status >= 500  # 404: a store may lag behind.
                raise Trouble(f"HTTP {answer.status}", again=again, wait=retry_after(answer))
            return decode(answer.body)

        try:
            return self.caller.persist(seed, fetch)
        except Trouble as trouble:
            raise Trouble(f"the image could not be fetched from {shown(address)}: {trouble.reason}") from None


def _check(
    url: str,
    size: str | None,
    seed_bits: int,
    concurrency: int,
    per_minute: float | None,
    timeout: float,
    retries: int,
    back_off: float,
    cost: float | None,
) -> None:
    check_url("http.url", url)
    if "#" in url:
        raise UserError("http.url has a # in it, and what follows is never sent; leave it out")
    if size is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}|auto", size):
        raise UserError(f"http.size={size}: allowed are WIDTHxHEIGHT (1024x1024) and auto")
    for name, value, low, high in (
        ("seed_bits", seed_bits, 1, 63),
        ("concurrency", concurrency, 1, 256),
        ("per_minute", per_minute, 0.001, math.inf),
        ("timeout", timeout, 0.001, 86400),
        ("retries", retries, 0, 100),
        ("back_off", back_off, 0, 3600),
        ("cost", cost, 0, 1e9),
    ):
        if value is not None and not low <= value <= high:
            upper = f" to {high:g}" if high < math.inf else " or more"
            raise UserError(f"http.{name}={value:g}: allowed is {low:g}{upper}")


def _extra(text: str, taken: set[str | None]) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise UserError(f'http.extra is not JSON ({error}); write {{"quality": "low"}}') from error
    if not isinstance(found, dict):
        raise UserError('http.extra must be a JSON object, such as {"quality": "low"}')
    for name in found:
        if name in taken:
            raise UserError(f"http.extra holds {name!r}, which is set for each request; leave it out")
        if names_secret(name):
            raise UserError(f"http.extra holds {name!r}, and options go on record; give a key by http.key_env")
    return found


def _generations(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/images/generations") + "/images/generations"
    return urlunsplit(parts._replace(path=path))
