"""Chapter 6: tables and claims on made-up results, its page and verification on trained ones."""

import copy
import json
import re

import pytest
import torch

from dgm.data.dynamics import SUITES
from dgm.papers import variational_hyper_rnn as paper
from dgm_book import profiles
from dgm_book.chapters import all_claims
from dgm_book.chapters.variational_hyper_rnn import page
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.results import Result
from dgm_book.widgets.hyper_weights import HyperWeights, rounded

SMOKE, SMALL = profiles.get("smoke"), profiles.get("small", "cpu")
EXACT = -2.0  # nats per step, of the made-up oracle
LIVE = {"VHRNN 4": 1424, "VRNN 6": 1204, "VRNN 8": 2068, "VRNN 6 matched": 1456}
LONG = "switching-long"


def made_up(dataset, model, seed, level, rise=None, follows=0.8, n_weights=100):
    """A result whose bounds are at a level, and whose KL divergence rises so far at a switch."""
    level = level + 1e-3 * seed
    rise = 1.0 + model.startswith("VHRNN") if rise is None else rise
    final = {
        "fivo": [level - 0.01, level + 0.01],
        "fivo_many": level + 0.1,
        "by_sequence": [level - 0.5, level + 0.5, level + 0.3],
        "by_sequence_many": [level - 0.4, level + 0.6, level + 0.4],
        "n_sequences": 3,
        "live": n_weights,
    }
    rows = [{"epoch": i, "validation": level - 1 / i} for i in (1, 2)]
    values = {"n_training": 5, "rows": rows, "final": final}
    if model != "HyperLSTM":
        final["as_published"] = n_weights + 7
        far = [level - 1e9, *20 * [level], level + 0.2]  # one sequence explodes
        values["suites"] = {name: {"few": far} for name in SUITES[1:]}
        kl = 10 * [1.0] + 5 * [1.0 + rise] + 5 * [1.0 + rise / 2] + 10 * [1.0 + rise / 4]
        at = {"kl": [v + 1e-3 * seed * v for v in kl]}
        values["switches"] = {"offsets": list(range(-10, 20)), "test": at, "switch": at}
        values["switches"]["follows_noise"] = [follows + 1e-3 * seed, follows]
    provenance = {"seed": seed, "profile": "small", "device": "a machine", "data": {}}
    return Result(experiment.run_name(dataset, model, seed), values, {}, provenance, True)


def level_of(model):
    """VHRNN is better everywhere, and below the oracle."""
    return EXACT - (1.0 if model.startswith("VHRNN") else 2.0)


@pytest.fixture
def small():
    recipe, sets = plan.RECIPES["small"], {}
    longest = {(page.LONGEST, model): None for model in plan.LONGEST}
    recipe = recipe._replace(seeds={**recipe.seeds, **longest})
    for dataset, model, n in experiment.runs(SMALL, recipe):
        is_large = dataset == "jsb" and model.startswith("VHRNN")
        n_weights = 110 if is_large else LIVE.get(model, 100)
        result = made_up(dataset, model, n, level_of(model), n_weights=n_weights)
        sets.setdefault(dataset, {}).setdefault(model, []).append(result)
    exact = {"test": [EXACT - 0.5, EXACT + 0.5, EXACT]}
    like = sets["switching"]["VRNN 6"][0]._replace
    named = {name: like(values=values) for name, values in references(sets, recipe).items()}
    return page.Chapter(SMALL, recipe, sets, like(name="switching-oracle", values=exact), named)


