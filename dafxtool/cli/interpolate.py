"""dafxtool interpolate: the way from one sound to another through the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dafxtool.cli._checks import checked, need_run, recording
from dafxtool.cli._options import (
    PATH,
    SECONDS,
    csv_option,
    device_option,
    effect_options,
    json_option,
    method_option,
    output_option,
    overwrite_option,
    quiet_option,
    run_option,
)
from dafxtool.cli._output import (
    Table,
    progress_from,
    report,
    sounds_line,
)


@click.command(short_help="Draw the way from one sound to another.")
@click.argument("recordings", nargs=-1, required=True, type=PATH)
@output_option("interpolation.png", "A figure: .png, .svg or .pdf.")
@run_option
@effect_options
@checked(
    click.option(
        "--wet-a",
        type=PATH,
        metavar="FILE",
        help="The wet sound of A, instead of an effect.",
    ),
    "wet_a",
    recording,
)
@checked(
    click.option(
        "--wet-b",
        type=PATH,
        metavar="FILE",
        help="The wet sound of B, instead of an effect.",
    ),
    "wet_b",
    recording,
)
@click.option("--start-a", type=SECONDS, metavar="SECONDS", help="Where A's segment begins.")
@click.option("--start-b", type=SECONDS, metavar="SECONDS", help="Where B's segment begins.")
@click.option(
    "--steps", type=click.IntRange(min=2), default=7, show_default=True, help="Number of steps."
)
@click.option("--spherical", is_flag=True, help="Along the sphere instead of straight.")
@click.option(
    "--detailed",
    is_flag=True,
    help="One recording with two effects: move what filters explain from A to B and fade the rest. "
    "Nothing is decoded, so no run is needed.",
)
@click.option("--audio", type=PATH, metavar="FOLDER", help="Write every step as sound.")
@method_option
@csv_option
@device_option
@overwrite_option
@json_option
@quiet_option
def command(recordings: tuple[Path, ...], **options: Any) -> None:
    """Draw the way from one pair to another: two RECORDINGS with one effect, or one with two.

    Without --effect, the effects that the newest run was trained on: its first on two recordings,
    its first two on one. Segments are the fullest of their recording unless --start-a and
    --start-b say where they begin.

    \b
    Examples:
      dafxtool interpolate a.wav b.wav
      dafxtool interpolate a.wav --effect delay --effect overdrive:drive=30 --audio steps
      dafxtool interpolate a.wav --effect delay:time=100 --effect delay:time=800 --detailed
      dafxtool interpolate a.wav b.wav --effect overdrive --steps 9 --spherical -o sheet.pdf
      dafxtool interpolate dry.wav --wet-a amp-low.wav --wet-b amp-high.wav
    """
    from dafxtool.audio.find_recordings import find_recordings
    from dafxtool.utils import outputs

    progress = progress_from(options["quiet"])
    _check_usage(recordings, options)
    is_decoded = not options["detailed"] or options["run"] is not None
    if is_decoded:
        need_run(options)
    find_recordings(recordings)
    output = options["output"] or Path("interpolation.png")
    outputs.check_outputs(output, options["csv"], options["audio"], options["overwrite"])
    from dafxtool.latents.interpolate import (
        draw_interpolation,
        interpolate,
        sound_interpolation,
        write_interpolation_table,
    )
    from dafxtool.models.run import load_run, without_training
    from dafxtool.presets import PRESETS

    if is_decoded:
        run = load_run(options["run"], options["device"])
    else:
        run = without_training(PRESETS["small"])  # nothing is encoded
    a, b = _ends(recordings, run, options, progress)
    made = interpolate(a, b, run, options["steps"], options["spherical"], options["detailed"])
    draw_interpolation(output, made, run, options["overwrite"])
    if options["csv"]:
        write_interpolation_table(options["csv"], made, options["overwrite"])
    sounds = []
    if options["audio"]:
        sounds = sound_interpolation(
            options["audio"], made, run, options["method"], options["overwrite"], progress
        )
    errors = [None if e is None else e.tolist() for e in (made.errors_a, made.errors_b)]
    rows = [
        (
            *(name, source.recording, f"{source.offset_seconds:.2f} s", source.label),
            *map(_four, error or ()),
        )
        for name, source, error in zip("AB", (a, b), errors, strict=True)
    ]
    numbers = () if made.detailed else ("error, dry", "error, wet")
    report(
        {
            "path": output,
            "run": run.path,
            "ends": [
                dict(zip(("end", "recording", "start", "effect"), r, strict=False)) for r in rows
            ],
            "errors": errors,
            "rendered_errors": None
            if made.rendered_errors is None
            else made.rendered_errors.tolist(),
            "audio": sounds,
        },
        options["as_json"],
        [
            Table(("end", "recording", "starts at", "effect", *numbers), rows, right=numbers),
            *_rendered_line(made),
            f"sheet -> {output}",
            *sounds_line(sounds, options["audio"]),
        ],
    )


def _check_usage(recordings: tuple[Path, ...], options: dict[str, Any]) -> None:
    """Refuse arguments that do not go together, before anything slow is imported."""
    if len(recordings) > 2:
        raise click.UsageError(f"{len(recordings)} recordings were named: name one or two.")
    has_wets = (options["wet_a"] is not None, options["wet_b"] is not None)
    if all(has_wets) and (options["effects"] or options["plugins"]):
        raise click.UsageError("--wet-a and --wet-b leave nothing for --effect or --plugin to do.")
    if options["effects"] and not all(has_wets):
        _check_number(len(options["effects"]), recordings, any(has_wets))
    if options["detailed"]:
        _check_detailed(recordings, options)


def _check_number(n_effects: int, recordings: tuple[Path, ...], has_wet: bool) -> None:
    """Two effects for one recording; one or two for two recordings or with a wet one."""
    least = 1 if len(recordings) == 2 or has_wet else 2
    if not least <= n_effects <= 2:
        wanted = "two, such as --effect delay --effect overdrive" if least == 2 else "one or two"
        raise click.UsageError(
            f"{_counted(n_effects, 'effect')} for {_counted(len(recordings), 'recording')}: "
            f"name {wanted}."
        )


def _rendered_line(made: Any) -> list[str]:
    """Report the mean error of the inner steps against the effect at the settings between."""
    if made.rendered_errors is None or len(made.rendered_errors) < 3:
        return []
    error = float(made.rendered_errors[1:-1].mean())
    how = "transported" if made.detailed else "decoded"
    return [f"{how} against rendered between the settings: mean squared error {error:.4f}"]


def _check_detailed(recordings: tuple[Path, ...], options: dict[str, Any]) -> None:
    if len(recordings) > 1:
        raise click.UsageError(
            f"--detailed is between two effects on one recording, not on {len(recordings)}: name "
            "one recording and two effects."
        )
    for name, why in (("spherical", "goes through latents"), ("csv", "writes latents")):
        if options[name]:
            raise click.UsageError(
                f"--{name} {why}, and --detailed leaves them out: use one or the other."
            )


def _four(value: float) -> str:
    return f"{value:.4f}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _ends(recordings: tuple[Path, ...], run: Any, options: dict[str, Any], progress: Any) -> Any:
    """The two pairs that the arguments name; a usage error when they name another number."""
    from dafxtool.api.defaults import effects_of_run
    from dafxtool.latents.examples import load_example

    wets = (options["wet_a"], options["wet_b"])
    needed = 1 if len(recordings) == 2 or any(wets) else 2
    effects: list[Any] = []
    if not all(wets):
        rate = run.configuration.segments.sample_rate
        names, plugins = options["effects"], options["plugins"]
        effects = effects_of_run(run.effects[:needed], names, plugins, rate, progress)
        _check_number(len(effects), recordings, any(wets))  # a run or a plugin may have others
    paths = (recordings[0], recordings[-1])
    starts = (options["start_a"], options["start_b"])
    if len(recordings) == 1 and starts[1] is None:
        starts = (starts[0], starts[0])
    return [
        load_example(path, run, effect, wet, start)
        for path, effect, wet, start in zip(
            paths, (*effects[:1], *effects[-1:]) or (None, None), wets, starts, strict=True
        )
    ]
