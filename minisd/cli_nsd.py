"""The commands ``minisd nsd ...``, on folders in the layout of the Natural Scenes Dataset.

What a command needs is imported when it runs, so that ``minisd --help`` is quick. Errors are told by `minisd.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from minisd.nsd.plan import Region
    from minisd.nsd.simulate import SimulationSettings

app = typer.Typer(no_args_is_help=True)

RootFolder = Annotated[Path, typer.Argument(metavar="ROOT", help="Folder in NSD's layout.")]


@app.callback()
def nsd() -> None:
    """Look through, fetch, simulate or prepare the Natural Scenes Dataset."""


@app.command()
def check(root: RootFolder) -> None:
    """Say what is there, what is missing or damaged, and what can be run with it."""
    from minisd.nsd.check import check as look_through

    report = look_through(root)
    typer.echo(str(report))
    raise typer.Exit(1 if report.damaged else 0)


@app.command()
def download(
    root: RootFolder,
    subject: Annotated[int, typer.Option(help="From 1 to 8.")],
    what: Annotated[
        str, typer.Option(help="design, rois, maps, betas, stimuli: some of them, with commas.")
    ] = "design,rois,maps",
    version: Annotated[str, typer.Option(help="Of betas and maps.")] = "betas_fithrf_GLMdenoise_RR",
    space: Annotated[str, typer.Option(help="func1pt8mm, func1mm or fsaverage.")] = "func1pt8mm",
    sessions: Annotated[
        str | None, typer.Option(help="Of betas, such as 1-10 or 1,2,5; all if not told.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Of files with betas: hdf5 or nii.gz.")] = "hdf5",
    endpoint: Annotated[
        str | None, typer.Option(help="URL of another server that speaks S3's protocol.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Fetch parts of the dataset, or go on where that was stopped."""
    from minisd.nsd import Root
    from minisd.nsd import download as nsd_download

    names = [name.strip() for name in what.split(",") if name.strip()]
    forms = nsd_download.wanted(names, subject, version, space, numbers(sessions), kind)
    if not root.exists():
        root.mkdir(parents=True)
    folder, store = Root(root), nsd_download.open_bucket(endpoint)
    remotes = nsd_download.list_files(store, forms)
    left = nsd_download.missing(folder, remotes)
    if not left:
        typer.echo(f"all {len(remotes)} files are there")
        return
    for remote in left:
        typer.echo(f"{nsd_download.as_size(remote.size):>10}  {remote.key}")
    count = nsd_download.as_size(nsd_download.bytes_left(folder, left))
    typer.echo(f"{len(left)} of {len(remotes)} files, {count} to be fetched into {folder.path}")
    typer.echo(f"Who uses them has agreed to the dataset's terms: {nsd_download.AGREEMENT}")
    if not yes:
        typer.confirm("Fetch them?", abort=True)
    nsd_download.download(folder, store, left)


@app.command()
def simulate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="New folder, or one to go on with.")],
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    size: Annotated[
        str,
        typer.Option(
            help="book: two minutes; sample: the one that ships; tiny: two seconds, to try things out."
        ),
    ] = "book",
    subjects: Annotated[
        str | None, typer.Option(help="Which ones, such as 1,2; all of that size if not told.")
    ] = None,
    bold: Annotated[
        int, typer.Option(help="Of how many sessions, the first ones, to write BOLD runs too.")
    ] = 0,
) -> None:
    """Write simulated subjects in NSD's layout, or go on where that was stopped."""
    from minisd.nsd.simulate import simulate as write

    settings = _settings(size, seed, bold, numbers(subjects, "subjects"))
    typer.echo(str(write(root, settings).path))


@app.command()
def prepare(
    root: RootFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder, or one to go on with.")],
    subject: Annotated[int, typer.Option(help="From 1.")],
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as streams:early,ventral or lh.floc-faces; may be told repeatedly."
        ),
    ] = None,
    sessions: Annotated[
        str | None, typer.Option(help="Such as 1-37 or 1,2,5; all if not told.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Trials of a picture to average, at most.")] = 3,
    min_ncsnr: Annotated[
        float | None, typer.Option(help="Leave out voxels with less in the training trials.")
    ] = None,
    align: Annotated[
        int, typer.Option(help="Shared pictures to set apart for aligning subjects.")
    ] = 0,
    version: Annotated[str, typer.Option(help="Of betas.")] = "betas_fithrf_GLMdenoise_RR",
    space: Annotated[str, typer.Option(help="func1pt8mm, func1mm or fsaverage.")] = "func1pt8mm",
) -> None:
    """Z-score, average and split a subject's responses, or go on where that was stopped."""
    from minisd.nsd import Subject
    from minisd.nsd.prepare import PrepareSettings
    from minisd.nsd.prepare import prepare as write
    from minisd.nsd.prepared import MANIFEST

    regions = [_region(text) for text in region or ["nsdgeneral"]]
    settings = PrepareSettings(regions, numbers(sessions), repeats, min_ncsnr, align)
    finished = (out / MANIFEST).is_file()
    prepared = write(Subject(root, subject, version, space), out, settings)
    typer.echo(f"{out} {'was finished already' if finished else 'is finished'}\n{prepared}")


def _region(text: str) -> Region:
    """Read a kind of regions, with the hemisphere before it as NSD names its files, and labels behind it."""
    from minisd.nsd.layout import HEMISPHERES
    from minisd.nsd.plan import Region

    name, colon, labels = text.partition(":")
    side, dot, rest = name.partition(".")
    side, name = (side, rest) if dot and side in HEMISPHERES else (None, name)
    words = [label.strip() for label in labels.split(",")]
    if not name or (colon and not all(words)):
        raise ValueError(
            f"region is {text!r}; it must be like nsdgeneral, streams:early,ventral or lh.floc-faces:FFA-1"
        )
    return Region(name, words if colon else None, side)


def _settings(size: str, seed: int, bold: int, numbers: list[int] | None) -> SimulationSettings:
    from dataclasses import replace

    from minisd.nsd.simulate import SIZES

    if size not in SIZES:
        raise ValueError(f"size is {size!r}; it must be one of {', '.join(SIZES)}")
    settings = replace(SIZES[size], seed=seed, bold=bold)
    if numbers is None:
        return settings
    there = {subject.number: subject for subject in settings.subjects}
    if not numbers or not set(numbers) <= set(there):
        raise ValueError(f"subjects are {numbers}; of size {size} there are {list(there)}")
    return replace(settings, subjects=tuple(there[number] for number in numbers))


def numbers(text: str | None, name: str = "sessions") -> list[int] | None:
    """Read whole numbers and ranges of them, in order: ``"1-3,7"``."""
    if text is None:
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{name} are {text!r}; they must be like 1-10 or 1,2,5")
        found.update(range(int(first), int(last or first) + 1))
    if not found or min(found) < 1 or max(found) > 99:
        raise ValueError(f"{name} are {text!r}; they count from 1 to 99")
    return sorted(found)
