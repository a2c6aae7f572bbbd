// Switch now: two models and exact Bayes follow a linear system whose dynamics the reader switches.

import "../styles/hyper_rnn.css";
import { decimals, labelledSlider, pushButton, radioRow } from "../controls.js";
import {
  buildFrame,
  calm,
  element,
  italic,
  MARKS,
  onceAFrame,
  onWidth,
  readout,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { showGoldenError } from "../golden.js";
import { fillUniforms, loadHyper } from "../models/hyper_rnn.js";
import { exactBayes, follower, inForce, STREAM, spanFor, switchingSystem } from "../models/switching.js";
import { bandPath, linePath, meanOf, timePanel } from "../panels.js";

const FOLLOWED = ["seed", "steps", "schedule", "speed"];
const MOST_STEPS = 10000;
const AFTER = 25; // steps that run after a change, where nothing played
const AROUND = 5; // steps before and after a change whose KL is told
const HEAT = 140; // grey of certainty, before light pages invert it
const BUDGET_MS = 4; // of a frame, after which no further step is computed
const LOOKS = [
  { kind: "dgm-ours", dash: "" },
  { kind: "dgm-base", dash: "5 3" },
];

async function render({ model, el }) {
  const { nets, goldenError } = await loadHyper(model);
  const names = model.get("models");
  const [matrices, deviations] = [model.get("matrices"), model.get("deviations")];
  const { n_particles: N, window: span, hazard, bound } = model.get("options");
  const K = matrices.length;
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "set the noise to 0.25, then to 4: both KLs jump, and are down again a few steps later. Then press *Switch the dynamics now*: exact Bayes turns to another matrix, and no KL jumps like that.",
  });
  frame.root.classList.add("dgm-hyper", "dgm-switch-now");
  const first = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
  showGoldenError(frame.root, names, goldenError);

  // What has been computed: the last steps, and what goes on from there

  const followers = names.map((name) => follower(nets[name], N));
  let [system, oracle, history, done, key] = [null, null, [], 0, null];

  function begin(seed) {
    system = switchingSystem(matrices, bound, seed);
    oracle = exactBayes(matrices, deviations, hazard);
    [history, done] = [[], 0];
  }

  function stepOnce(seed, schedule) {
    const t = done;
    const { which, sigma, changed } = inForce(schedule, t);
    system.step(t, which, sigma);
    oracle.step(system.before, system.x, system.fresh);
    const said = followers.map(({ filter, read }) => {
      read(seed, t, system.x, system.fresh);
      return {
        mean: filter.mean.slice(),
        deviation: filter.deviation.slice(),
        kl: filter.meanKL,
        increment: filter.increment,
      };
    });
    history.push({
      t,
      which,
      sigma,
      changed,
      fresh: system.fresh,
      x: system.x.slice(),
      posterior: oracle.posterior.slice(),
      exact: oracle.increment,
      said,
    });
    if (history.length > span) history.shift();
    done += 1;
  }

  // What the past steps hang on: another past means to begin again.
  const pastOf = (schedule) => JSON.stringify(schedule.filter(([t]) => t < done));

  // The picture

  const svg = shape("svg", { role: "img", "aria-label": "The system" });
  const sheet = Object.assign(element("canvas.dgm-heat", { "aria-hidden": "true" }), {
    width: span,
    height: K,
  });
  const pen = sheet.getContext("2d");
  const image = pen.createImageData(span, K);
  const panels = ["x1", "x2", "kl"].map((name) => timePanel(`${frame.id}-${name}`, ""));
  panels
    .slice(0, 2)
    .forEach(({ name }, d) =>
      name.append(
        italic("x"),
        shape("tspan", { "baseline-shift": "sub", "font-size": "9" }, String(d + 1)),
        d ? "" : ", expected \u00b1 2 deviations",
      ),
    );
  panels[2].name.append("KL of a step, nats");
  const traces = panels.map(({ inside }, p) => {
    const band = shape("path.dgm-reach-ours");
    const lines = LOOKS.map(({ kind, dash }) =>
      shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash }),
    );
    const data = shape("path.dgm-data-line");
    const dots = shape("path.dgm-data-dots");
    inside.append(band, ...lines.reverse(), data, dots);
    lines.reverse();
    return { band, lines, data, dots, p };
  });
  const marks = shape("path.dgm-mark-switch");
  const restarts = shape("path.dgm-mark-fresh");
  const labels = shape("g");
  const axis = shape("g");
  const beliefName = shape("text.dgm-strong.dgm-halo", `Exact Bayes: which of ${K} dynamics`);
  const truth = shape("path.dgm-truth");
  svg.append(marks, restarts, ...panels.map(({ node }) => node), axis, labels, truth, beliefName);
  const stage = element("div.dgm-layers", sheet, svg);
  const sign = ({ kind, dash }) =>
    shape(
      "svg",
      { viewBox: "0 0 34 14", "aria-hidden": "true" },
      shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash, d: "M1 7H33" }),
    );
  const legend = element(
    "p.dgm-row.dgm-legend",
    ...names.map((name, m) => element("span", sign(LOOKS[m]), name)),
    element(
      "span",
      shape(
        "svg",
        { viewBox: "0 0 34 14", "aria-hidden": "true" },
        shape("path.dgm-data-line", { d: "M1 7H33" }),
        shape("path.dgm-data-dots", { d: MARKS.circle(17, 7, 2.2) }),
      ),
      "the system",
    ),
    element(
      "span",
      shape(
        "svg",
        { viewBox: "0 0 34 14", "aria-hidden": "true" },
        shape("path.dgm-mark-switch", { d: "M17 1V13" }),
      ),
      "a change",
    ),
  );
  const note = element("p.dgm-note");
  const meaning = element(
    "p.dgm-caption",
    "KL tells how much a model had to correct itself once it saw a step. Exact Bayes knows the law of the system, and which of its dynamics there are; filled is certain, boxes are the truth.",
  );
  frame.picture.append(stage, legend, meaning, note);

  // Controls

  let [playing, until, clock, owed] = [false, 0, 0, 0];
  const change = (values, save = true) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    if (save) model.save_changes();
    ask();
  };
  const now = () => inForce(model.get("schedule"), model.get("steps"));
  // From the next step on another W or sigma.
  function put(which, sigma) {
    const [t, past] = [model.get("steps"), model.get("schedule").filter(([at]) => at < model.get("steps"))];
    const last = past.at(-1);
    change({
      schedule: last && last[1] === which && last[2] === sigma ? past : [...past, [t, which, sigma]],
    });
  }
  function run(steps) {
    if (playing) return;
    const to = Math.min(MOST_STEPS, model.get("steps") + steps);
    if (steps === 1 || calm()) change({ steps: to });
    else [until, clock] = [to, 0];
    ask();
  }
  const go = pushButton(
    "Switch the dynamics now",
    () => {
      const { which, sigma } = now();
      const [u] = fillUniforms(new Float64Array(1), model.get("seed"), STREAM.choice, model.get("steps"));
      put((which + 1 + Math.floor(u * (K - 1))) % K, sigma);
      run(AFTER);
    },
    "dgm-reset dgm-go",
  );
  const play = pushButton("Play", () => {
    [playing, until, clock] = [!(playing || until), 0, 0];
    if (!playing) change({}); // tells the kernel how far it came
    ask();
  });
  const one = pushButton("One step", () => {
    halt();
    run(1);
  });
  const noise = radioRow(
    `${frame.id}-sigma`,
    "Noise, sigma",
    deviations.map((v) => [v, String(v)]),
    (v) => {
      put(now().which, v);
      run(AFTER);
    },
  );
  noise.node.prepend(element("span", "Noise ", element("i", "\u03c3")));
  const speed = labelledSlider(`${frame.id}-speed`, "Steps a second", { min: 1, max: 30, step: 1 }, (v) =>
    change({ speed: v }),
  );
  const seed = element("input", { type: "number", min: 0, max: 9999, step: 1, id: `${frame.id}-seed` });
  seed.addEventListener("change", () => {
    const v = Math.round(Number(seed.value));
    halt();
    if (seed.value !== "" && v >= 0 && v <= 9999) change({ ...first, speed: model.get("speed"), seed: v });
    else seed.value = model.get("seed");
  });
  const seedRow = element("label", { for: seed.id }, "Seed", seed);
  frame.controls.append(
    element("div.dgm-row.dgm-buttons", go, play, one),
    noise.node,
    speed.node,
    element("div.dgm-row", seedRow, frame.reset),
  );
  function halt() {
    [playing, until] = [false, 0];
  }
  frame.reset.addEventListener("click", () => {
    halt();
    key = null;
    change(first);
  });

  // Read-outs

  const list = element("dl");
  const [atStep, law, belief] = ["Step", "Now", "Bayes"].map((term) => readout(list, term));
  const cells = [...names, "exact Bayes"].map((name, m) => {
    const tds = [0, 1, 2].map(() => element("td"));
    return {
      tds,
      node: element(
        "tr",
        element("th", { scope: "row" }, ...(LOOKS[m] ? [sign(LOOKS[m])] : []), name),
        ...tds,
      ),
    };
  });
  const head = ["model", "KL before", "KL after", "nats a step"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  const caption = element("caption");
  frame.side.append(
    list,
    element(
      "table",
      caption,
      element("thead", element("tr", ...head)),
      element("tbody", ...cells.map(({ node }) => node)),
    ),
  );
  const speak = throttled(frame.status, 600);
  const told = (v, places = 2) => (v === null ? "\u2013" : decimals(v, places));

  function readOut() {
    const last = history.at(-1);
    const place = history.findLastIndex(({ changed, fresh, t }) => changed || (fresh && t > 0));
    const mean = (m, from, to) =>
      place < 0 || to <= from ? null : meanOf(history.slice(from, to).map(({ said }) => said[m].kl));
    const found = names.map((_, m) => [
      mean(m, Math.max(0, place - AROUND), place),
      mean(m, place, Math.min(history.length, place + AROUND)),
    ]);
    const nats = [
      ...names.map((_, m) => meanOf(history.map(({ said }) => said[m].increment))),
      meanOf(history.map(({ exact }) => exact)),
    ];
    cells.forEach(({ tds }, m) => {
      tds[0].textContent = found[m] ? told(found[m][0]) : "";
      tds[1].textContent = found[m] ? told(found[m][1]) : "";
      tds[2].textContent = told(nats[m]);
    });
    caption.textContent =
      place < 0
        ? `Means over the ${history.length} steps shown`
        : `KL: means of the ${AROUND} steps before and after the change at step ${history[place].t}; nats a step: of the ${history.length} steps shown`;
    atStep.textContent = String(last.t);
    const [[a, b], [c, d]] = matrices[last.which].map((row) => row.map((v) => decimals(v)));
    const matrix = element("small", element("i", "W"), ` = [${a}, ${b}; ${c}, ${d}]`);
    law.replaceChildren(`dynamics ${last.which + 1}, `, element("i", "\u03c3"), ` = ${last.sigma}`, matrix);
    const best = last.posterior.indexOf(Math.max(...last.posterior));
    belief.textContent = `${best === last.which ? "right: " : ""}dynamics ${best + 1}, ${(100 * last.posterior[best]).toFixed(0)}\u2009%`;
    const fresh = history.findLast((step) => step.fresh && step.t > 0);
    note.textContent = fresh
      ? `At step ${fresh.t} a coordinate had passed ${bound}: such dynamics grow without end, so the system and the models started anew.`
      : "";
    return { found, nats, place };
  }

  // Drawing

  let width = 0;
  const [LEFT, RIGHT, GAP] = [32, 6, 26];
  const heights = [92, 92, 92];
  const ROW = Math.max(7, Math.round(80 / K));

  function paint() {
    if (!width || !history.length) return;
    const wide = (width - LEFT - RIGHT) / span;
    const from = history[0].t;
    const px = (i) => (LEFT + (i + 0.5) * wide).toFixed(1);
    const gap = (i) => history[i].fresh;
    const most = history.reduce((top, { x }) => Math.max(top, Math.abs(x[0]), Math.abs(x[1])), 0.8);
    const reach = spanFor(1.2 * most);
    const high = spanFor(1.05 * history.reduce((top, { said }) => Math.max(top, said[0].kl, said[1].kl), 0));
    let top = 32;
    panels.forEach((panel, p) => {
      panel.lay({
        left: LEFT,
        top,
        width: width - LEFT - RIGHT,
        height: heights[p],
        low: p < 2 ? -reach : 0,
        high: p < 2 ? reach : high,
      });
      const { band, lines, data, dots } = traces[p];
      if (p < 2) {
        const of = (m, what) => history.map(({ said }) => said[m][what][p]);
        band.setAttribute("d", bandPath(of(0, "mean"), of(0, "deviation"), px, panel.py, gap));
        lines[0].setAttribute("d", linePath(of(0, "mean"), px, panel.py, gap));
        const [mean, deviation] = [of(1, "mean"), of(1, "deviation")];
        const edge = (side) =>
          linePath(
            mean.map((v, i) => v + side * 2 * deviation[i]),
            px,
            panel.py,
            gap,
          );
        lines[1].setAttribute("d", edge(1) + edge(-1));
        const values = history.map(({ x }) => x[p]);
        data.setAttribute("d", linePath(values, px, panel.py, gap));
        dots.setAttribute("d", values.map((v, i) => MARKS.circle(+px(i), +panel.py(v), 1.7)).join(""));
      } else
        lines.forEach((line, m) =>
          line.setAttribute(
            "d",
            linePath(
              history.map(({ said }) => said[m].kl),
              px,
              panel.py,
            ),
          ),
        );
      top += heights[p] + GAP;
    });
    const bottom = top - GAP + GAP + ROW * K;
    const heat = top;
    beliefName.setAttribute("x", LEFT + 3);
    beliefName.setAttribute("y", heat - 6);
    Object.assign(sheet.style, {
      left: `${LEFT}px`,
      top: `${heat}px`,
      width: `${width - LEFT - RIGHT}px`,
      height: `${ROW * K}px`,
    });
    image.data.fill(HEAT);
    for (let i = 0; i < span; i++)
      for (let k = 0; k < K; k++)
        image.data[4 * (k * span + i) + 3] = history[i] ? 255 * history[i].posterior[k] : 0;
    pen.putImageData(image, 0, 0);
    let [boxes, switches, anew, start] = ["", "", "", 0];
    labels.replaceChildren();
    history.forEach(({ which, changed, fresh, sigma }, i) => {
      const x = LEFT + i * wide;
      if (changed || (i && fresh)) {
        const path = `M${x.toFixed(1)} 13V${bottom}`;
        if (changed) switches += path;
        else anew += path;
      }
      if (changed && i) {
        const before = history[i - 1];
        const text = before.which === which ? `\u03c3 ${sigma}` : `${before.which + 1}\u2192${which + 1}`;
        labels.append(
          shape(
            "text.dgm-strong.dgm-halo",
            { x: x.toFixed(1), y: 10, "text-anchor": x > width - 30 ? "end" : "middle" },
            text,
          ),
        );
      }
      if (i + 1 === history.length || history[i + 1].which !== which) {
        boxes += `M${(LEFT + start * wide).toFixed(1)} ${heat + which * ROW}h${((i + 1 - start) * wide).toFixed(1)}v${ROW}h${(-(i + 1 - start) * wide).toFixed(1)}Z`;
        start = i + 1;
      }
    });
    marks.setAttribute("d", switches);
    restarts.setAttribute("d", anew);
    truth.setAttribute("d", boxes);
    axis.replaceChildren();
    for (const k of [0, K - 1])
      axis.append(
        shape("text", { x: LEFT - 4, y: heat + (k + 0.5) * ROW + 4, "text-anchor": "end" }, String(k + 1)),
      );
    axis.append(shape("path.dgm-axis", { d: `M${LEFT} ${bottom}H${width - RIGHT}` }));
    for (const v of ticks(from, from + span, width / 60)) {
      if (v >= from + span) continue;
      const x = LEFT + (v - from + 0.5) * wide;
      axis.append(
        shape("path.dgm-axis", { d: `M${x.toFixed(1)} ${bottom}v4` }),
        shape("text", { x: x.toFixed(1), y: bottom + 16, "text-anchor": "middle" }, String(v)),
      );
    }
    axis.append(
      shape(
        "text.dgm-strong",
        { x: LEFT + (width - LEFT - RIGHT) / 2, y: bottom + 31, "text-anchor": "middle" },
        "step",
      ),
    );
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
    svg.setAttribute("height", bottom + 36);
  }

  function draw(at = performance.now()) {
    const speedNow = model.get("speed");
    if (playing || until) {
      owed = clock ? Math.min(3, owed + ((at - clock) / 1000) * speedNow) : 1;
      clock = at;
      const due = Math.floor(owed);
      owed -= due;
      const to = Math.min(until || MOST_STEPS, model.get("steps") + due);
      if (due) model.set("steps", to);
      if (to >= (until || MOST_STEPS)) {
        halt();
        model.save_changes();
      } else if (due && to % 10 < due) model.save_changes();
    }
    const [seedNow, steps, schedule] = [model.get("seed"), model.get("steps"), model.get("schedule")];
    if (key === null || steps < done || key !== `${seedNow} ${pastOf(schedule)}`) begin(seedNow);
    const start = performance.now();
    let moved = false;
    while (done < steps && (!moved || performance.now() - start < BUDGET_MS)) {
      stepOnce(seedNow, schedule);
      moved = true;
    }
    key = `${seedNow} ${pastOf(schedule)}`;
    const running = playing || until > 0;
    play.textContent = running ? "Pause" : "Play";
    speed.input.value = speedNow;
    speed.say(String(speedNow));
    if (document.activeElement !== seed || !running) seed.value = seedNow;
    noise.show(now().sigma);
    const { found, nats, place } = readOut();
    paint();
    const busy = done < steps;
    if (!running && !busy) {
      const last = history.at(-1);
      const ends =
        place < 0
          ? ""
          : ` At the change at step ${history[place].t} KL went ${names.map((name, m) => `for ${name} from ${told(found[m][0])} to ${told(found[m][1])}`).join(", ")}.`;
      const words = `Step ${last.t}, dynamics ${last.which + 1}, sigma ${last.sigma}.${ends} ${note.textContent}`;
      svg.setAttribute(
        "aria-label",
        `The last ${history.length} steps of the system, each model's prediction, KL a step, and exact Bayes. ${words}`,
      );
      speak(words);
      frame.root.dataset.state = JSON.stringify({
        steps: done,
        seed: seedNow,
        schedule,
        x: history.map(({ x }) => [...x]),
        kl: names.map((_, m) => history.map(({ said }) => said[m].kl)),
        mean: names.map((_, m) => history.map(({ said }) => [...said[m].mean])),
        deviation: names.map((_, m) => history.map(({ said }) => [...said[m].deviation])),
        posterior: history.map(({ posterior }) => [...posterior]),
        nats,
      });
    }
    return running || busy;
  }
  const ask = onceAFrame("dgm:switch", draw);

  for (const name of FOLLOWED) model.on(`change:${name}`, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, (w) => {
    width = w;
    ask();
  });
  return () => {
    halt();
    ask.stop();
    stopWidth();
    for (const name of FOLLOWED) model.off(`change:${name}`, ask);
  };
}

export default { render };
