"""Dry and wet recordings are matched by name, by folder or by a table."""

from __future__ import annotations

import pytest

from dafxtool.dataset.pair_files import find_pair_files, holds_pairs
from dafxtool.dataset.recorded_effects import parse_recorded, recorded_effects, split_heading
from dafxtool.effects.apply import apply
from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError, InputError


@pytest.fixture
def make(tmp_path):
    """Function that makes empty files; their names are all that counts here."""

    def make_files(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"RIFF")
        return tmp_path

    return make_files


def names(pairs, root):
    return {
        (pair.dry.relative_to(root).as_posix(), pair.wet.relative_to(root).as_posix())
        for pair in pairs
    }


def test_folders_are_matched_by_stem_words_case_and_prefix(make):
    root = make("d/Take 1.wav", "d/take_10.flac", "d/x/solo_DI.wav", "d/alone.wav")
    make("w/take_1_wet.wav", "w/take_1-gain5.wav", "w/take 10.wav", "w/x/solo-out.wav", "w/odd.wav")
    pairs, unmatched = find_pair_files(root / "d", root / "w")
    assert names(pairs, root) == {
        ("d/Take 1.wav", "w/take_1_wet.wav"),
        ("d/Take 1.wav", "w/take_1-gain5.wav"),
        ("d/take_10.flac", "w/take 10.wav"),
        ("d/x/solo_DI.wav", "w/x/solo-out.wav"),
    }
    assert {path.rsplit("/", 1)[1] for path, _ in unmatched} == {"alone.wav", "odd.wav"}


def test_two_dry_files_of_one_name_are_not_guessed(make):
    root = make("d/a_dry.wav", "d/a_clean.wav", "d/b.wav", "w/a.wav", "w/b.wav")
    pairs, unmatched = find_pair_files(root / "d", root / "w")
    assert names(pairs, root) == {("d/b.wav", "w/b.wav")}
    assert "several" in dict(unmatched)[str(root / "w/a.wav")]


def test_one_dry_file_is_of_every_wet_one(make):
    root = make("di.wav", "w/loud.wav", "w/soft.wav", "amp.wav")
    assert names(find_pair_files(root / "di.wav", root / "w")[0], root) == {
        ("di.wav", "w/loud.wav"),
        ("di.wav", "w/soft.wav"),
    }
    assert names(find_pair_files(root / "di.wav", root / "amp.wav")[0], root) == {
        ("di.wav", "amp.wav")
    }


def test_one_folder_with_both_sides(make):
    root = make("s/dry/a.wav", "s/wet/a.wav", "n/a_dry.wav", "n/a_wet.wav", "m/a.wav", "m/b.wav")
    assert names(find_pair_files(root / "s", None)[0], root) == {("s/dry/a.wav", "s/wet/a.wav")}
    assert names(find_pair_files(root / "n", None)[0], root) == {("n/a_dry.wav", "n/a_wet.wav")}
    assert holds_pairs(root / "s")
    assert holds_pairs(root / "n")
    assert not holds_pairs(root / "m")
    for path in (root / "m", root / "m/a.wav"):
        with pytest.raises(InputError):
            find_pair_files(path, None)


def test_folders_without_a_common_name(make):
    root = make("d/a.wav", "w/b.wav", "d/c.wav")
    with pytest.raises(InputError, match="name"):
        find_pair_files(root / "d", root / "w")


TABLE = "dry;wet;Effect;Gain [dB];Channel;note;split\n\na.wav;b.wav;My Amp;5,5;lead;x;test\n"


def test_tables_hold_settings_with_units(make):
    root = make("a.wav", "b.wav")
    (root / "t.csv").write_text(TABLE, "utf-8-sig")
    (pair,), unmatched = find_pair_files(root / "t.csv", None)
    assert (pair.effect, pair.split, unmatched) == ("my-amp", "test", [])
    assert pair.values == {"Gain [dB]": "5,5", "Channel": "lead"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("dry,amp\na.wav,b.wav\n", "wet"),
        ("dry,wet\n", "no pairs"),
        ("dry,wet\na.wav,none.wav\n", "line 2.*wet"),
        ("dry,wet\na.wav,\n", "line 2.*wet"),
        ("dry,wet,Dry\na.wav,b.wav,c\n", "two columns"),
        ("dry,wet\na.wav,b.wav,5\n", "line 2 has 3 cells"),
    ],
)
def test_unusable_tables_name_the_line(make, text, words):
    root = make("a.wav", "b.wav")
    (root / "t.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        find_pair_files(root / "t.csv", None)


def test_settings_become_parameters():
    texts = [
        "Amp:gain=5 dB,channel=lead",
        "amp:gain=-3,channel=Clean Two",
        "tape",
        "amp:gain=9,channel=lead",
    ]
    effects, choices = recorded_effects([parse_recorded(text) for text in texts])
    amp, tape = effects
    gain, channel = amp.parameters
    assert (gain.name, gain.unit, gain.minimum, gain.maximum, gain.default) == (
        "gain",
        "dB",
        -3,
        9,
        5,
    )
    assert channel.choices == ("clean-two", "lead")
    assert [amp.setting_text(setting) for index, setting in choices if index == 0] == [
        "amp:gain=5,channel=lead",
        "amp:gain=-3,channel=clean-two",
        "amp:gain=9,channel=lead",
    ]
    assert choices[2] == (1, {})
    assert (tape.parameters, tape.is_recorded) == ((), True)
    assert split_heading("Gain (dB)") == split_heading("gain [dB]") == ("gain", "dB")


@pytest.mark.parametrize(
    "texts",
    [["amp:gain=5", "amp"], ["amp:gain=5dB", "amp:gain=5%"], ["amp:"], ["amp:x"], ["a > b"], [""]],
)
def test_contradictory_settings_are_refused(texts):
    with pytest.raises(InputError):
        recorded_effects([parse_recorded(text) for text in texts])


def test_a_recorded_effect_cannot_be_applied_whatever_its_name_is(tone=None):
    import numpy as np

    (delay,), _ = recorded_effects([parse_recorded("delay:time=300")])
    assert Effect.from_dict(delay.to_dict()) == delay
    with pytest.raises(EffectError, match="imported"):
        apply(delay, np.zeros(100, np.float32), 24_000, {})