def references(sets, recipe, probed=0.9):
    """Made-up lines, probes of both models, and walks; models are above what has no memory."""
    steps = {"start": [-5.0 + 0.01 * t for t in range(50)], "switch": 30 * [-3.0]}
    accuracy = {"forest": [0.2, 0.3, 0.4, 0.5], "logistic": 4 * [0.1], page.EXACT: 4 * [1.0]}
    lines = {"steps": [2, 10, 30, 49], "accuracy": accuracy, "n": 400, "validation": [-4.0, -2.0]}
    lines |= {"by_sequence": [-4.5, -4.5], "suites": dict.fromkeys(SUITES, -4.0), "rand": -3.0}
    values = {"switching-lines": lines | dict.fromkeys((page.NO_MEMORY, page.EXACT), steps)}
    for model, run in ((m, r) for m in plan.PAIR[LONG] for r in sets[LONG][m]):
        own = 0.01 * run.provenance["seed"] + (probed if model.startswith("VHRNN") else 0.4)
        forest = {"forest": 4 * [own], "logistic": 4 * [0.1]}
        values[f"{run.name}-probe"] = {"accuracy": forest, "by_step": steps}
    measures = dict.fromkeys(("notes", "triads", "moves", "lowest", "highest"), (60.0, 0.5))
    wrote = dict.fromkeys(("pieces", "keys", *plan.PAIR["jsb"]), measures)
    values["jsb-sound"] = {"n": 77, "measures": wrote}
    return values | {f"{name}-walk": {"per_step": -5.0} for name in experiment.walks(recipe)}


def replaced(chapter, dataset, model, results):
    models = {**chapter.sets[dataset], model: results}
    return chapter._replace(sets={**chapter.sets, dataset: models})


def changed(chapter, dataset, model, seeds=None, **changes):
    old = chapter.sets[dataset][model]
    changes = {"level": level_of(model), "n_weights": old[0].values["final"]["live"]} | changes
    seeds = range(len(old)) if seeds is None else seeds
    return replaced(chapter, dataset, model, [made_up(dataset, model, n, **changes) for n in seeds])


def with_values(chapter, dataset, model, group, **changes):
    new = copy.deepcopy(chapter.sets[dataset][model])
    for result in new:
        result.values[group] |= changes
    return replaced(chapter, dataset, model, new)


def first_seed(chapter):
    sets = {k: {m: runs[:1] for m, runs in models.items()} for k, models in chapter.sets.items()}
    return chapter._replace(sets=sets)


def claims(chapter):
    return {claim.id: claim for claim in page.claims(chapter)}


def verdict(chapter, id_):
    return claims(chapter)[id_].verdict


def assert_no_cell_is_empty(chapter):
    controls = [name for name in plan.MAIN[1:] if name in chapter.models]
    tables = [page.table(chapter, dataset) for dataset in chapter.sets] + [page.suites(chapter)]
    tables += [page.suite_differences(chapter, name) for name in controls]
    for head, rows in (*tables, *(table[:2] for table in page.real_tables(chapter))):
        assert rows
        assert all(len(row) == len(head) for row in rows)
        for cell in (*head, *(cell for row in rows for cell in row)):
            assert cell.strip()
            assert not re.search("nan|inf", cell)


