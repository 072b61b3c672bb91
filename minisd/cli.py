"""The command ``minisd``."""

import typer

from minisd import doctor as _doctor

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def minisd() -> None:
    """Diffusion models, from one noise step to reading pictures out of brains."""


@app.command()
def doctor() -> None:
    """Print versions and device, and what is missing with the command that mends it."""
    text, sound = _doctor.report()
    typer.echo(text)
    raise typer.Exit(0 if sound else 1)
