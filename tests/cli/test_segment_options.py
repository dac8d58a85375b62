"""Options of segments and splits reach the library as they were given."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from datasets import write_recordings

from dafxtool.cli import main


@pytest.mark.parametrize(
    ("options", "splits"),
    [
        (("--validation", "0", "--test", "0"), {"train"}),
        (("--validation", "0", "--test", "0.3"), {"train", "test"}),
        (("--validation", "0.3", "--test", "0"), {"train", "validation"}),
    ],
)
def test_a_fraction_of_zero_leaves_the_split_out(options, splits, tmp_path):
    recordings = write_recordings(tmp_path)
    arguments = ["render", str(recordings), "-o", str(tmp_path / "p.h5"), "--effect", "gain"]
    size = ["--segment-seconds", "0.2", "--pairs-per-effect", "10", "--workers", "1"]
    result = CliRunner().invoke(main, [*arguments, *size, *options, "--json"])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["pairs_per_split"]) == splits
