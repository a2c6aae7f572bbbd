"""What each widget refuses: settings out of range, and what it cannot be made of."""

import numpy as np
import pytest
import small_widgets as small
from traitlets import TraitError

REFUSED = (ValueError, TraitError, TypeError)
NAN, INF = np.nan, np.inf
OUT_OF_RANGE = {
    "RateDistortionExplorer": {"beta_index": [5, -1], "model": ["gan"]},
    "LatentSpace": {"z": [[NAN, 0.0], [0.0]]},
    "DamageLab": {"alpha": [1.0, -0.1], "blur": [4, -1]},
    "DrawADigit": {
        "drawing": [[[0.1]], [[]], [[0.1, 0.2, 0.3]], [[0.1, 1.2]], [[0.1, NAN]], [[0.5] * 8002]],
        "temperatures": [31],
        "seed": [-1, 10_000],
    },
    "BoundRace": {
        "correlation": [-0.1, 1.0, NAN],
        "dimension": [0, 21],
        "batch": [1, 48, 512],
        "seed": [-1, 10_000],
    },
    "RamlLottery": {
        "set": ["none"],
        "anchor": [-1, 2],
        "critic": ["none"],
        "p": [0.01, 1.0, NAN],
        "temperature": [0.0, INF],
    },
    "Storyteller": {"opening": ["a" * 201], "temperature": [0.1, NAN], "seed": [-1]},
    "NextSentenceQuiz": {"answers": [[2], [0] * 6], "first": [5, -1]},
    "GANPlayground": {
        "target": ["two"],
        "seed": [-1],
        "width": [1, 33],
        "weight": [2.5, NAN],
        "margin": [-0.1, NAN],
        "rate": [0.0, INF],
    },
    "PatternBench": {
        "points": [[[0.0, 2.0]] * 8, [[NAN, 0.0]] * 8, [0.0] * 8],
        "units": [1, 13],
        "margin": [3.1],
        "seed": [10_000],
    },
    "SentenceSteering": {
        "target": [[0.5, 0.5, 0.5], [-0.5, 0.5, 1], [1.0, 0.0], [NAN, 0, 1]],
        "effort": [0, 6],
        "sentence": ["a" * 2001],
    },
    "AttributeSwitch": {"example": [3], "place": [-1]},
    "LatentCliff": {"source": [2], "measure": ["mean"], "places": [[0], [0, 3]]},
    "PoolingRace": {
        "time": [-0.1, 1.1, NAN],
        "highlighted": ["none"],
        "shown": [["none"], ["max", "max"]],
        "axis": ["hours"],
    },
    "DispersionMicroscope": {"set": ["none"], "frame": [-1, 3], "highlighted": ["none"]},
    "InfluenceRuler": {"sentence": ["a" * 2001]},
    "TemperatureSlider": {"kind": ["median"], "position": [-1, 101], "sentence": ["a" * 2001]},
    "ParticleKalman": {
        "sequence": ["six"],
        "particles": [0, 65],
        "criterion": ["sometimes"],
        "seed": [-1],
    },
    "Chorale": {
        "model": ["GRU"],
        "temperature": [0.1, NAN],
        "tempo": [300],
        "length": [97],
        "seed": [-1],
    },
    "SwitchNow": {"steps": [0], "speed": [90], "seed": [-1], "schedule": [[[3, 0, 1.0]]]},
    "ScaleWeather": {"freeze": [0.03, 1.05], "seed": [10_000]},
}


@pytest.mark.parametrize(
    ("name", "trait"), [(name, trait) for name, traits in OUT_OF_RANGE.items() for trait in traits]
)
def test_a_setting_out_of_range_is_refused_and_changes_nothing(name, trait):
    widget = small.MAKERS[name]()
    before = getattr(widget, trait)
    for value in OUT_OF_RANGE[name][trait]:
        with pytest.raises(REFUSED, match=trait):
            setattr(widget, trait, value)
        assert getattr(widget, trait) == before


# What they are made of


def lacking(item, *names):
    return {name: value for name, value in item.items() if name not in names}


def kinds(**changes):
    return {"sets": [small.sentences(frames=small.frames(**changes))]}


def opening(frames):
    return {"openings": [{"name": "a", "label": "A", "frames": frames}]}


