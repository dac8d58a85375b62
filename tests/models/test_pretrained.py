import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dafxtool.errors import InputError
from dafxtool.models import checkpoint, pretrained
from dafxtool.models.checkpoint import (
    PRETRAINED,
    find_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from dafxtool.models.descriptors import Descriptors
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


def test_a_checkpoint_from_before_the_floor_of_descriptors_has_none(run, tmp_path):
    contents = read_checkpoint(run.path / "checkpoints" / "best.pt")
    assert contents["configuration"]["model"].pop("descriptor_floor_db") == -90
    save_checkpoint(tmp_path / "older.pt", contents)
    older = load_run(tmp_path / "older.pt", "cpu")
    assert older.configuration.model.descriptor_floor_db == 0
    pairs = torch.rand(2, *run.model.shape, generator=torch.Generator().manual_seed(0)) ** 9
    wanted = Descriptors(*run.model.shape[1:], run.spectrogram_config.exponent)(pairs)
    assert torch.equal(older.model.describe(pairs), wanted)
    assert not torch.equal(run.model.describe(pairs), wanted)
