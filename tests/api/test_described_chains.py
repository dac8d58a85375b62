"""Chains that a run or a pairs file knows by name are found by that name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from datasets import SEGMENTS, SPLIT, write_recordings

import dafxtool
from dafxtool.api.described_chains import resolve_chains, write_out_chain
from dafxtool.dataset.render import render
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import EffectError
from dafxtool.models.checkpoint import find_checkpoint

LEAD = parse_effect("lead=overdrive > low-pass").effect.at(SEGMENTS.sample_rate)


@pytest.fixture
def chain_run(run):
    """Return a run that was trained on a chain of that name."""
    return replace(run, effects=[LEAD.to_dict(), *run.effects])


def test_the_name_of_a_run_s_chain_is_that_chain_with_the_given_values(chain_run):
    texts = ["lead", "lead:overdrive.drive=30", "lead > delay", "delay:mix=50"]
    plain, valued, longer, other = resolve_chains(texts, chain_run)
    assert plain == EffectChoice(LEAD, {})
    assert valued == EffectChoice(LEAD, {"overdrive.drive": 30})
    assert [stage.label for stage in longer.effect.stages] == ["overdrive", "low-pass", "delay"]
    assert other == "delay:mix=50"


def test_a_new_definition_and_unknown_names_stay_as_they_are(chain_run):
    texts = ["lead=overdrive > delay", "leda", "lead > leda", "a >"]
    assert resolve_chains(texts, chain_run) == texts


def test_a_checkpoint_describes_its_chains(run_folder, tmp_path):
    saved = torch.load(find_checkpoint(run_folder)[1], weights_only=True)
    path = tmp_path / "named.pt"
    torch.save({**saved, "effects": [LEAD.to_dict()]}, path)
    assert resolve_chains(["lead"], path) == [EffectChoice(LEAD, {})]
    assert resolve_chains(["lead"], run_folder) == ["lead"]


def test_a_pairs_file_describes_its_chains(tmp_path, run):
    write_recordings(tmp_path / "in")
    render([tmp_path / "in"], tmp_path / "pairs.h5", [EffectChoice(LEAD, {})], SEGMENTS, SPLIT, 3)
    assert resolve_chains(["lead"], run, [tmp_path / "pairs.h5"]) == [EffectChoice(LEAD, {})]


def test_commands_take_the_name(tmp_path, chain_run):
    recordings = write_recordings(tmp_path / "in")
    embedded = dafxtool.embed(recordings, run=chain_run, effects="lead")
    assert set(embedded.effects()) == {"lead"}
    expected = dafxtool.embed(recordings, run=chain_run, effects="lead=overdrive > low-pass")
    assert (embedded.latent == expected.latent).all()
    swept = dafxtool.sweep(
        recordings, run=chain_run, effects="lead:overdrive.drive=30", values=2, segments=1
    )
    assert [each.effect for each in swept.sweeps] == [LEAD]
    with pytest.raises(EffectError, match="leda"):
        dafxtool.embed(recordings, run=chain_run, effects="leda")


def test_the_explorer_gets_the_stages(chain_run):
    written = write_out_chain("lead:overdrive.drive=30", chain_run)
    assert parse_effect(written).fixed == {"overdrive.drive": 30}
    assert written.startswith("overdrive:drive=30")
    assert write_out_chain("delay:mix=50", chain_run) == "delay:mix=50"
