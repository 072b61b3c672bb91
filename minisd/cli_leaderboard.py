"""The command ``minisd leaderboard``: every system on every subject, by every measure.

What a command needs is imported when it runs, so that ``minisd --help`` is quick. Errors are told by `minisd.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minisd.cli_nsd import numbers

if TYPE_CHECKING:
    from torch import Tensor

    from minisd.decoding.leaderboard import LeaderboardSettings, Measure
    from minisd.decoding.systems import Models

SHOWN = 16
"""Test pictures on a contact sheet."""


def leaderboard(
    nsd: Annotated[Path, typer.Option(help="Folder in NSD's layout.")],
    out: Annotated[Path, typer.Option(help="New folder, or one to go on with.")],
    model: Annotated[str, typer.Option(help="A Stable Diffusion: folder, file or hub name.")],
    clip: Annotated[Path, typer.Option(help="Folder of a whole CLIP, whose layers are decoded.")],
    subjects: Annotated[str, typer.Option(help="Such as 1,2 or 1-4.")] = "1",
    systems: Annotated[str, typer.Option(help="Names with commas, or all.")] = "all",
    recipe: Annotated[str, typer.Option(help="paper, quick or miniature.")] = "paper",
    judge: Annotated[
        str | None,
        typer.Option(
            help="What compares pictures: the folder of a scorer of scenes, or such as Inception=FILE."
        ),
    ] = None,
    unclip: Annotated[
        Path | None, typer.Option(help="Folder of unCLIP's decoder, for the system unclip.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Pictures for each response.")] = 1,
    pictures: Annotated[int | None, typer.Option(help="So many test pictures; all if not told.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Test trials to average; all if not told.")] = None,
    sessions: Annotated[int | None, typer.Option(help="The first so many; all if not told.")] = None,
    align: Annotated[int, typer.Option(help="Shared pictures that are not for testing.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest if not told.")] = None,
) -> None:  # fmt: skip
    """Run systems that turn brain activity into pictures, or go on where that was stopped."""
    from minisd.decoding.leaderboard import LeaderboardSettings, draw_all, measure, save_scores
    from minisd.decoding.report import contact_sheet, table
    from minisd.decoding.systems import SYSTEMS, Models
    from minisd.decoding.targets import picture_size

    names = [n for n in SYSTEMS if n != "unclip" or unclip] if systems == "all" else _words(systems)
    settings = LeaderboardSettings(
        tuple(numbers(subjects, "subjects") or ()),
        tuple(names),
        recipe,
        samples,
        pictures,
        repeats,
        align,
        sessions,
    )
    if "unclip" in names and unclip is None:
        raise ValueError("systems has unclip, which needs --unclip, the folder of its decoder")
    models = Models(model, clip, unclip, device)
    measures = _measures(judge, models)
    draw_all(nsd, models, settings, out)
    size = picture_size(models.sd)
    scores = measure(nsd, out, settings, size, measures)
    save_scores(scores, out / "scores.npz")
    (out / "scores.md").write_text(table(scores), encoding="utf-8")
    sheet = contact_sheet(_shown(nsd, out, settings, size), scale=max(1, 64 // size))
    sheet.save(out / "sheet.png")
    typer.echo(table(scores))
    typer.echo(f"scores.npz, scores.md and sheet.png are in {out}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _measures(judge: str | None, models: Models) -> Measure:
    """Make the measures; what reads scenes also says what of them was recovered."""
    from minisd.decoding.leaderboard import field_measures
    from minisd.metrics import Scorer
    from minisd.metrics.extractors import extractor, of_clip, of_layer
    from minisd.metrics.recovered import recovered

    def clip(x: Tensor) -> Tensor:
        return of_clip(models.clip)(x)

    if judge is None:
        return field_measures(clip=clip)
    name, is_file, path = judge.partition("=")
    if is_file:
        return field_measures(extractor(name, path), clip)
    scorer = Scorer.from_pretrained(judge)
    field = field_measures(scorer.features, clip, of_layer(scorer.network, "blocks.2"))
    return lambda made, seen: {**field(made, seen), **recovered(scorer, made, seen)}


def _shown(nsd: Path, out: Path, settings: LeaderboardSettings, size: int) -> dict[str, Tensor]:
    """Rows of the contact sheet: the pictures that were seen, and what each system drew for the first subject."""
    from minisd.decoding.leaderboard import read_pictures, read_truth
    from minisd.decoding.systems import SYSTEMS

    subject = settings.subjects[0]
    rows = {"seen": read_truth(nsd, out, subject, settings, size)[:SHOWN]}
    for name in settings.systems:
        rows[SYSTEMS[name].title] = next(read_pictures(out, name, subject, settings))[:SHOWN]
    return rows
