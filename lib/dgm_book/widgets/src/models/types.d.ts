// Types of the models, by module; no code.

// linear_gaussian.js: the system, and T steps of N particles.
type System = { a: number; q: number; r: number; first: number };
type Cloud = {
  T: number;
  N: number;
  z: Float64Array;
  w: Float64Array;
  parent: Int32Array;
  ess: Float64Array;
  resampled: Uint8Array;
};

// idle.js: a model with so many golden values
type Golden = { golden: number; goldenError(g: number): number; errors?: Promise<number[]> };

// language_model.js
type LanguageGolden = { tokens: number[][]; log_probs: Record<string, number> };
type LanguageHeader = { name: string; tensors: Tensors };
/** Each call writes a sentence: its ids, and whether it ended by itself. */
type Story = () => { ids: number[]; ended: boolean };
type Language = {
  name: string;
  /** The log-probabilities after a row of tokens. */
  after(row: number[]): Float32Array;
  /** Reads the opening; in between, the cell may read other things. */
  story(opening: number[], seed: number, temperature: number): Story;
};
type Languages = Golden & {
  models: Language[];
  tokens: string[];
  encode(typed: string[]): { words: string[]; unknown: boolean[]; ids: number[] };
};

// bounds.js: correlation, dimension, pairs. lottery.js. damage.js: log Z and distortion at each blur, beta
// and image.
type Setting = { rho: number; d: number; n: number };
type Lottery = Record<"drawn" | "gain" | "weight" | "share", number[]> & {
  effective: number;
  beyond: number;
};
type Terms = { beta: number[]; images: number } & Record<
  "narrowZ" | "narrowD" | "wideZ" | "wideD",
  Float32Array
>;
type Mixed = Record<"logZ" | "distortion" | "rate", number[]> & { each: Float64Array[] };

// chorale.js: frames are lists of MIDI numbers; a run is a pitch, its first frame, and how many.
type PieceSettings = { opening: number[][]; length: number; temperature: number; seed: number };
type Piece = { frames: number[][]; nats: number[]; whole: boolean };
type Run = [pitch: number, first: number, frames: number];

// hyper_rnn.js, which says what each does
type Perceptron = Layer<Float64Array>[];
type HyperSizes = Record<"x" | "z" | "h" | "k", number>;
type HyperHeader = {
  name: string;
  kind: string;
  emission: string;
  hyper_input: string;
  sigma_min: number;
  sizes: HyperSizes;
  tensors: Tensors;
  golden?: Tensors;
};
/** What generates weights; `from` is where in [z; h] it begins to read. */
type HyperPart = {
  input: Layer<Float64Array>;
  hidden: Layer<Float64Array>;
  heads: Layer<Float64Array>;
  rescale: Perceptron;
  from: number;
};
/**
 * `scales`: how many numbers a step generates for one particle, 12 h + 2 M with M the decoder's outputs of
 * all layers: d_input, d_hidden, bias (4 h each, in the order i, f, g, o), then the decoder's scales and
 * biases (M each); 0 for a VRNN.
 */
type HyperNet = {
  name: string;
  kind: string;
  emission: string;
  sizes: HyperSizes;
  least: number;
  parts: Record<string, Perceptron>;
  scales: number;
  inputMean: Float64Array;
  cell: { input: Layer<Float64Array>; hidden: Layer<Float64Array> };
  hyper?: HyperPart;
};
type HyperState = Record<string, Float64Array> & Record<"h" | "c" | "k" | "kc", Float64Array>;
type HyperNets = {
  names: string[];
  nets: Record<string, HyperNet>;
  goldenError(name: string): number | null;
};
/** N particles, a particle after the other. It allocates nothing once it is there. */
type HyperFilter = {
  net: HyperNet;
  N: number;
  state: HyperState;
  /**
   * Of a step, as they were before resampling: (N), (N), (N z), (N scales), and the weights, which sum to
   * one.
   */
  logAlpha: Doubles;
  kl: Doubles;
  z: Doubles;
  scales: Doubles;
  weights: Doubles;
  /**
   * The emission's mean (a Bernoulli's is its probability) and a Gaussian's deviation, (N x); of the whole,
   * (x).
   */
  expected: Doubles;
  spread: Doubles;
  mean: Doubles;
  deviation: Doubles;
  /** What the particles write, (N x). */
  written: Doubles;
  /** By the weights before the step; of the log-likelihood, nats; effective sample size. */
  meanKL: number;
  increment: number;
  total: number;
  ess: number;
  resampled: boolean;
  /** All weights vanished, and were made equal. */
  lost: boolean;
  /** States zero, weights equal, log-likelihood zero. */
  reset(): void;
  /** Generated numbers become (1 - share) theirs + share means. */
  freeze(share: number, means?: Doubles | null): void;
  /** Fills mean and deviation; noise: N z normals for the prior. */
  predict(noise: Doubles): void;
  /**
   * Reads x; noise: N z normals for the posterior; draws: N uniforms to resample at ESS <= N/2, or nothing.
   */
  step(x: ArrayLike<number>, noise: Floats, draws?: Doubles): void;
  /**
   * Every particle writes its own x. draws: N x normals (Gaussian) or uniforms (Bernoulli); the temperature
   * multiplies the deviations of z and of a Gaussian's x, and divides a Bernoulli's logits.
   */
  generate(noise: Doubles, draws: Doubles, temperature?: number): void;
  /** Multinomial, N uniforms; weights equal afterwards. */
  resample(draws: Doubles): void;
  /** Every particle becomes particle n of another filter of the same net. */
  adopt(other: HyperFilter, n: number): void;
};

