"""Effects, parameters and settings are read back from a file as they were written."""

import numpy as np
import pytest

from dafxtool import storage
from dafxtool.effects.chain import make_chain
from dafxtool.effects.effect import Effect, EffectChoice, PluginFile, sample_setting
from dafxtool.effects.parameter import Parameter

RECORDINGS = [{"path": "/x/a.wav", "folder": "x", "split": "train", "track": 0}]


def plugin_file(**values):
    about = {"version": "1.0", "sha256": "ab" * 32, "n_channels": 2, "sample_rate": 8000}
    return PluginFile(**{"path": "/p/x.vst3", "plugin_name": None, **about, **values})


MODES = Parameter("mode", "", 0, 2, 1, choices=("soft", "hard", "süß"), positions=(0.0, 0.4, 1.0))
CURVE = {"scale": "tabulated", "positions": (0.0, 0.3, 1.0), "values": (5.0, 1.0, 0.5)}
ROUND_TRIPS = {
    "no parameters": Effect("clean"),
    "units and text": Effect("a", (Parameter("t", "µs", 0.1, 9, 1 / 3, description="x" * 999),)),
    "logarithmic": Effect("a", (Parameter("f", "Hz", 20, 9000, 100, "logarithmic"),)),
    "choices": Effect("a", (MODES, Parameter("even", "", 0, 1, 0, choices=("off", "on")))),
    "a curve": Effect("a", (Parameter("level", "dB", 0.5, 5, 1, **CURVE),)),
    "a parameter called row": Effect("a", (Parameter("row", "", 0, 1, 0),)),
    "a slash": Effect("a/b", (Parameter("x/y", "%", 0, 1, 0),)),
    "dots": Effect("..", (Parameter(".", "%", 0, 1, 0),)),
    "a percent sign": Effect("100%2F", (Parameter("%", "%", 0, 1, 0),)),
    "more parameters than HDF5 has columns": Effect(
        "synth", tuple(Parameter(f"parameter-number-{i}", "", 0, 1, 0) for i in range(2000))
    ),
    "a plugin": Effect(
        "tube",
        (MODES, Parameter("drive", "", 0, 1, 0)),
        plugin=plugin_file(indices=(4, 9), left_out=(("meter", "no setting"),), repeatable=False),
    ),
    "one plugin of several": Effect("mda", (MODES,), plugin=plugin_file(plugin_name="mda Tape")),
}

ROUND_TRIPS["a chain with plugins"] = make_chain(
    [EffectChoice(ROUND_TRIPS[case], {}) for case in ("a plugin", "no parameters", "a curve")]
    + [EffectChoice(ROUND_TRIPS[case], {}) for case in ("one plugin of several", "a plugin")]
).effect


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_effects_and_settings_are_read_back(tmp_path, case):
    effects = [Effect("other", (Parameter("x", "", 0, 1, 0),)), ROUND_TRIPS[case]]
    settings = [sample_setting(effects[row % 2], np.random.default_rng(row)) for row in range(6)]
    setting = np.full((6, max(1, *(len(effect.parameters) for effect in effects))), np.nan)
    for row, each in enumerate(settings):
        setting[row, : len(each)] = list(each.values())
    effect = np.arange(6) % 2
    texts = [effects[row % 2].setting_text(settings[row]) for row in range(6)]
    configuration = {"segments": {"sample_rate": 8000, "n_samples": 5}}
    described, columns = [each.to_dict() for each in effects], {"audio": ((2, 5), np.float32)}
    arguments = (storage.PAIRS, columns, effect, configuration, described, RECORDINGS)
    with storage.open_writer(tmp_path / "e.h5", *arguments) as writer:
        for row in (4, 1, 5, 0, 3, 2):
            writer.put(
                row,
                audio=np.zeros((1, 2, 5)),
                setting=setting[[row]],
                setting_text=storage.encode_texts([texts[row]]),
                recording=np.array([0]),
                offset=np.array([0]),
                split=np.array([row % 3]),
                lost=storage.encode_texts([""]),
            )
    with storage.Hdf5Reader(tmp_path / "e.h5", storage.PAIRS) as reader:
        assert [Effect.from_dict(each) for each in reader.labels.effects] == effects
        assert [reader.labels.setting_of(row) for row in range(6)] == settings
        assert reader.labels.setting_text == texts
        np.testing.assert_array_equal(reader.labels.setting, setting)


def test_more_effects_than_an_enum_can_name(tmp_path):
    n_effects = 5000
    effects = [Effect(f"effect-number-{index}").to_dict() for index in range(n_effects)]
    columns = {"audio": ((2, 3), np.float32)}
    configuration = {"segments": {"sample_rate": 8000, "n_samples": 3}}
    arguments = (
        storage.PAIRS,
        columns,
        np.arange(n_effects)[::-1],
        configuration,
        effects,
        RECORDINGS,
    )
    zeros = np.zeros(n_effects, int)
    with storage.open_writer(tmp_path / "e.h5", *arguments) as writer:
        audio = np.zeros((n_effects, 2, 3))
        writer.put(0, audio=audio, recording=zeros, offset=zeros, split=zeros)
    with storage.Hdf5Reader(tmp_path / "e.h5", storage.PAIRS) as reader:
        assert reader.labels.effect_of(0) == "effect-number-4999"
