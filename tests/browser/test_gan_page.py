"""The GAN widgets in a real browser: the page's gradients against PyTorch's, and what a reader may do."""

import json
import math

import numpy as np
import pytest
import torch

from dgm.papers import bre_gan
from dgm_book.widgets import GANPlayground, PatternBench, frame
from dgm_book.widgets.hashing import mulberry32

LIBRARY = "\nexport { ganLibrary, ganTrainer };"
UNPACK = """async source => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  globalThis.made = await import(url);
  globalThis.gan = made.ganLibrary();
  globalThis.finish = job => { let r = job.next(); while (!r.done) r = job.next(); return r.value; };
}"""
LOSSES = """({ theta, psi, width, batch, z, real, fake, between, settings }) => {
  const [d, g] = [gan.makeDiscriminator(width), gan.makeGenerator(width)];
  d.theta.set(theta);
  g.theta.set(psi);
  const player = gan.makePlayer(d, g, batch);
  const f = values => Float64Array.from(values);
  const told = gan.discriminatorLoss(player, f(real), f(fake), f(between), settings);
  const plain = terms => terms && [terms.marginalEntropy, terms.activationCorrelation];
  const first = { loss: told.loss, fake: plain(told.onFake), between: plain(told.onBetween) };
  const gradient = Array.from(player.adam.discriminator.g);
  const made = gan.generatorLoss(player, f(z));
  return { ...first, gradient, generator: made.loss, push: Array.from(player.adam.generator.g) };
}"""
LONG_TASKS = """() => {
  globalThis.longTasks = [];
  const seen = list => longTasks.push(...list.getEntries().map(e => e.duration));
  new PerformanceObserver(seen).observe({ entryTypes: ["longtask"] });
}"""


def eight():
    turn = np.arange(8) * np.pi / 4
    centres = np.stack([np.cos(turn), np.sin(turn)], 1)
    return {"name": "eight", "label": "8 Gaussians", "centres": centres, "sigma": 0.05}


def two():
    return {"name": "two", "label": "Two spots", "centres": [[-0.5, 0], [0.5, 0]], "sigma": 0.1}


def playground(**options):
    return GANPlayground([eight(), two()], **{"badge": "in the page", **options})


@pytest.fixture(scope="module")
def library(visit_once):
    """A page that holds gan.js and the trainer; both keep nothing from one call to the next."""
    source = "".join(
        (frame.FOLDER / name).read_text("utf-8") for name in ("gan.js", "gan_playground.js")
    )
    seen = visit_once("about:blank")
    seen.page.evaluate(UNPACK, source.replace("export default { render };", LIBRARY))
    return seen.page


@pytest.fixture
def opened(tmp_path, write_page, visit, serve):
    """Return ``opened(*widgets, scheme=, theme=, script=, **context options)``: a page of them."""

    def start(*widgets, scheme="file", theme="light", script="", **options):
        path = write_page(tmp_path, *widgets, theme=theme)
        url = path.as_uri() if scheme == "file" else f"{serve(tmp_path)}/page.html"
        seen = visit(url, script, **options).ready(len(widgets))
        seen.page.wait_for_function(
            "() => [...document.querySelectorAll('.dgm-gan')].every(n => n.dataset.step)"
        )
        return seen

    return start


