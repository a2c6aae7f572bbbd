"""The report of a curve shows the curve, asks nobody for anything, and needs three lines."""

import re
import sys

import numpy as np
import pytest
import torch
from chains import curve, linear_problem
from torch import nn

from dgm.evaluate.command import main
from dgm.evaluate.report import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, report_page
from dgm.sampling.perception import Perception

pytest.importorskip("jinja2", reason="dgm[report] is not installed")
pytest.importorskip("PIL", reason="dgm[report] is not installed")
BETAS = [0.1, 1.0, 10.0, 30.0, 100.0]


@pytest.fixture(scope="module")
def problem():
    decoder, x = linear_problem(n_images=9, m=16)
    return curve(decoder, x, latent_dim=5, betas=BETAS, perception=Perception()), decoder, x


def lines(page, chart):
    """Points of the lines of a chart, by order."""
    body = page.split(f'id="inside-{chart}"')[1].split("</svg>")[0]
    texts = re.findall(r'<polyline class="line \S+" points="([^"]+)"', body)
    return [np.array([p.split(",") for p in text.split()], float) for text in texts]


def test_draws_the_curve_and_its_references_in_one_scale(problem):
    run, decoder, x = problem
    mean = run.mean()
    other = 2 * mean.distortion, mean.rate + 1
    page = report_page(run, decoder, x, title="<b>mine", references={"a codec": other})
    own, _, reference = lines(page, "curve")
    across, up = own.T
    log_d, rate = mean.distortion.log10().numpy(), mean.rate.numpy()
    assert np.allclose(across, np.interp(log_d, *ends(log_d, LEFT, WIDTH - RIGHT)), atol=0.06)
    level = np.polyfit(rate, up, 1)
    assert np.allclose(np.polyval(level, rate), up, atol=0.12)
    assert np.allclose(np.polyval(level, 0), HEIGHT - BOTTOM, atol=0.2)
    step = (WIDTH - RIGHT - LEFT) / (log_d.max() - log_d.min())
    assert np.allclose(reference[:, 0] - across, step * np.log10(2), atol=0.12)
    assert np.allclose(reference[:, 1], np.polyval(level, rate + 1), atol=0.15)
    assert len(lines(page, "perception")) == len(lines(page, "chains")) == 1
    assert "&lt;b&gt;mine" in page
    assert "<b>mine" not in page
    assert "a codec" in page


def ends(values, low, high):
    return [values.min(), values.max()], [low, high]


def test_asks_no_host_and_no_file_for_anything(problem):
    page = report_page(*problem)
    assert not re.search(r'(src|href)="(?!data:)|url\((?!#)|@import|<script|<link', page)
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64,") == 6 * 8  # targets and five prices
    assert page.count("<tr>") == 1 + len(BETAS)


def test_points_out_what_gives_reason_for_doubt(problem):
    run, decoder, x = problem
    sound = run._replace(ess=run.ess * 0 + 5, acceptance=run.acceptance * 0 + 0.6)
    sound = sound._replace(rate=-run.log_z - run.beta[:, None] * run.distortion)
    assert "Nothing to point out" in report_page(sound, decoder, x)
    poor = sound._replace(ess=run.ess * 0 + 1.2)
    assert "From the price 0.1 on fewer than two chains" in report_page(poor, decoder, x)
    poor = sound._replace(acceptance=run.acceptance * 0 + 0.1)
    assert "Acceptance falls to 0.10" in report_page(poor, decoder, x)
    poor = sound._replace(rate=sound.rate + 3)
    assert "3.0 nats off" in report_page(poor, decoder, x)
    with pytest.raises(ValueError, match="shows codes"):
        report_page(run._replace(codes=None), decoder, x)


@pytest.mark.parametrize(
    ("shape", "n"), [((3, 4, 5), 48), ((4, 5, 3), 48), ((1, 6, 10), 48), ((60,), 0), ((2, 30), 48)]
)
def test_pictures_of_any_axes(shape, n):
    decoder, x = linear_problem(n_images=9, m=60)
    run = curve(decoder, x, latent_dim=5, betas=BETAS, step_sizes=0.05, temperatures_per_beta=1)
    page = report_page(run, decoder, x.view(-1, *shape))
    assert page.count("data:image/png;base64,") == n
    assert ("no shape of a picture" in page) == (n == 0)


def test_a_decoder_of_three_lines_by_its_files_alone(tmp_path, capsys):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 16), nn.Sigmoid())
    torch.jit.trace(decoder, torch.zeros(2, 3)).save(tmp_path / "decoder.pt")
    x = np.random.default_rng(0).random((5, 4, 4), np.float32)
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / name) for name in ("decoder.pt", "x.npy", "out")]
    quick = ["--chains", "4", "--leapfrog", "2", "--temperatures", "1", "--device", "cpu"]
    assert main([*files, *quick, "--first", "4", "--perception", "pixels"]) == 0
    text = capsys.readouterr().out
    assert "4 images in 1 shards" in text
    assert "written: curve.safetensors, curve.png, report.html" in text
    reference = f"before={tmp_path / 'out' / 'curve.safetensors'}"
    assert main([*files[:2], str(tmp_path / "b"), *quick, "--reference", reference]) == 0
    assert len(lines((tmp_path / "b" / "report.html").read_text("utf-8"), "curve")) == 3
    assert main([*files[:2], str(tmp_path / "c"), *quick, "--reference", "x"]) == 2
    assert main([*files[:2], str(tmp_path / "c"), *quick, "--distortion", "os:getcwd"]) == 2
    assert main([str(tmp_path / "none.pt"), *files[1:], *quick]) == 2
    assert "no file of a decoder" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    with pytest.raises(SystemExit):
        main(files[:1])


def test_a_function_beside_an_installed_command(tmp_path, monkeypatch, capsys):
    lines = "import torch", "def decoder():", "    return torch.nn.Linear(2, 9)"
    (tmp_path / "beside_me.py").write_text("\n".join(lines))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    quick = ["--quick", "--chains", "4", "--leapfrog", "1", "--temperatures", "1"]
    assert main(["beside_me:decoder", "x.npy", "out", *quick, "--betas", "0.1", "1"]) == 0
    assert "16 images in 1 shards" in capsys.readouterr().out
