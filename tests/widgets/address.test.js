import assert from "node:assert/strict";
import { test } from "node:test";
import { readAddress, textOf, valueIn, writeAddress } from "../../lib/dgm_book/widgets/src/address.js";

const share = { kind: "number", low: 0, high: 1 };
const whole = { kind: "whole", low: 0, high: 9 };
const choice = { kind: "choice", choices: ["", "phase I", "a/b", 0.25, "constructor"] };
const text = { kind: "text", low: 0, high: 20 };
const list = { kind: "list", each: share, least: 0, most: 4 };
const lists = { kind: "list", each: list, least: 0, most: 3 };
const names = { ...list, each: choice };
const target = { ...list, least: 3, most: 3, total: 1 };
const strokes = { ...lists, each: { ...list, least: 2, multiple: 2 } };
const row = { kind: "row", parts: [whole, choice] };
const rows = { kind: "list", each: row, least: 1, most: 3, rising: true };
const beta = { kind: "whole", key: "beta", values: [0.1, 1, 10.00004, 50, 100] };

test("what a setting is comes back from its text", () => {
  for (const [form, value, written] of [
    [share, 0.25, "0.25"],
    [{ kind: "number", low: null, high: null }, -1e-7, "-1e-7"],
    [{ ...share, step: 0.05 }, 0.35, "0.35"],
    [whole, 7, "7"],
    [{ kind: "switch" }, true, "on"],
    [{ kind: "switch" }, false, "off"],
    [choice, "phase I", "phase%20I"],
    [choice, "", ""],
    [choice, 0.25, "0.25"],
    [text, "a,b:c;d/(e)&#'é %", "a%2Cb%3Ac%3Bd%2F%28e%29%26%23%27%C3%A9%20%25"],
    [text, "", ""],
    [list, [], "-"],
    [list, [0, 0.5], "0;0.5"],
    [lists, [], ""],
    [lists, [[], [0.1, 1], []], "-/0.1;1/-"],
    [lists, [[]], "-"],
    [names, ["a/b", "phase I"], "a%2Fb;phase%20I"],
    [target, [0.25, 0.25, 0.5], "0.25;0.25;0.5"],
    [
      strokes,
      [
        [0, 1],
        [0.5, 0.25, 1, 1],
      ],
      "0;1/0.5;0.25;1;1",
    ],
    [
      rows,
      [
        [0, "phase I"],
        [9, 0.25],
      ],
      "0;phase%20I/9;0.25",
    ],
    [beta, 3, "50"],
    [beta, 2, "10"],
  ]) {
    assert.equal(textOf(form, value), written);
    assert.deepEqual(valueIn(form, written), value);
  }
});

test("weights that were shortened sum to one, and a number near a value is that one", () => {
  assert.deepEqual(
    valueIn(target, textOf(target, [1 / 3, 1 / 3, 1 / 3])).map((v) => v.toFixed(9)),
    [...Array(3).fill("0.333333333")],
  );
  assert.equal(valueIn(beta, "47.3"), 3);
});

test("nonsense is no value, and no error", () => {
  for (const [form, ...texts] of [
    [share, "", " ", "-0.1", "1.01", "NaN", "Infinity", "1e999", "0x1", "1;1", "on", "%", "\u0661"],
    [{ ...share, step: 0.05 }, "0.33"],
    [whole, "1.5", "10", "-1", "1e-1", "", "true"],
    [{ kind: "switch" }, "", "true", "1", "ON", "constructor"],
    [choice, "other", "%E0%A4%A", "toString", "0.250"],
    [text, "%", "%E0%A4%A", "x".repeat(21)],
    [list, "", "0;", "0;2", "0;0;0;0;0", "0/1", "a"],
    [lists, "0;2", "0/0;0;0;0;0", "-/-/-/-"],
    [target, "1;1;1", "0;1", "0;0;0"],
    [strokes, "0;0;0", "0", "-"],
    [row, "1", "1;phase%20I;1", "10;0.25", "1;other"],
    [rows, "", "1;0.25", "0;0.25/0;0.25", "0;0.25/5"],
    [beta, "0.09", "101", "", "big"],
  ]) {
    for (const each of texts) assert.equal(valueIn(form, each), undefined, `${form.kind}: ${each}`);
  }
});

// What `frame` may be hangs on `set`, as in the microscope.
const forms = ({ set }) => ({
  set: { kind: "choice", choices: ["yelp", "other"] },
  frame: { ...whole, high: set === "yelp" ? 9 : 1 },
  own_scale: { kind: "switch" },
});
const first = { set: "yelp", frame: 9, own_scale: false };

test("an address holds what differs from the start", () => {
  assert.equal(writeAddress("scope", forms, first, first), "#scope=");
  const now = { set: "other", frame: 1, own_scale: true };
  const address = writeAddress("scope", forms, now, first);
  assert.equal(address, "#scope=set:other,frame:1,own_scale:on");
  const { values, words } = readAddress(address, "scope", forms, first);
  assert.deepEqual(values, now);
  assert.deepEqual(words, ["set other", "frame 1", "own scale on"]);
});

test("a place that other values begin anew at is written even where it reads the same", () => {
  const grids = ({ model }) => ({
    model: { kind: "choice", choices: ["a", "b"] },
    place: { kind: "whole", key: "beta", values: model === "a" ? [1, 5, 9] : [5, 9] },
  });
  const address = writeAddress("x", grids, { model: "b", place: 0 }, { model: "a", place: 1 });
  assert.equal(address, "#x=model:b,beta:5");
  assert.deepEqual(readAddress(address, "x", grids, { model: "a", place: 1 }).values, {
    model: "b",
    place: 0,
  });
});

test("an address may name several widgets, none, or what a widget lacks", () => {
  const read = (address) => readAddress(address, "scope", forms, first)?.values;
  assert.deepEqual(read("#draw=seed:3&scope=frame:2"), { frame: 2 });
  assert.deepEqual(read("#scope=frame:7,set:other"), { set: "other" });
  assert.deepEqual(read("#scope="), {});
  assert.deepEqual(read("#scope=frame,frame:2:3,:,,__proto__:1,constructor:2,frames:1,frame:99"), {});
  for (const address of ["", "#", "#a-section", "#scoped=frame:2", "#microscope=frame:2", "#scope"]) {
    assert.equal(read(address), undefined);
  }
});
