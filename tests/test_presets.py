"""Configurations from presets, TOML files and single values."""

import dataclasses

import pytest

from dafxtool import config, presets
from dafxtool.errors import ConfigError, InputError


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_configuration_is_read_back_from_dict_and_toml(name, tmp_path):
    configuration = presets.PRESETS[name]
    assert presets.from_dict(configuration.to_dict()) == configuration
    file = tmp_path / "config.toml"
    file.write_text(presets.to_toml(configuration))
    assert presets.configure(file=file) == configuration


def test_single_values_override_the_file_and_the_file_the_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "small"\n[training]\nbatch_size = 4\nlearning_rate = 1\n')
    result = presets.configure(file=file, overrides={"training": {"batch_size": 5, "beta": None}})
    assert result.preset == "small"
    assert result.training.batch_size == 5
    assert result.training.learning_rate == 1.0
    assert isinstance(result.training.learning_rate, float)
    assert result.training.beta == presets.PRESETS["small"].training.beta
    with pytest.raises(ConfigError, match="found 'small', expected 'week6'"):
        presets.configure("week6", file)  # else one of the two would be ignored in silence
    file.write_text("[training]\nbatch_size = 4\n")
    assert presets.configure("week6", file).model == presets.PRESETS["week6"].model


def test_the_spectrogram_has_the_length_of_the_segments():
    result = presets.configure("small", overrides={"segments": {"n_samples": 1000}})
    assert result.spectrogram.n_samples == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nbatchsize = 4\n", "unknown key 'batchsize'"),
        ("[trainig]\nbatch_size = 4\n", "unknown key 'trainig'"),
        ('[training]\nbatch_size = "4"\n', "expected int"),
        ("[training]\nschedule = 'sine'\n", "cosine, constant"),
        ("training = 4\n", "expected a table"),
        ("not toml", "not a TOML file"),
        ("preset = 'huge'\n", "week6, default, small"),
    ],
)
def test_errors_in_a_file_are_reported(tmp_path, text, message):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        presets.configure(file=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml: does not exist"):
        presets.configure(file=tmp_path / "absent.toml")


def test_only_week6_warns_that_its_magnitudes_cannot_be_inverted():
    assert presets.PRESETS["default"].spectrogram.invertible_hint() is None
    assert "overlap" in str(presets.PRESETS["week6"].spectrogram.invertible_hint())


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.PRESETS["small"].training.batch_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(("n_latent", "n_effect"), [(100, 192), (64, 64), (10, 0)])
def test_a_latent_without_content_or_effect_is_refused(n_latent, n_effect):
    with pytest.raises(ConfigError, match=f"n_effect: .*found {n_effect}, .*{n_latent - 1}"):
        config.ModelConfig(n_latent=n_latent, n_effect=n_effect)
