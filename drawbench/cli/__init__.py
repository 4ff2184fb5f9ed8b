"""The command line. Every command is a function first; importing this loads neither torch nor streamlit."""

from __future__ import annotations

import sys

import click

from drawbench import __version__
from drawbench.cli.compare import compare
from drawbench.cli.draw import generate, run
from drawbench.cli.encode import encode
from drawbench.cli.examine import doctor, list_, verify
from drawbench.cli.explain import explain_fid
from drawbench.cli.export import export
from drawbench.cli.fid_30k import fid_30k
from drawbench.cli.measure import report, score
from drawbench.cli.rate import rate
from drawbench.cli.reference import reference
from drawbench.cli.study import study
from drawbench.cli.study_numbers import analyse, power, simulate
from drawbench.cli.sweep import sweep
from drawbench.cli.train import train
from drawbench.errors import UserError

EPILOG = """\b
Examples:
  drawbench run --generator noise --prompts drawbench=drawbench.csv -o out
  drawbench run --generator sd=folder --set sd.path=images/ --prompts drawbench -o out
  drawbench score out/sd-drawbench --metric text_rendering
  drawbench report out/*-drawbench -o report.html
  drawbench compare out/sd14-drawbench out/sd15-drawbench

\b
Exit codes: 0 ok; 1 finished, with failed items (verify: damage, doctor: a failed check);
  2 what was typed; 3 a public asset that could not be found or fetched; 130 interrupted.
\b
Everything that is fetched or computed once is kept in $DRAWBENCH_CACHE (default ~/.cache/drawbench).
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="drawbench")
def cli() -> None:
    """A text-to-image benchmark centred on DrawBench: from prompts to images, scores with intervals, and a report."""


for _command in (
    run,
    generate,
    score,
    report,
    compare,
    sweep,
    fid_30k,
    explain_fid,
    reference,
    train,
    study,
    rate,
    encode,
    export,
    verify,
    list_,
    doctor,
):
    cli.add_command(_command)
for _command in (analyse, power, simulate):
    study.add_command(_command)


def main() -> None:
    """Runs the command line: what a user can put right is one line on standard error, and an exit code."""
    try:
        code = cli.main(prog_name="drawbench", standalone_mode=False)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "drawbench"
        _fail(f"{error.format_message()} (see {path} --help)", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; what is on disk stays, and the same command goes on from there", 130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{where}{error.strerror or error}; what is on disk stays, and the same command goes on from there", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split()).encode(errors="replace").decode()
    click.echo(f"drawbench: {line}", err=True)
    sys.exit(code)