SEQUENCE = {"name": "a", "label": "A", "x": [0, 1]}
BAD = {
    "RateDistortionExplorer": [
        ({"image_shape": (5, 5)}, r"decodes to 16 pixels, image_shape \(5, 5\) has 25"),
        ({"references": np.ones((2, 16))}, r"should be \(3, 16\)"),
        ({"curves": [lacking(small.curve(), "log_z")]}, r"lacks \['log_z'\]"),
        ({"beta_index": 5}, r"0 \.\.\. 4"),
        *[
            ({"curves": [small.curve(**change)]}, message)
            for change, message in [
                ({"beta": np.ones(5)}, "ascending"),
                ({"rate": np.ones(4)}, r"curve 'vae2': rate has shape \(4,\)"),
                ({"log_z": np.full(5, NAN)}, "log_z holds values"),
                ({"codes": np.zeros((5, 3, 9))}, "R = 5, D = 2"),
                ({"codes": np.full((5, 3, 2), INF)}, "not finite"),
                ({"model": "vae9"}, "no model 'vae9'"),
            ]
        ],
        *[
            (
                {"curves": [small.curve() | first, lacking(small.curve("gan"), "codes") | second]},
                message,
            )
            for first, second, message in [
                ({"family": "VAE", "latent_dim": 2}, {}, "none has a family"),
                ({"family": "VAE", "latent_dim": 2}, {"family": "GAN"}, "none has a family"),
                (*[{"family": "VAE", "latent_dim": 2}] * 2, "two curves have the same family"),
                ({"family": "A", "latent_dim": 3}, {"family": "B", "latent_dim": 3}, "reads 2"),
                ({}, {"distortion": np.zeros(5)}, "above zero"),
            ]
        ],
    ],
    "LatentSpace": [
        ({"image_shape": (5, 5)}, r"decodes to 16 pixels, image_shape \(5, 5\) has 25"),
        ({"model": "vae3"}, "3 latent dimensions, not two"),
        ({"means": np.zeros((30, 3))}, r"should be \(N, 2\)"),
        ({"means": np.full((30, 2), NAN)}, "not finite"),
        ({"labels": np.zeros(29, int)}, "30 whole numbers"),
        ({"labels": np.zeros(30)}, "30 whole numbers"),
        ({"labels": np.arange(30)}, "at most 10"),
        ({"label_names": ["ant"]}, "1 names for labels"),
    ],
    "DamageLab": [
        ({"images": 0}, "images is 0"),
        ({"curves": lacking(small.damage(), "wide_log_z")}, r"lacks \['wide_log_z'\]"),
        *[
            ({"curves": small.damage(**change)}, message)
            for change, message in [
                ({"beta": small.DAMAGE_BETA[::-1]}, "ascending"),
                ({"blurs": (0.5, 1, 2, 3)}, "ascend from 0"),
                ({"likelihood_beta": 500.0}, r"500.0 should lie in 0.01 \.\.\. 100"),
                ({"wide_log_z": np.zeros((4, 13, 5))}, r"wide_log_z has shape \(4, 13, 5\)"),
                ({"narrow_log_z": np.zeros((4, 12, 6))}, r"\(4, 12, 6\), should be .* R = 13"),
                ({"wide_distortion": np.full((4, 13, 6), NAN)}, "wide_distortion holds values"),
            ]
        ],
    ],
    "DrawADigit": [
        ({"model": "vae9"}, "no model 'vae9'"),
        ({"image_shape": (5, 4)}, r"decodes to 16 pixels, image_shape \(5, 4\) has 20"),
        ({"presets": {}}, "no preset None"),
        ({"preset": "ten"}, "no preset 'ten'"),
        ({"presets": {"a": [[0, 0, 2, 0]]}}, "a stroke of 'a' should be x0, y0"),
        ({"betas": [1.0]}, "2 or more, ascending"),
        ({"betas": [1.0, 1.0]}, "2 or more, ascending"),
        ({"betas": [0.0, 1.0]}, "above 0"),
        ({"betas": [1.0, NAN]}, "2 or more"),
        ({"temperatures": []}, "at least 1, 2 and 1"),
        ({"temperatures": [0]}, "at least 1, 2 and 1"),
        ({"chains": 1}, "at least 1, 2 and 1"),
        ({"leapfrogs": 0}, "at least 1, 2 and 1"),
    ],
    "BoundRace": [({"batch": 48}, "batch"), ({"correlation": NAN}, "correlation")],
    "RamlLottery": [
        ({"sets": sets}, message)
        for sets, message in [
            ([], "at least one"),
            ([small.text(), small.text()], "each name once"),
            ([{"name": "a"}], r"'a' lacks \['anchors', 'label', 'scores', 'texts'\]"),
            ([small.text(anchors=[], scores={"c": []})], "at least one anchor"),
            ([small.text(scores={})], "one critic with a name"),
            ([small.text(scores={"": [[0, 1]] * 2})], "one critic with a name"),
            (
                [small.text(scores={"c": [[0, 1]]})],
                r"shape \(1, 2\), should be \(A, K\) with A = 2",
            ),
            ([small.text(scores={"c": [[0, 1]] * 2, "d": [[0, 1, 2]] * 2})], "d has shape"),
            ([small.text(scores={"c": [[0], [0]]})], "want 2 to 40"),
            ([small.text(scores={"c": [[0, NAN]] * 2})], "not finite"),
            ([small.text(anchors=[0, 7])], "have 7 scores each, but its text has 14"),
            ([small.text(anchors=[-1, 0])], "anchors .-1"),
            ([small.text(), small.text("b", scores={"c": [[0, 1]] * 2})], "the same critics"),
            ([small.text(texts=["x" * 20_000] * 14)], "at most 400 of 200,000"),
        ]
    ],
    "Storyteller": [
        ({"openings": []}, "at least one"),
        ({"openings": "the sea"}, "a list of texts"),
        ({"openings": ["the", " "]}, "none empty"),
        ({"openings": ["a" * 201]}, "at most 200 characters, got 201"),
        ({"opening": "a" * 201}, "at most 200"),
        ({"n_sentences": 1}, "want 2 to 40"),
        ({"themes": {}}, "want 1 to 8"),
        ({"themes": {"a": ["sea"], "b": ["sea"]}}, "no word twice"),
        ({"themes": {"a": []}}, "at least one word each"),
        (
            {
                "weights": small.language_weights(
                    models=dict.fromkeys("abc", small.language_arrays())
                )
            },
            "or two",
        ),
        ({"curves": {"exact": [1, 2]}}, r"curves lack \['distances', 'models', 'stay'\]"),
        *[
            ({"curves": small.information(**change)}, message)
            for change, message in [
                ({"models": {}}, "want those of the models"),
                (
                    {"models": {name: {"mean": [1, 2]} for name in small.NAMES}},
                    r"lacks \['low', 'high'\]",
                ),
                ({"distances": [2, 1]}, "ascending"),
                ({"distances": [0, 1]}, "above 0"),
                ({"exact": [1, NAN]}, "exact holds values that are not finite"),
                ({"stay": 1.1}, "a share from 0 to 1"),
            ]
        ],
    ],
    "NextSentenceQuiz": [
        ({"rounds": 6}, "want 1 to 5"),
        *[
            ({"questions": questions}, message)
            for questions, message in [
                ([], "0 questions: want 1 to 500"),
                ([small.question()] * 501, "501 questions"),
                ([lacking(small.question(), "options")], r"question 0 lacks \['options'\]"),
                ([small.question(options=["a"])], "two options"),
                ([small.question(options=["a", " "])], "none empty"),
                (
                    [small.question(), small.question(answer=2)],
                    "question 1: answer is 2, want 0 or 1",
                ),
                (
                    [small.question(), small.question(scores={"a": [1, 2]})],
                    r"\['a'\], want \['a', 'b'\]",
                ),
                ([small.question(scores={"a": [1, NAN]})], "not finite"),
                ([small.question(scores={"a": [1, 2, 3]})], r"should be \(2\)"),
                ([small.question(scores={name: [1, 2] for name in "abcd"})], "at most 3"),
                ([small.question(scores={"you": [1, 2]})], "none named 'you'"),
            ]
        ],
    ],
    "GANPlayground": [
        ({"steps": 10}, "at least 100"),
        ({"speed": 1}, "no speed"),
        *[
            ({"targets": targets}, message)
            for targets, message in [
                ([], "at least one"),
                ([small.target(), small.target()], "each name once"),
                ([lacking(small.target(name="a"), "sigma")], r"'a' lacks \['sigma'\]"),
                ([small.target(centres=np.zeros((3, 3)))], r"\(3, 3\), should be \(M, 2\)"),
                ([small.target(centres=np.zeros((65, 2)))], "1 to 64"),
                ([small.target(centres=np.zeros((0, 2)))], "should be"),
                ([small.target(centres=[[NAN, 0]])], "finite"),
                ([small.target(sigma=0)], "sigma above 0"),
                ([small.target(sigma=INF)], "finite"),
            ]
        ],
    ],
    "PatternBench": [
        ({"points": np.zeros((1, 2))}, "K from 2 to 9"),
        ({"points": np.zeros((3, 3))}, r"want \(K, 2\)"),
        ({"points": np.full((3, 2), 1.6)}, "within"),
        ({"zeta": 0}, "above 0"),
        ({"lines": 3}, "no lines"),
    ],
    "SentenceSteering": [
        ({"examples": []}, "at least one"),
        ({"examples": "the pizza"}, "list of sentences"),
        ({"examples": ["  "]}, "none empty"),
        ({"margins": (0.1, 0.5)}, "fall from large"),
        ({"margins": ()}, "fall from large"),
        ({"threshold": 0.0}, "threshold"),
        ({"names": ("a", "b")}, "three"),
        ({"target": (0.5, 0.2, 0.2)}, "sum to 1"),
        ({"points": np.zeros((4, 2)), "point_labels": None}, r"\(N, 3\)"),
        ({"points": np.full((30, 3), NAN)}, "finite"),
        ({"point_labels": np.zeros(4)}, r"should be \(30,\)"),
    ],
    "LatentCliff": [
        ({"models": [lacking(small.walk(), "axis")]}, r"lacks \['axis'\]"),
        *[
            ({"models": [small.walk(**change)]}, message)
            for change, message in [
                ({"steps": [0, 0, 1]}, "ascending"),
                ({"sentences": [["a", "b", "c"]]}, "2 lists of 3"),
                ({"log_mean": np.zeros((2, 2))}, "'VAE': log_mean has shape"),
                ({"mean_log": np.full((2, 3), INF)}, "'VAE': mean_log holds"),
                ({"reading": np.zeros(3)}, "'VAE': reading has shape"),
                ({"original": {"log_mean": [], "mean_log": [1]}}, "of 'VAE': log_mean"),
                ({"origin": 3}, "origin 3"),
            ]
        ],
    ],
    "PoolingRace": [
        ({"runs": runs}, message)
        for runs, message in [
            ([], "at least one"),
            ([small.run(), small.run()], "each name once"),
            ([lacking(small.run("a"), "group")], r"'a' lacks \['group'\]"),
            ([small.run(group="cure")], "group in .*, got 'cure'"),
            ([small.run("")], "want a name"),
            ([small.run(measured=[])], "seconds of run 'max'=.*1 or more"),
            ([small.run(measured=[{"step": 1}])], "needs 'seconds' and 'step'"),
            ([small.run(measured=[small.row(2), small.row(1)])], "seconds of run 'max'.*ascending"),
            (
                [small.run(measured=[small.row(1, 0), small.row(1, 1)])],
                "step of run 'max'.*ascending",
            ),
            ([small.run(measured=[small.row(1, NAN)])], "ascending"),
            (
                [small.run(measured=[small.row(1), small.row(2, kl=INF)])],
                "kl of run 'max' is infinite in row 1",
            ),
        ]
    ],
    "DispersionMicroscope": [
        (kinds(max={"steps": [0]}), "'max' of set 'yelp' lacks"),
        (kinds(max=small.moments(steps=(0, 1, 2))), "those of 'last'"),
        (kinds(mean=small.moments(m=5)), r"should be \(E, 12, 2\)"),
        (kinds(mean=small.moments(points=np.full((3, 12, 2), NAN))), "finite"),
        (kinds(mean=small.moments(cosine=[0, INF, 1])), "cosine holds"),
        ({"sets": []}, "at least one"),
        ({"sets": [small.sentences(), small.sentences()]}, "each name once"),
        ({"sets": [lacking(small.sentences("a"), "label")]}, r"'a' lacks \['label'\]"),
        *[
            ({"sets": [small.sentences(**change)]}, message)
            for change, message in [
                ({"classes": list("abcdefghij")}, "1 to 9 names"),
                ({"classes": ["a", "a", "other"]}, "each once"),
                ({"class_of": np.zeros((3, 2), int)}, r"\(M,\) whole numbers"),
                ({"class_of": np.zeros(12)}, r"\(M,\) whole numbers"),
                ({"class_of": np.arange(12)}, r"in 0 ... 2"),
                ({"texts": ["a"]}, "None or 12"),
                ({"frames": {"last": small.moments()}}, r"want \['last', 'mean', 'max'\]"),
                ({"steps": (0, 0, 1)}, "ascending"),
                ({"m": 4000, "steps": range(20)}, "at most 280000"),
            ]
        ],
    ],
    **{
        name: [
            ({"examples": []}, "at least"),
            ({"examples": "the pizza"}, "list of sentences"),
            ({"examples": ["  ", "a"]}, "none empty"),
            ({"examples": ["the pizza"] * 101}, "at most 100"),
        ]
        for name in ("InfluenceRuler", "TemperatureSlider")
    },
    "ParticleKalman": [
        ({"sequences": []}, "at least one"),
        ({"sequences": [SEQUENCE] * 2}, "each name once"),
        ({"sequences": [{"name": "a"}]}, r"'a' lacks \['label', 'x'\]"),
        *[
            ({"sequences": [SEQUENCE | {"x": x}]}, "2 to 40 finite")
            for x in ([1.0], [0.0] * 41, [0, NAN])
        ],
    ],
    "Chorale": [
        ({"weights": small.piano_weights(87)}, "has 87 bernoulli outputs: want 88 bernoulli"),
        ({"openings": []}, "one or more"),
        ({"openings": opening([[60]])["openings"] * 2}, "each name once"),
        ({"openings": [{"name": "a"}]}, r"'a' lacks \['frames', 'label'\]"),
        ({"opening": "major!"}, "want one of"),
        (opening([]), "0 frames: want 1 to 16"),
        (opening([[60]] * 17), "17 frames: want 1 to 16"),
        (opening([[60], [20]]), "frame 1 .* 21 to 108"),
        (opening([[60.5]]), "21 to 108"),
        (opening([[NAN]]), "21 to 108"),
        (opening([60]), "want a list of MIDI numbers, got 60"),
    ],
    "SwitchNow": [
        ({"matrices": np.zeros((3, 2))}, "matrices have shape"),
        ({"matrices": np.zeros((13, 2, 2))}, "K from 2 to 12"),
        ({"matrices": np.full((3, 2, 2), NAN)}, "finite"),
        ({"models": ["VHRNN"]}, "want two names"),
        ({"models": ["VHRNN", "that"]}, "no model 'that'"),
        ({"deviations": [1.0, 0.25]}, "ascend"),
        ({"deviations": []}, "ascend"),
        ({"schedule": [[0, 11, 1.0]]}, "a place below 10"),
        ({"schedule": [[0, 0, 2.0]]}, "one of 0.25, 1.0, 4.0"),
        ({"n_particles": 0}, "n_particles=0: want 1 to 256"),
        ({"window": 500}, "window=500"),
        ({"hazard": 1.0}, "hazard=1"),
        ({"bound": 0.5}, "bound=0.5"),
        (
            {
                "weights": small.hyper_weights(
                    models={"it": small.described(small.recurrent()["VHRNN"])}
                )
            },
            "want a vrnn",
        ),
        (
            {"weights": small.hyper_weights(models={"a": small.described(small.piano())})},
            "has 88 bernoulli outputs: want 2 gaussian|want a vrnn",
        ),
    ],
    "ScaleWeather": [
        ({"model": "VRNN"}, "want a vhrnn"),
        ({"steps": 5}, "steps=5: want 20 to 200"),
        ({"n_particles": 0}, "n_particles=0"),
        (
            {"weights": small.hyper_weights(models={"piano": small.described(small.piano())})},
            "has 88 bernoulli outputs: want 2 gaussian",
        ),
    ],
}
BAD["TemperatureSlider"].append(({"examples": small.EXAMPLES[:1]}, "at least two"))


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(name):
    for changes, message in BAD[name]:
        with pytest.raises(REFUSED, match=message):
            small.MAKERS[name](**changes)


def test_a_bench_keeps_its_number_of_points():
    with pytest.raises(REFUSED, match="7 points, the bench was made for 8"):
        small.MAKERS["PatternBench"]().points = [[0.0, 0.0]] * 7


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_nothing_is_made_with_a_setting_out_of_range(name):
    for trait, values in OUT_OF_RANGE[name].items():
        if (name, trait) in {("NextSentenceQuiz", "answers"), ("NextSentenceQuiz", "first")}:
            continue
        for value in values:
            with pytest.raises(REFUSED):
                small.MAKERS[name](**{trait: value})
