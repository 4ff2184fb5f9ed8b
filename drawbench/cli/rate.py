"""``drawbench rate``: the rater app."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Open a study to its raters: a web app.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0: all of this machine's."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A host name that raters reach it by. May be repeated."
)
@click.option("--access-code", help="Whoever has this may take part, without a personal link.")
@click.option(
    "--https", is_flag=True, help="It stands behind a proxy that speaks https: cookies are sent over that only."
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="The address, or network, of a proxy on another machine: its X-Forwarded-For is believed, so that wrong codes are "
    "counted for each rater's own address. One on this machine (127.0.0.1) is believed as it is. May be repeated.",
)
def rate(
    path: Path,
    host: str,
    port: int,
    names: tuple[str, ...],
    access_code: str | None,
    https: bool,
    proxies: tuple[str, ...],
) -> None:
    """Serve a study to its raters. Each opens a personal link (drawbench study invite), or enters the access code.

    Everything is kept as it comes; stop it with Ctrl-C at any time, and the same command goes on. The administrator's
    page is at /admin; its secret lies in STUDY/admin_secret.txt.

    \b
    Example:
      drawbench study invite study --count 5
      drawbench rate study
    """
    from drawbench.human_eval.app.serve import serve
    from drawbench.human_eval.study import Study

    study = Study.open(path)
    click.echo(
        f"raters: http://{names[0] if names else host}:{port}/   administrator: /admin, secret in {path / 'admin_secret.txt'}"
    )
    serve(study, host=host, port=port, names=names, access_code=access_code, https=https, proxies=proxies)
