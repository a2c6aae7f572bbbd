// Time that runs while a widget plays.

import { pushButton } from "./controls.js";
import { calm } from "./frame.js";

const MOST_STEPS = 10000;

/** Time that runs: played without end, or for some steps after a change. @type {(w: Widget) => Clock} */
export function makeClock(w) {
  let [playing, until, before, owed] = [false, 0, 0, 0];
  const running = () => playing || until > 0;
  const halt = () => {
    [playing, until] = [false, 0];
  };
  return {
    running,
    halt,
    toggle() {
      [playing, until, before] = [!running(), 0, 0];
      if (!playing) w.save({}); // so that the kernel has how far it came
      w.ask();
    },
    run(steps) {
      if (playing) return;
      const to = Math.min(MOST_STEPS, w.get("steps") + steps);
      if (steps === 1 || calm()) w.change({ steps: to });
      else [until, before] = [to, 0];
      w.ask();
    },
    tick(now) {
      if (!running()) return;
      owed = before ? Math.min(3, owed + ((now - before) / 1000) * w.get("speed")) : 1;
      before = now;
      const due = Math.floor(owed);
      owed -= due;
      const end = until || MOST_STEPS;
      const to = Math.min(end, w.get("steps") + due);
      if (due) w.set("steps", to);
      if (to >= end) halt();
      if (to >= end || (due && to % 10 < due)) w.save({});
    },
  };
}
/**
 * @typedef {Record<"halt" | "toggle", () => void> & { running(): boolean, run(steps: number): void,
 *   tick(now: number): void }} Clock
 */

const PLAY_MS = 9000; // from the first to the last moment

/** The trait `time` runs from 0 to 1. @type {(w: Widget) => Player} */
export function makePlayer(w) {
  let [playing, before] = [false, 0];
  const button = pushButton("Play", () => (playing ? stop() : start()), "dgm-reset dgm-play");
  button.hidden = calm();
  function start() {
    if (w.get("time") >= 1) w.save({ time: 0 });
    [playing, before] = [true, performance.now()];
    button.textContent = "Pause";
    w.ask();
  }
  function stop() {
    if (!playing) return;
    playing = false;
    button.textContent = "Play";
    w.save({});
  }
  function step() {
    if (!playing) return false;
    const now = performance.now();
    const time = Math.min(1, w.get("time") + Math.min(60, now - before) / PLAY_MS);
    before = now;
    w.set("time", time);
    if (time === 1) stop();
    return playing;
  }
  return { button, stop, step };
}
/** @typedef {{ button: HTMLElement, stop(): void, step(): boolean }} Player */
