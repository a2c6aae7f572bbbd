// A soft organ of Web Audio oscillators: no samples, and no context before someone presses Play.

const LEVEL = 0.16; // of one note
const HARMONICS = [0, 1, 0.42, 0.2, 0.1, 0.05];
const hertz = (/** @type {number} */ pitch) => 440 * 2 ** ((pitch - 69) / 12);

// Call it in answer to a click or key only. Null where there is no Web Audio; else { ready, turn, end }.
/** @type {() => Sound | null} */
export function openSound() {
  /** @type {AudioContext} */
  let context;
  try {
    context = new AudioContext();
  } catch {
    return null;
  }
  const wave = context.createPeriodicWave(new Float32Array(HARMONICS.length), Float32Array.from(HARMONICS));
  const master = new GainNode(context, { gain: 0.6 });
  const limiter = new DynamicsCompressorNode(context, {
    threshold: -10,
    knee: 6,
    ratio: 20,
    attack: 0.003,
    release: 0.2,
  });
  master.connect(limiter).connect(context.destination);
  /** @type {Map<number, { gain: GainNode, oscillator: OscillatorNode }>} */
  const voices = new Map();
  /** @type {number | null} */
  let zero = null; // audio time at page time 0, s

  /** True once sound can be heard, false if the browser keeps it back. @type {Sound["ready"]} */
  async function ready(patience = 700) {
    const wait = new Promise((done) => setTimeout(done, patience));
    await Promise.race([context.resume(), wait]).catch(() => {});
    return context.state === "running";
  }

  // From page time `ms` on these pitches sound: those that do already go on, as if tied.
  /** @type {Sound["turn"]} */
  function turn(pitches, ms) {
    zero ??= context.currentTime - performance.now() / 1000;
    const when = Math.max(context.currentTime, zero + ms / 1000);
    for (const [pitch, { gain, oscillator }] of voices) {
      if (pitches.includes(pitch)) continue;
      gain.gain.setTargetAtTime(0, when, 0.06);
      oscillator.stop(when + 0.4);
      voices.delete(pitch);
    }
    for (const pitch of pitches) if (!voices.has(pitch)) voices.set(pitch, strike(pitch, when));
  }

  /** @type {(pitch: number, when: number) => { gain: GainNode, oscillator: OscillatorNode }} */
  function strike(pitch, when) {
    const oscillator = new OscillatorNode(context, { frequency: hertz(pitch) });
    oscillator.setPeriodicWave(wave);
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0, when);
    gain.gain.linearRampToValueAtTime(LEVEL, when + 0.025);
    gain.gain.setTargetAtTime(0.65 * LEVEL, when + 0.025, 0.4);
    oscillator.connect(gain).connect(master);
    oscillator.onended = () => gain.disconnect();
    oscillator.start(when);
    return { oscillator, gain };
  }

  // Silence at once, but without a crack.
  function end() {
    const now = context.currentTime;
    master.gain.setTargetAtTime(0, now, 0.03);
    for (const { oscillator } of voices.values()) oscillator.stop(now + 0.25);
    voices.clear();
    setTimeout(() => context.close(), 300);
  }

  return { ready, turn, end };
}