// switching.js
type Matrix = [[number, number], [number, number]];
type Schedule = [t: number, which: number, sigma: number][];
type SwitchingSystem = {
  x: Float64Array;
  before: Float64Array;
  fresh: boolean;
  step(t: number, which: number, sigma: number): void;
};
type ExactBayes = {
  posterior: Float64Array;
  increment: number;
  step(before: Float64Array, x: Float64Array, fresh: boolean): void;
};
type Follower = {
  filter: HyperFilter;
  read(seed: number, t: number, x: ArrayLike<number>, fresh: boolean): void;
};

// text_model.js
type Reading = { votes: Float32Array; p: number[] };
type Sentence = {
  words: number[];
  tokens: string[];
  unknown: string[];
  unknownWords: string[];
  reading?: Reading;
};
type Source = Omit<Sentence, "unknown"> & { parts: Sentence[] };
type Rewriting = { margins: number[]; threshold: number; switchAt?: number | null; weightsAfter?: number[] };
/** z_1 at a step of the writer. */
type CodeAt = (step: number) => Float32Array;
type Rewrite = {
  words: number[];
  tokens: string[];
  masked: boolean[];
  margin: number;
  agreement: number;
  reading?: Reading;
};
type TextHeader = {
  tensors: Tensors;
  words: string;
  unknown_slots: number;
  max_words: number;
  longer: number;
  golden: { sentence: string; weights: number[]; margins: number[]; threshold: number; rewrite: string }[];
};
/** A golden error is 1 for a wrong rewrite, else 0. */
type SteeringModel = Golden & {
  /** What a reader types, and its sentences, which are rewritten one by one. */
  encode(tokens: string[]): Source;
  /** Equations (1) and (2); votes is (S, K). */
  read(words: number[]): Reading;
  /** Each sentence by itself; the smallest margin and the least agreement count. */
  rewrite(source: Source, weights: number[], options: Rewriting): Rewrite;
};

// pooling_model.js
type PoolingGolden = { tokens: number[][]; means: Record<string, number> };
type EncoderHeader = { kind: string; tensors: Tensors };
type SentenceEncoder = {
  kind: string;
  label: string;
  H: number;
  D: number;
  mean(tokens: number[]): Float32Array;
  influence(tokens: number[]): number[];
  states(tokens: number[]): Float32Array;
};
type Encoded = { words: string[]; tokens: number[]; unknown: boolean[]; left: number };
type Encoders = Golden & {
  encoders: SentenceEncoder[];
  encode(words: string[]): Encoded;
  most: number;
  size: number;
};
type Dispersion = Record<"cosine" | "relative" | "participation", number>;

// gan.js: a layer's weights and biases begin there in theta.
type GanLayer = { inputs: number; outputs: number; weight: number; bias: number };
type GanNetwork = { sizes: number[]; leak: number; tanh: boolean; layers: GanLayer[]; theta: Float64Array };
type Pass = {
  network: GanNetwork;
  K: number;
  input: Float64Array;
  pre: Float64Array[];
  post: Float64Array[];
  delta: Float64Array[];
};
type Push = { at?: number; extra?: Float64Array | null; inwards?: Float64Array | null };
type BreOptions = {
  zeta?: number;
  margin?: number;
  into?: Float64Array | null;
  scale?: number;
  keep?: boolean;
};
type BreTerms = { marginalEntropy: number; activationCorrelation: number; eta: number; G: Float64Array };
type BreSettings = { w: number; margin?: number; zeta?: number };
type Adam = { g: Float64Array; m: Float64Array; v: Float64Array; t: number };
type Player = {
  discriminator: GanNetwork;
  generator: GanNetwork;
  K: number;
  passes: Record<"generated" | "real" | "fake" | "between", Pass>;
  adam: { discriminator: Adam; generator: Adam };
  out: Float64Array;
  middle: Float64Array;
  inwards: Float64Array;
};
type DiscriminatorLoss = {
  loss: number;
  adversarial: number;
  onFake: BreTerms | null;
  onBetween: BreTerms | null;
};
type GanCell = { points: number[]; words: number[]; word: number; map: Float64Array };

// gan_trainer.js
type GanConfig = Record<
  "sigma" | "seed" | "width" | "batch" | "steps" | "limit" | "shown" | "arrows",
  number