class TestTables:
    def test_rise_and_decay_of_the_divergence(self):
        result = made_up("switching", "VHRNN 4", 0, 0.0, rise=2.0)
        assert page.kl_change(result, "test", page.BEFORE) == pytest.approx(2.0)
        assert page.kl_change(result, "switch", page.AFTER) == pytest.approx(1.5)

    def test_a_trimmed_mean_leaves_a_tenth_out_at_either_end(self, small):
        values = [-1e9, *(float(i * i) for i in range(1, 19)), 1e9]
        chapter = with_values(small, LONG, "VHRNN 4", "suites", rand={"few": values})
        (result, *_) = chapter.models["VHRNN 4"]
        assert page.read(result, "rand trimmed mean") == sum(i * i for i in range(2, 18)) / 16

    def test_cells(self, small):
        assert_no_cell_is_empty(small)
        assert_no_cell_is_empty(first_seed(small))
        by_model = {row[0]: row[1:] for row in page.table(small, LONG)[1]}
        expected = ["1,431", "1,424", "-2.999 ± 0.001", "-2.899 ± 0.001", "3", "-4.68"]
        assert by_model["VHRNN 4"] == expected
        assert by_model["HyperLSTM"][0] == "not in the paper"
        assert by_model["exact Bayes"][2] == "-2.000"
        assert by_model[page.MIXTURE][2] == "-4.500"
        assert not by_model.keys() & set(plan.SINGLE)  # one seed, in a table of three
        assert page.identification(small)[1][0][1:] == [*4 * ["0.91 ± 0.01"], "3"]
        # One of 22 sequences explodes: it takes the mean away, and nothing else.
        _, rows = page.suite_differences(small, "VRNN 8")
        assert [row[0] for row in rows] == list(SUITES[1:])
        assert [row[1:3] for row in rows] == 6 * [2 * ["+1.000 [+1.000, +1.000]"]]

    def test_badges(self, small):
        for key, parts in page.evidence(small).items():
            assert parts
            assert page.badge(small, key).startswith("profile small · ")
        first, *rest = small.sets["switching"]["VRNN 8"]
        stale = replaced(small, "switching", "VRNN 8", [first._replace(current=False), *rest])
        assert page.badge(stale, "switching").endswith("earlier code")

    def test_pictures(self, small):
        longer, longest = page.page_course(small)
        assert list(longest["lines"])[:3] == list(plan.LONGEST[::-1])
        assert longer["title"] == "75 epochs"
        assert longer["lines"]["VRNN 6 matched"][2] == ([1, 2], pytest.approx([-4.998, -4.498]))
        assert longer["lines"][page.EXACT] == [([1, 2], [-2.0, -2.0])]
        start, switch = page.page_by_step(small)
        assert start["lines"][page.NO_MEMORY] == [
            (list(range(1, 50)), pytest.approx([-4.99 + 0.01 * t for t in range(49)]))
        ]
        assert [len(seeds) for seeds in switch["lines"].values()] == [3, 3, 1, 1]
        for panel in page.page_around(small):
            assert panel["lines"].keys() == set(plan.PAIR["switching"])


