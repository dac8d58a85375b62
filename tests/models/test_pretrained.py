import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dafxtool.errors import InputError
from dafxtool.models import checkpoint, pretrained
from dafxtool.models.checkpoint import PRETRAINED, find_checkpoint, read_checkpoint
from dafxtool.models.pretrained import pack, write_pretrained
from dafxtool.models.run import load_run

SOURCES = [{"name": "tones", "licence": "CC0", "attribution": "nobody"}]


def test_a_pretrained_model_decodes_as_its_run_does(run, tmp_path):
    file = tmp_path / "model.pt"
    size = write_pretrained(run.path, SOURCES, file)
    assert size == file.stat().st_size
    loaded = load_run(file, "cpu")
    spectrograms = np.abs(np.random.default_rng(0).standard_normal((3, *run.model.shape)))
    spectrograms = spectrograms.astype(np.float32)
    wanted = run.decode(run.embed(spectrograms), spectrograms[:, 0])
    found = loaded.decode(loaded.embed(spectrograms), spectrograms[:, 0])
    assert float(np.mean(np.square(found - wanted))) < 1e-3 * float(wanted.var())
    assert loaded.data["sources"] == SOURCES


def test_a_pretrained_model_holds_no_path_and_no_optimiser(run):
    contents = pack(read_checkpoint(run.path / "checkpoints" / "best.pt"), SOURCES)
    assert {values.dtype for values in contents["weights"].values()} == {torch.half, torch.int32}
    assert "optimizer" not in contents
    assert str(run.path.parent) not in str({**contents, "weights": None})
    assert "/" not in str(contents["data"])


def test_a_model_that_is_too_large_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="limit 1,000"):
        write_pretrained(run.path, SOURCES, tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_the_newest_run_comes_before_the_pretrained_model(run, tmp_path, monkeypatch):
    file = tmp_path / "model.pt"
    monkeypatch.setattr(checkpoint, "PRETRAINED_FILE", file)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no run"):
        find_checkpoint()
    with pytest.raises(InputError, match="no pretrained"):
        find_checkpoint(PRETRAINED)
    write_pretrained(run.path, SOURCES, file)
    assert find_checkpoint() == find_checkpoint(PRETRAINED) == (PRETRAINED, file)
    folder = tmp_path / "runs" / "mine" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(file.read_bytes())
    assert find_checkpoint()[1] == Path("runs/mine/checkpoints/last.pt")
    assert find_checkpoint(PRETRAINED) == (PRETRAINED, file)


def test_a_folder_of_the_name_is_not_the_model_in_the_package(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints = tmp_path / "pretrained" / "checkpoints"
    checkpoints.mkdir(parents=True)
    shutil.copy(run.path / "checkpoints" / "best.pt", checkpoints)
    assert find_checkpoint(PRETRAINED)[1] == Path("pretrained/checkpoints/best.pt")
