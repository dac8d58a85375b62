import dataclasses

import pytest

from dafxtool import config, presets
from dafxtool.errors import ConfigError, InputError


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_configuration_survives_dict_and_toml(name, tmp_path):
    configuration = presets.PRESETS[name]
    assert presets.from_dict(configuration.to_dict()) == configuration
    file = tmp_path / "config.toml"
    file.write_text(presets.to_toml(configuration))
    assert presets.configure(file=file) == configuration


def test_each_source_overrides_the_one_before(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "small"\n[training]\nbatch_size = 4\nlearning_rate = 1\n')
    made = presets.configure(file=file, overrides={"training": {"batch_size": 5, "beta": None}})
    assert made.preset == "small"
    assert made.training.batch_size == 5
    assert made.training.learning_rate == 1.0
    assert isinstance(made.training.learning_rate, float)
    assert made.training.beta == presets.PRESETS["small"].training.beta
    assert presets.configure("week6", file).model == presets.PRESETS["week6"].model


def test_the_spectrogram_follows_the_segments():
    made = presets.configure("small", overrides={"segments": {"n_samples": 1000}})
    assert made.spectrogram.n_samples == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nbatchsize = 4\n", "'batchsize', which nobody reads"),
        ("[trainig]\nbatch_size = 4\n", "'trainig', which nobody reads"),
        ('[training]\nbatch_size = "4"\n', "wanted int"),
        ("[training]\nschedule = 'sine'\n", "cosine, constant"),
        ("training = 4\n", "wanted a table"),
        ("not toml", "no TOML file"),
        ("preset = 'huge'\n", "week6, default, small"),
    ],
)
def test_mistakes_in_a_file_are_sentences(tmp_path, text, message):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        presets.configure(file=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml does not exist"):
        presets.configure(file=tmp_path / "absent.toml")


def test_the_default_analysis_can_be_inverted_and_week6_says_that_it_cannot():
    assert presets.PRESETS["default"].spectrogram.invertible_hint() is None
    assert "overlap" in str(presets.PRESETS["week6"].spectrogram.invertible_hint())


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.PRESETS["small"].training.batch_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(("n_latent", "n_effect"), [(100, 192), (64, 64), (10, 0)])
def test_a_latent_without_content_or_effect_is_refused(n_latent, n_effect):
    with pytest.raises(
        ConfigError, match="one latent tells of the recording and one of the effect"
    ):
        config.ModelConfig(n_latent=n_latent, n_effect=n_effect)