class TestClaims:
    def test_all_are_judged_and_one_seed_gives_no_verdict_of_a_method(self, small):
        for chapter in (small, first_seed(small)):
            judged = claims(chapter)
            for claim in judged.values():
                assert claim.chapter == experiment.CHAPTER
                assert claim.scale
                assert not re.search("nan|inf(?!erence)", claim.measured)
        for id_ in ("exact_bayes", "counts"):
            del judged[id_]
        assert {claim.verdict for claim in judged.values()} == {"not tested"}

    def test_other_sets_are_judged_by_seeds_and_only_above_the_line(self, small):
        verdicts = {
            name.replace("-", "_"): "not tested" for name in plan.OTHERS
        }  # one seed or none
        verdicts |= dict.fromkeys(("stocks", "exchange_rates"), "holds")
        assert {name: verdict(small, name) for name in verdicts} == verdicts
        line = small.named["stocks-walk"]._replace(values={"per_step": -3.5})
        above = small._replace(named={**small.named, "stocks-walk": line})
        assert verdict(above, "stocks") == "not tested"

    def test_the_switching_system_is_judged_only_above_a_mixture_without_memory(self, small):
        line = small.named["switching-lines"]
        line = line._replace(values=line.values | {"by_sequence": [-3.9]})
        above = small._replace(named={**small.named, "switching-lines": line})
        assert {verdict(above, id_) for id_ in ("switching", "around_switches")} == {"not tested"}

    @pytest.mark.parametrize(("probed", "expected"), [(0.9, "holds"), (0.4, "does not hold")])
    def test_identification(self, small, probed, expected):
        values = references(small.sets, small.recipe, probed)
        like = small.truth._replace
        named = {name: like(values=each) for name, each in values.items()}
        assert verdict(small._replace(named=named), "identification") == expected

    @pytest.mark.parametrize(
        ("dataset", "control"),
        [("switching", model) for model in plan.MAIN[1:]]
        + [(LONG, model) for model in ("VRNN 8", "VRNN 6 matched")],
    )
    def test_switching(self, small, dataset, control):
        """Each of two claims depends on its own runs."""
        ids = {"switching": "switching_short", LONG: "switching"}
        assert {verdict(small, id_) for id_ in ids.values()} == {"holds"}
        as_good = changed(small, dataset, control, level=level_of("VHRNN 4"))
        many_particles = with_values(small, dataset, control, "final", fivo_many=0.0)
        for chapter in (as_good, many_particles):
            for name, id_ in ids.items():
                assert verdict(chapter, id_) == ("does not hold" if name == dataset else "holds")

    @pytest.mark.parametrize("name", SUITES[1:])
    def test_extrapolation(self, small, name):
        assert verdict(small, "extrapolation") == "holds"
        for values, expected in (
            (22 * [-9.0], "does not hold"),
            ([-1e30, -1e30, *20 * [-3.0]], "holds"),
        ):
            chapter = with_values(small, LONG, "VHRNN 4", "suites", **{name: {"few": values}})
            assert verdict(chapter, "extrapolation") == expected

    def test_exact_bayes(self, small):
        assert verdict(small, "exact_bayes") == "holds"
        assert "VHRNN 4" in claims(small)["exact_bayes"].measured
        exact = small.truth.values["test"]
        above = [v + 0.1 for v in exact]
        noisy = [exact[0] + 1, exact[1] - 1, exact[2] + 0.1]
        for values, expected in ((above, "does not hold"), (noisy, "undecided")):
            chapter = with_values(small, LONG, "VRNN 8", "final", by_sequence_many=values)
            assert verdict(chapter, "exact_bayes") == expected

    @pytest.mark.parametrize("size", plan.MATCHED)
    def test_chorales(self, small, size):
        ids = ("same_size", "same_weights")
        assert {verdict(small, id_) for id_ in ids} == {"not tested"}  # one seed
        for model in plan.TABLE_TWO:
            small = changed(small, "jsb", model, range(3))
        for control, expected in (
            (f"VRNN {size}", ["undecided", "holds"]),
            (f"VRNN {plan.MATCHED[size]} matched", ["holds", "undecided"]),
        ):
            chapter = changed(small, "jsb", control, level=level_of("VHRNN") + 3)
            assert [verdict(chapter, id_) for id_ in ids] == expected

    @pytest.mark.parametrize(
        ("dataset", "ids", "controls"),
        [
            (page.LONGEST, ("switching_longest", "linear_path"), (page.CONTROL, page.LINEAR)),
            (page.LONG, ("same_size_long", "same_weights_long"), ("VRNN 28", "VRNN 31 matched")),
        ],
    )
    def test_long_training_against_either_control(self, small, dataset, ids, controls):
        for control, expected in zip(
            controls, (["does not hold", "holds"], ["holds", "does not hold"]), strict=True
        ):
            chapter = changed(small, dataset, control, level=level_of("VHRNN") + 1)
            assert [verdict(chapter, id_) for id_ in ids] == expected

    def test_counts(self, small):
        assert claims(small)["counts"].measured.count("10.0%") == 3
        for size in plan.MATCHED:
            assert verdict(small, "counts") == "does not hold"
            small = changed(small, "jsb", f"VHRNN {size}", n_weights=104)
        assert verdict(small, "counts") == "holds"

    @pytest.mark.parametrize(
        ("id_", "model", "changes", "expected"),
        [
            ("around_switches", "VHRNN 4", {"rise": 0.0}, "does not hold"),
            ("around_switches", "VRNN 6 matched", {"rise": -1.0}, "holds"),
            ("deviations", "VHRNN 4", {"follows": 0.1}, "not tested"),  # nor is the baseline beaten
            ("latent_variable", "HyperLSTM", {"level": -1.0}, "does not hold"),
        ],
    )
    def test_the_longest_runs(self, small, id_, model, changes, expected):
        assert verdict(small, id_) == "holds"
        assert verdict(changed(small, LONG, model, **changes), id_) == expected

    def test_nothing_published_claims_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
        assert all_claims() == []