def flat(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


def plain(tensor):
    return tensor.flatten().tolist()


def golden(seed, width, batch=33, scale=1.5):
    """Random networks and points in float64: D, G, z, real, fake."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = bre_gan.toy_discriminator(width).double(), bre_gan.toy_generator(2, width).double()
        for net in nets:
            for parameter in net.parameters():
                parameter.data *= scale
        z, real = torch.randn(2, batch, 2, dtype=torch.float64)
    return *nets, z, real, nets[1](torch.randn(batch, 2, dtype=torch.float64)).detach()


def squares(net):
    return 1e-4 * sum(p.square().sum() for p in net.parameters() if p.ndim == 2)


def gradient_of(loss, net):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


def assert_near(got, wanted, tolerance=1e-4):
    """Within the tolerance of the largest entry."""
    got, wanted = torch.as_tensor(got, dtype=torch.float64), wanted.detach()
    assert float((got - wanted).abs().max() / wanted.abs().max()) < tolerance


# The arithmetic


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("margin", [0.5, 3.0])
@pytest.mark.parametrize("width", [10, 16])
def test_the_page_s_gradients_are_pytorch_s(library, width, margin, weight):
    d, g, z, real, fake = golden(width, width)
    dice = torch.Generator().manual_seed(5)
    between = bre_gan.interpolate(real, fake, dice)
    settings = {"weight": weight, "layers": [1], "margin": margin}
    told = bre_gan.discriminator_objective(d, real, fake, dice.manual_seed(5), **settings)
    sent = {
        "theta": plain(flat(d)),
        "psi": plain(flat(g)),
        "width": width,
        "batch": len(z),
        "settings": {"w": weight, "margin": margin},
    }
    points = {"z": z, "real": real, "fake": fake, "between": between}
    got = library.evaluate(LOSSES, sent | {k: plain(v) for k, v in points.items()})
    loss = told.value + squares(d)
    assert got["loss"] == pytest.approx(float(loss), rel=1e-10)
    assert_near(got["gradient"], gradient_of(loss, d))
    if weight:
        for name in ("fake", "between"):
            terms = bre_gan.bre_penalty(d, points[name], [1], margin=margin)
            assert got[name] == pytest.approx([float(t) for t in terms], rel=1e-10)
        assert margin == 3.0 or min(got["fake"]) > 0.01
    made = bre_gan.generator_objective(d, g(z)) + squares(g)
    assert got["generator"] == pytest.approx(float(made), rel=1e-10)
    assert_near(got["push"], gradient_of(made, g))


ADAM = """({ theta, gradients, rate }) => {
  const zeros = () => new Float64Array(theta.length);
  const [state, found] = [{ g: zeros(), m: zeros(), v: zeros(), t: 0 }, Float64Array.from(theta)];
  for (const gradient of gradients) {
    state.g.set(gradient);
    gan.adamStep(found, state, rate);
  }
  return Array.from(found);
}"""
TERMS = """({ h, K, options }) => {
  const { marginalEntropy, activationCorrelation } = gan.breTerms(Float64Array.from(h), K, options);
  return [marginalEntropy, activationCorrelation];
}"""
CELLS = """({ theta, width, limit }) => {
  const network = gan.makeDiscriminator(width);
  network.theta.set(theta);
  return finish(gan.cells(network, 4, limit)).map(({ points, words }) => {
    let area = 0;
    for (let p = 0, n = points.length; p < n; p += 2) {
      area += (points[p] * points[(p + 3) % n] - points[(p + 2) % n] * points[p + 1]) / 2;
    }
    return [words.join(), area];
  });
}"""
TRAIN = """({ config, settings, count }) => {
  const trainer = made.ganTrainer(gan, config);
  finish(trainer.train(count, settings, []));
  const { step, panels } = finish(trainer.snapshot(-1, settings.margin));
  const nets = trainer.players.map(p => [p.discriminator, p.generator].map(n => Array.from(n.theta)));
  return { step, nets, panels: panels.map(p => ({ ...p, fakes: Array.from(p.fakes) })) };
}"""


def train(page, count, width=10, **settings):
    config = {
        "centres": eight()["centres"].tolist(),
        "sigma": 0.05,
        "seed": 3,
        "width": width,
        "batch": 64,
        "steps": 1000,
        "limit": 1.5,
        "shown": 200,
        "arrows": 40,
    }
    settings = {"w": 1, "margin": 3, "rate": 0.002, "decay": True, **settings}
    return page.evaluate(TRAIN, {"config": config, "settings": settings, "count": count})


def network(module, theta):
    torch.nn.utils.vector_to_parameters(
        torch.tensor(theta, dtype=torch.float64), module.parameters()
    )
    return module


def test_adam_is_pytorch_s(library):
    dice = torch.Generator().manual_seed(1)
    theta = torch.randn(7, generator=dice, dtype=torch.float64).requires_grad_()
    gradients = torch.randn(5, 7, generator=dice, dtype=torch.float64)
    start = plain(theta)
    adam = torch.optim.Adam([theta], lr=0.01, betas=(0.5, 0.999))
    for gradient in gradients:
        theta.grad = gradient
        adam.step()
    got = library.evaluate(ADAM, {"theta": start, "gradients": gradients.tolist(), "rate": 0.01})
    assert got == pytest.approx(plain(theta), rel=1e-12)


@pytest.mark.parametrize(("K", "d"), [(2, 1), (8, 12), (30, 5)])
@pytest.mark.parametrize("margin", [0.0, 0.7, 3.0])
def test_the_terms_are_those_of_the_library(library, K, d, margin):
    h = torch.randn(K, d, generator=torch.Generator().manual_seed(K), dtype=torch.float64)
    h[0, 0] = 0
    sent = {"h": plain(h), "K": K, "options": {"margin": margin, "zeta": 0.01}}
    wanted = [float(t) for t in bre_gan.bre_terms(h, 0.01, margin)]
    assert library.evaluate(TERMS, sent) == pytest.approx(wanted, abs=1e-12)


def test_the_cells_fill_the_square_and_hold_every_pattern_of_a_grid(library):
    d = golden(4, 10)[0]
    sent = {"theta": plain(flat(d)), "width": 10, "limit": 2.0}
    found = library.evaluate(CELLS, sent)
    areas = np.array([area for _, area in found])
    assert areas.sum() == pytest.approx(16, rel=1e-12)
    assert areas.min() >= 0
    axis = torch.linspace(-2, 2, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    signs = bre_gan.activation_patterns(d, grid).long().reshape(-1, 4, 10)
    words = (signs << torch.arange(10)).sum(2).unique(dim=0)
    on_grid = {",".join(map(str, row)) for row in words.tolist()}
    names = {name for name, _ in found}
    assert on_grid <= names
    # A cell that the grid misses is small.
    missed = [area for name, area in found if name not in on_grid]
    assert len(on_grid) > 100
    assert max(missed, default=0) < 0.01


def test_the_read_outs_are_those_of_the_library(library):
    told = train(library, 300)
    assert told["step"] == 300
    for (theta, psi), panel in zip(told["nets"], told["panels"], strict=True):
        d = network(bre_gan.toy_discriminator().double(), theta)
        fakes = torch.tensor(panel["fakes"], dtype=torch.float64).reshape(-1, 2)
        g = network(bre_gan.toy_generator().double(), psi)
        assert float((g(torch.zeros(1, 2, dtype=torch.float64)).detach()).abs().max()) <= 1
        # The page hands its fakes over in single precision, so that one on an edge may change sides.
        assert panel["patterns"] == pytest.approx(bre_gan.regions(d, fakes), abs=1)
        assert panel["spread"] == pytest.approx(float(bre_gan.gradient_spread(d, fakes)), abs=0.02)
        covered = bre_gan.mode_coverage(fakes, torch.tensor(eight()["centres"]), 0.05)
        assert (panel["modes"], panel["quality"]) == (covered.covered, covered.high_quality)
        _, (h,) = bre_gan.pre_activations(d, fakes[:128], [1])
        terms = bre_gan.bre_terms(h)
        assert panel["marginalEntropy"] == pytest.approx(float(terms[0]), abs=1e-3)
        assert panel["activationCorrelation"] == pytest.approx(float(terms[1]), abs=1e-3)


def test_both_see_the_same_numbers_and_only_the_weight_parts_them(library):
    same = train(library, 50, w=0)["nets"]
    assert same[0] == same[1]
    apart = train(library, 50, w=1)["nets"]
    assert apart[0] == same[0]
    assert apart[1] != same[1]
    assert train(library, 50, w=1)["nets"] == apart


def test_the_weight_falls_to_zero_with_the_run(library):
    assert train(library, 40, w=1, decay=False)["nets"] != train(library, 40, w=1)["nets"]
    assert train(library, 2000, w=1)["step"] == 1000


def test_training_reaches_the_modes(library):
    start, end = (train(library, count)["panels"][0] for count in (1, 1000))
    assert start["quality"] < 0.1 < end["quality"]
    assert end["modes"] >= 2


def test_a_loss_that_is_no_number_stops_one_run_at_its_last_good_step(library):
    told = train(library, 5, rate=1e300)
    assert all("no longer a number at step" in panel["stopped"] for panel in told["panels"])
    assert np.isfinite(np.concatenate([theta for pair in told["nets"] for theta in pair])).all()


# The playground


def step(seen):
    return int(seen.page.locator(".dgm-gan").get_attribute("data-step"))


def at_step(seen, wanted):
    seen.page.wait_for_function(
        "n => Number(document.querySelector('.dgm-gan').dataset.step) >= n", arg=wanted
    )
    seen.settle()


def until(seen, holds):
    """Wait until it holds: a worker may take longer to answer than `settle` waits."""
    for _ in range(200):
        if holds():
            break
        seen.page.wait_for_timeout(50)
    else:
        pytest.fail("it did not come to hold")


def changed_from(seen, pictures):
    until(seen, lambda: seen.pictures() != pictures)


def button(seen, name):
    return seen.page.get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_playground_is_trained_by_keyboard(opened, scheme):
    seen = opened(playground(), scheme=scheme)
    seen.settle()
    assert step(seen) == 0
    first = seen.pictures()
    assert len(set(first)) == len(first)
    button(seen, "1 step").press("Enter")
    at_step(seen, 1)
    button(seen, "100 steps").press("Enter")
    at_step(seen, 101)
    assert step(seen) == 101
    assert seen.pictures()[0] != first[0]
    button(seen, "Play").press("Space")
    button(seen, "Pause").press("Space")
    at_step(seen, 102)
    assert button(seen, "Play").is_visible()
    button(seen, "Restart").press("Enter")
    seen.page.wait_for_function("document.querySelector('.dgm-gan').dataset.step === '0'")
    seen.settle()
    assert seen.pictures() == first
    seen.assert_clean()


def test_nothing_moves_before_play_nor_out_of_view(opened):
    seen = opened(playground(), PatternBench(), viewport={"width": 900, "height": 500})
    seen.settle()
    assert step(seen) == 0
    frames = len(seen.frames())
    seen.page.wait_for_timeout(500)
    assert len(seen.frames()) == frames
    button(seen, "Play").click()
    at = "n => Number(document.querySelector('.dgm-gan').dataset.step) > n"
    seen.page.wait_for_function(at, arg=40)
    seen.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    here = -1
    for _ in range(20):  # the job that is under way is finished
        if here == (here := step(seen)):
            break
        seen.page.wait_for_timeout(300)
    seen.page.wait_for_timeout(700)
    assert step(seen) == here
    seen.page.evaluate("scrollTo(0, 0)")
    seen.page.wait_for_function(at, arg=here)


def test_two_runs_with_one_seed_are_one_and_another_seed_is_another(opened):
    seen = opened(playground())
    shown = []
    for seed in ("3", "4", "3"):
        seen.page.get_by_label("Seed of both").fill(seed)
        seen.page.get_by_label("Seed of both").press("Enter")
        seen.page.wait_for_function("document.querySelector('.dgm-gan').dataset.step === '0'")
        button(seen, "100 steps").click()
        at_step(seen, 100)
        shown.append(seen.pictures())
    assert shown[0] == shown[2] != shown[1]


# All in one task of the page, so that the restart is surely under way when the clicks come.
HASTY = """() => {
  const change = (node, value) => {
    node.value = value;
    node.dispatchEvent(new Event("change"));
  };
  change(document.querySelector(".dgm-gan input[type=number]"), 3);
  for (const node of document.querySelectorAll(".dgm-gan-buttons button")) {
    if (node.textContent === "100 steps") [1, 2, 3].forEach(() => node.click());
  }
  change([...document.querySelectorAll(".dgm-gan select")].find(n => n.id.endsWith("-layer")), "1");
}"""


@pytest.mark.parametrize("script", ["", "delete globalThis.Worker"])
def test_what_is_asked_during_a_restart_is_done_after_it(opened, script):
    calm = opened(playground(seed=3), script=script)
    for steps in (100, 200, 300):
        button(calm, "100 steps").click()
        at_step(calm, steps)
    before = calm.pictures()
    calm.page.get_by_label("Cells of").select_option("1")
    changed_from(calm, before)
    hasty = opened(playground(), script=script)
    hasty.page.evaluate(HASTY)
    at_step(hasty, 300)
    assert step(hasty) == 300
    until(hasty, lambda: hasty.pictures() == calm.pictures())


def test_sliders_show_at_once_and_reset_takes_them_back(opened):
    seen = opened(playground())
    seen.settle()
    first = seen.pictures()
    for name, key in [("Weight of BRE", "ArrowRight"), ("Margin", "ArrowLeft")]:
        slider = seen.page.get_by_label(name)
        output = seen.page.locator(f"output[for='{slider.get_attribute('id')}']")
        before, picture = output.inner_text(), seen.pictures()
        slider.press(key)
        seen.settle()
        changed_from(seen, picture)
        assert output.inner_text() != before
    for name, value in [("Target", "two"), ("Cells of", "1"), ("Hidden units", "16")]:
        picture = seen.pictures()
        seen.page.get_by_label(name).select_option(value)
        seen.settle()
        changed_from(seen, picture)
    seen.page.get_by_label("Cells of").select_option("-1")
    button(seen, "Reset").click()
    until(seen, lambda: seen.pictures() == first)


# Every control, by the text beside it, and another value for each that it can have.
CONTROLS = """() => [...document.querySelectorAll(".dgm :is(input, select)")]
  .map(n => [n.labels[0].textContent.slice(0, 30), n.type === "checkbox" ? n.checked : n.value])"""
TOUCH = """() => {
  for (const node of document.querySelectorAll(".dgm :is(input, select)")) {
    if (node.type === "checkbox") { node.click(); continue; }
    if (node.tagName === "SELECT") node.selectedIndex = node.selectedIndex ? 0 : node.options.length - 1;
    else node.value = Number(node.value) - Number(node.step);
    if (node.value === "" || Number(node.value) < 0) node.value = 7;
    for (const name of ["input", "change"]) node.dispatchEvent(new Event(name, { bubbles: true }));
  }
}"""


@pytest.mark.parametrize("make", [playground, PatternBench])
def test_reset_takes_every_control_back(opened, make):
    seen = opened(make())
    seen.settle()
    first = seen.page.evaluate(CONTROLS)
    seen.page.evaluate(TOUCH)
    seen.settle()
    touched = seen.page.evaluate(CONTROLS)
    assert all(before != after for before, after in zip(first, touched, strict=True)), touched
    button(seen, "Reset").click()
    until(seen, lambda: seen.page.evaluate(CONTROLS) == first)


def test_the_spread_s_label_holds_for_what_is_shown(opened):
    # Two opposite gradients have a spread of 2: no label may promise less.
    line = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    with torch.no_grad():
        line[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        line[0].bias.zero_()
        line[2].weight.fill_(1.0)
    points = torch.tensor([[-1.0], [1.0]])
    assert float(bre_gan.gradient_spread(line, points)) == pytest.approx(2)
    seen = opened(playground())
    row = seen.page.locator(".dgm-gan-table th", has_text="Spread")
    assert "to 1" not in row.inner_text()


NO_WORKER = [
    "delete globalThis.Worker",
    "globalThis.Worker = class { constructor() { throw new Error('no') } }",
    """globalThis.Worker = class {
        constructor() { setTimeout(() => this.onerror({ preventDefault() {} })) }
        postMessage() {} terminate() {} }""",
]


def test_without_a_worker_the_page_trains_itself_and_says_so(opened):
    shown = []
    for script in ("", *NO_WORKER):
        seen = opened(playground(), script=script)
        button(seen, "100 steps").click()
        at_step(seen, 100)
        said = seen.page.locator(".dgm-gan .dgm-side").inner_text()
        assert ("No worker could be started here" in said) == bool(script), script
        shown.append(seen.pictures())
        assert shown[-1] == shown[0], script


def test_a_run_that_breaks_says_so_and_can_be_restarted(opened):
    seen = opened(playground(rate=1e300))
    button(seen, "100 steps").click()
    note = seen.page.get_by_role("group", name="Without BRE")
    note.get_by_text("no longer a number at step").wait_for()
    assert seen.page.get_by_text("no longer a number").count() >= 2
    seen.page.get_by_label("Learning rate").select_option("0.002")
    note.get_by_role("button", name="Restart").click()
    seen.page.wait_for_function("document.querySelector('.dgm-gan').dataset.step === '0'")
    button(seen, "100 steps").click()
    at_step(seen, 100)
    assert not note.get_by_text("no longer a number").is_visible()
    seen.assert_clean()


def test_fakes_on_one_spot_are_told(opened):
    seen = opened(playground(rate=1.0))
    button(seen, "100 steps").click()
    at_step(seen, 100)
    assert seen.page.get_by_text("All fakes are on one spot.").first.is_visible()


def own_time_of_tasks(trace):
    """What each task of a page's main thread took of the processor, in ms: waits are not counted."""
    events = json.loads(trace)["traceEvents"]
    threads = {
        (e["pid"], e["tid"])
        for e in events
        if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    tasks = [e for e in events if (e["pid"], e["tid"]) in threads and "RunTask" in e["name"]]
    return [e["tdur"] / 1000 for e in tasks if "tdur" in e]


@pytest.mark.timing
def test_a_step_is_quick_and_the_page_stays_awake(opened, record_testsuite_property):
    seen = opened(playground())
    seen.page.evaluate(LONG_TASKS)
    button(seen, "Play").click()
    # Other work on this machine may hold up many rounds, a slow page all.
    best = np.full(3, np.inf)
    for _ in range(20):
        seen.page.evaluate("() => { performance.clearMeasures(); longTasks.length = 0; }")
        seen.page.wait_for_function(
            "() => performance.getEntriesByName('dgm-step:gan').length >= 200"
        )
        steps = seen.page.evaluate(
            "performance.getEntriesByName('dgm-step:gan').map(e => e.duration)"
        )
        longest = seen.page.evaluate("Math.max(0, ...longTasks)")
        frames = np.percentile(seen.frames(), 95)
        best = np.minimum(best, [np.percentile(steps, 95), frames, longest])
        if (best[:2] < 16).all():
            break
    chromium = seen.page.context.browser
    chromium.start_tracing(page=seen.page, categories=["toplevel"])
    seen.page.wait_for_timeout(1500)
    own = own_time_of_tasks(chromium.stop_tracing())
    record_testsuite_property("gan_step_p95_ms", best[0])
    record_testsuite_property("gan_frame_p95_ms", best[1])
    record_testsuite_property("gan_longest_task_ms", best[2])
    record_testsuite_property("gan_longest_own_time_ms", max(own))
    assert (best[:2] < 16).all()
    assert len(own) > 50
    assert max(own) <= 50


# The bench


def pre_activations(bench, units):
    """x cos t + y sin t + b of each point (x, y) for each line, in the page's random numbers."""
    uniform = torch.from_numpy(mulberry32(np.arange(1, 2 * units + 1), bench.seed)).view(units, 2)
    turn, offset = 2 * math.pi * uniform[:, 0], 1.4 * uniform[:, 1] - 0.7
    points = torch.tensor(bench.points, dtype=torch.float64)
    return points @ torch.stack([turn.cos(), turn.sin()]) + offset


def test_the_bench_shows_the_terms_of_its_points(opened):
    bench = PatternBench()
    seen = opened(bench)
    for units, margin in [("12", "3"), ("5", "0.5"), ("2", "0")]:
        seen.page.get_by_role("slider", name="Units").fill(units)
        seen.page.get_by_role("slider", name="Margin").fill(margin)
        seen.settle()
        h = pre_activations(bench, int(units))
        wanted = [float(t) for t in bre_gan.bre_terms(h, margin=float(margin))]
        got = seen.page.locator(".dgm-bench").get_attribute("data-terms").split()
        assert [float(v) for v in got] == pytest.approx(wanted, abs=1e-6)
        joint = float(bre_gan.pattern_entropy(h > 0))
        assert f"{joint:.3f} nats" in seen.page.locator(".dgm-bench dl").inner_text()
        signs = seen.page.locator(".dgm-pb-bit:not(.dgm-pb-none)").evaluate_all(
            "all => all.map(n => n.classList.contains('dgm-pb-on'))"
        )
        assert signs == (h > 0).flatten().tolist()


def test_a_point_is_chosen_and_moved_by_keyboard_or_dragged(opened):
    seen = opened(PatternBench())
    seen.settle()
    pad = seen.page.locator(".dgm-pad")
    dots = seen.page.locator(".dgm-pb-dot")

    def where():
        return {
            node.text_content(): node.get_attribute("transform")
            for node in (dots.nth(i) for i in range(dots.count()))
        }

    before = where()
    pad.press("4")
    pad.press("Shift+ArrowRight")
    seen.settle()
    after = where()
    assert [k for k in before if before[k] != after[k]] == ["4"]
    assert seen.page.get_by_role("combobox", name="Arrow keys move").input_value() == "3"
    box = seen.page.locator(".dgm-pb-dot", has_text="2").bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + 60, box["y"] - 40, steps=4)
    seen.page.mouse.up()
    seen.settle()
    assert [k for k in after if after[k] != where()[k]] == ["2"]
    button(seen, "Reset").click()
    seen.settle()
    assert where() == before


def test_the_presets_show_what_each_term_sees(opened):
    seen = opened(PatternBench(margin=1.0))

    def pressed(name):
        button(seen, name).click()
        seen.settle()
        return [
            float(v) for v in seen.page.locator(".dgm-bench").get_attribute("data-terms").split()
        ]

    eta = 1 / math.sqrt(10)
    assert pressed("Collapse") == pytest.approx([1, 1 - eta], abs=0.05)
    balanced, correlated = pressed("Two camps")
    assert balanced < 0.1
    assert correlated > 0.4
    assert "2 of 8 differ" in seen.page.locator(".dgm-bench dl").inner_text()
    spread = sum(pressed("Spread"))
    assert sum(pressed("Lower BRE")) < spread
    lines = seen.page.locator(".dgm-pb-line").first
    before = lines.get_attribute("d")
    button(seen, "Other lines").click()
    seen.settle()
    assert lines.get_attribute("d") != before
    seen.assert_clean()


def test_pairs_beyond_the_margin_are_hatched(opened):
    seen = opened(PatternBench(margin=1.0))
    seen.settle()
    hatched = ".dgm-pb-over:not([style*='none'])"
    assert seen.page.locator(hatched).count() == 2 * 18
    seen.page.get_by_role("slider", name="Margin").press("End")
    seen.settle()
    assert seen.page.locator(hatched).count() == 2


@pytest.mark.timing
def test_a_frame_of_the_bench_takes_less_than_sixteen_milliseconds(
    opened, record_testsuite_property
):
    seen = opened(PatternBench())
    p95 = seen.p95(16)
    record_testsuite_property("bench_frame_p95_ms", p95)
    assert p95 < 16


# Both


# The dark page differs by its colours alone.
@pytest.mark.parametrize(("theme", "rules"), [("light", []), ("dark", ["color-contrast"])])
def test_axe_finds_nothing(opened, theme, rules):
    seen = opened(playground(), PatternBench(), theme=theme)
    seen.settle()
    assert seen.axe(*rules) == ""


def test_a_narrow_page_needs_no_horizontal_scroll(opened):
    seen = opened(playground(), PatternBench(), viewport={"width": 360, "height": 740})
    seen.settle()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    right = "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    assert seen.page.locator(".dgm *:not(.dgm-status)").evaluate_all(right) <= 360
    tops = "all => all.map(one => one.getBoundingClientRect().top)"
    first, second = seen.page.locator(".dgm-gan-plane").evaluate_all(tops)
    assert second > first + 200


def test_the_planes_are_redrawn_when_the_theme_changes(opened):
    seen = opened(playground())
    seen.settle()
    light = seen.pictures()
    seen.page.evaluate(
        """() => {
            const { style, dataset } = document.documentElement;
            style.setProperty("--pst-color-text-base", "#ced6dd");
            style.setProperty("--pst-color-text-muted", "#9ca4af");
            dataset.theme = "dark";
        }"""
    )
    seen.settle()
    assert all(a != b for a, b in zip(light, seen.pictures(), strict=True))


def test_text_from_python_is_never_read_as_html(opened):
    badge = "<img src=x onerror='document.title=1'>"
    target = eight() | {"label": badge}
    seen = opened(
        GANPlayground([target], badge, title=badge), PatternBench(badge=badge, title=badge)
    )
    assert seen.page.locator(".dgm-badge").all_inner_texts() == [badge] * 2
    assert seen.page.get_by_label("Target").locator("option").inner_text() == badge
    assert seen.page.locator(".dgm img").count() == 0


def test_bars_stay_in_forced_colours_and_in_print(opened):
    seen = opened(PatternBench())
    seen.settle()
    count, faded = seen.faded_marks()
    assert count > 2
    assert faded == []