> & {
  centres: [number, number][];
};
type GanSettings = { w: number; margin: number; rate: number; decay: boolean };
type GanPlayer = Player & {
  trace: number[];
  stopped: string;
  good: { step: number; theta: Float64Array[] };
};
type GanPanel = Record<
  "patterns" | "pieces" | "marginalEntropy" | "activationCorrelation" | "spread" | "modes" | "quality",
  number
> &
  Record<"fakes" | "arrows" | "corners" | "trace", Float32Array> & {
    lengths: Uint16Array;
    paint: Uint32Array;
    bins: Uint32Array;
    stopped: string;
    collapsed: boolean;
  };
type GanSnapshot = { step: number; panels: GanPanel[]; real: Float32Array };
type GanTrainer = {
  train(count: number, settings: GanSettings, times: number[]): Generator<void>;
  snapshot(layer: number, margin: number): Generator<void, GanSnapshot>;
  players: GanPlayer[];
};
type GanAnswer = GanSnapshot & { times: number[] };
type GanRequest = { begin: GanConfig | null; count: number; settings: GanSettings; layer: number };

// annealing.js
type ChainState = { z: Float64Array; energy: number; gradient: Float64Array };
type Chain = { now: ChainState; trial: ChainState; logWeight: number; p: Float64Array };
type Decoder = {
  forward(z: ArrayLike<number>): Float32Array;
  evaluate(x: Floats, state: ChainState): ChainState;
  inputs: number;
  outputs: number;
};
type AnnealingSettings = { betas: number[]; temperatures: number; chains: number; leapfrogs: number };
type AnnealingRequest = AnnealingSettings & { layers: Omit<Layer, "output">[]; x: Floats; seed: number };
/** Fills in the code where a chain begins. */
type Place = (z: Float64Array) => void;
type Ensemble = { decoder: Decoder; x: Floats; chains: Chain[]; leapfrogs: number; dice: Dice };
/** A run of chains on image x. */
type AnnealingRun = AnnealingSettings & { decoder: Decoder; x: Floats; dice: Dice };
/** One way of annealing, which ends with an estimate of log Z and its error. */
type Course = Generator<void, [number, number]>;
type Plan = { betas: number[]; stops: number[]; sizes: number[] };
type Estimate = Record<"beta" | "logZ" | "distortion" | "rate" | "ess", number> & { code: number[] };
type AnnealingPoint = Estimate & { acceptance: number; index: number };
type AnnealingEnd = {
  check: Record<"beta" | "lower" | "upper" | "error", number>;
  picture: Float32Array;
  seconds: number;
};
/** What a job tells as it goes: a point of the curve, how far it is, or its end. */
type AnnealingMessage = AnnealingPoint | AnnealingEnd | { progress: number };

// weather.js
type WeatherOptions = {
  matrices: Matrix[];
  schedule: Schedule;
  n_particles: number;
  steps: number;
  bound: number;
};
type CourseStep = { x: Doubles; which: number; sigma: number; changed: boolean; fresh: boolean };
type WeatherRun = Record<"place" | "t" | "nats" | "meanKL" | "inside", number> & {
  mean: Doubles[];
  deviation: Doubles[];
  increment: number[];
  kl: number[];
  scales: Doubles;
};
type Weather = {
  seed: number;
  /** Numbers generated for the cell at each step, in three blocks. */
  rows: number;
  course: CourseStep[];
  runs: WeatherRun[];
  means: Doubles;
  /** Of each block the number that is shown in full colour. */
  fulls: number[];
  begin(seed: number): void;
  compute(first: number, budget: number): boolean;
};

// switch_course.js
type SwitchOptions = Record<"n_particles" | "window" | "hazard" | "bound", number> & {
  matrices: Matrix[];
  deviations: number[];
};
type SwitchStep = CourseStep & {
  t: number;
  posterior: Doubles;
  /** Log density of exact Bayes; of each model its prediction, KL and log density. */
  exact: number;
  models: { mean: Doubles; deviation: Doubles; kl: number; increment: number }[];
};
type SwitchCourse = {
  history: SwitchStep[];
  done: number;
  /**
   * Goes on to so many steps, at least one if any lacks; whether there is more to do after the time is up.
   */
  advance(seed: number, steps: number, schedule: Schedule, budget: number): boolean;
  forget(): void;
};

// particle_kalman.js: a sequence with what the exact filter says of it; one run, with how many of its first
// particles have descendants at the end.
type ParticleData = {
  name: string;
  label: string;
  x: number[];
  filtered: { logLikelihood: number; mean: number[]; deviation: number[] };
};
type ParticleRun = { cloud: Cloud; alive: Uint8Array; estimate: number; founders: number; heaviest: number };
type RunTally = Record<"N" | "n" | "mean" | "squares", number> & { criterion: string };
type MeanError = { mean: number; error: number };