@pytest.fixture(scope="module")
def recipes(work, smoke_results):
    """The chapter at smoke size, or shorter where it is trained here; with a folder of results."""
    recipe = plan.RECIPES["smoke"]
    if smoke_results:
        work.setenv("DGM_RESULTS", smoke_results)
    else:
        training = {name: t._replace(epochs=1) for name, t in recipe.training.items()}
        recipe = recipe._replace(sequences=(32, 16, 24), training=training)
    return {"smoke": recipe}


@pytest.fixture(scope="module")
def chapter(recipes):
    return page.chapter("smoke", recipes=recipes)


class TestSmoke:
    def test_the_chapter_is_whole(self, chapter, small):
        pairs = {(d, m) for d in ("switching", "tunes") for m in plan.PAIR[d]}
        assert {(d, m) for d, models in chapter.sets.items() for m in models} == pairs
        assert not any("earlier code" in page.badge(chapter, key) for key in chapter.sets)
        assert_no_cell_is_empty(chapter)
        # Of sets that were not run there are no claims, and one seed gives no verdict.
        judged = claims(chapter)
        assert len(judged) == 6
        assert judged.pop("exact_bayes").verdict == "holds"
        assert {claim.verdict for claim in judged.values()} == {"not tested"}
        assert len(page.page_course(chapter)) == 1
        assert page.real_tables(chapter) == []
        for each in (chapter, small, first_seed(small)):
            assert not re.search("nan|{", " ".join(page.prose_values(each).values()))

    @pytest.mark.parametrize("dataset", ["switching", "tunes"])
    def test_models_travel_with_the_page(self, chapter, dataset):
        """Golden vectors are what PyTorch computes with the weights that the page has."""
        models = page.page_models(chapter, dataset)
        arrays = rounded(models)
        golden = page.page_golden(chapter, dataset, arrays)
        weights = HyperWeights(models, golden=golden)
        for name, model in zip(plan.KINDS, plan.PAIR[dataset], strict=True):
            result = chapter.sets[dataset][model][0]
            net = experiment.reread(result, dataset, model, chapter.recipe)
            net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays[name].items()})
            vectors = {key: torch.from_numpy(v) for key, v in golden[name].items()}
            trace = paper.trace(net.double(), vectors["x"], vectors["noise"])
            for key in vectors.keys() - {"x", "noise"}:
                assert torch.equal(getattr(trace, key), vectors[key])
        assert golden["VHRNN"]["scales"].shape[-1] == 12 * weights.describe("VHRNN")["h"]

    def test_published_numbers_are_verified_and_others_are_not(self, chapter, recipes, monkeypatch):
        rows = experiment.verify(SMOKE, recipes)
        assert len(rows) == 6
        assert [row["what"] for row in rows if not row["ok"]] == []
        json.dumps(rows, allow_nan=False)
        variant, control = (chapter.models[name][0] for name in plan.PAIR["switching"])
        # Beyond four standard errors, other weights, and another oracle.
        shifted = [row["recomputed"] + 4.5 * row["standard_error"] for row in rows[:2]]
        final = {**variant.values["final"], "fivo": shifted[:1], "fivo_many": shifted[1]}
        last = max(k for k in control.tensors if k.startswith("decoder") and "bias" in k)
        other = {
            variant.name: {"values": variant.values | {"final": final}},
            control.name: {"tensors": control.tensors | {last: control.tensors[last] + 3}},
            "switching-oracle": {"values": {"test": [v + 2e-4 for v in chapter.exact.tolist()]}},
            f"{variant.name}-probe": {"values": {"by_step": {"start": [9.0]}}},
        }
        get = experiment.results.get
        replace = lambda name, *a, **b: get(name, *a, **b)._replace(**other.get(name, {}))  # noqa: E731
        monkeypatch.setattr(experiment.results, "get", replace)
        assert [check["ok"] for check in experiment.verify(SMOKE, recipes)] == 6 * [False]
