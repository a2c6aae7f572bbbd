// What the traits of the widgets hold; no code.

/** raml_lottery.js: texts, the places of their anchors, and each critic's scores of what follows those. */
type TextSet = {
  name: string;
  label: string;
  texts: string[];
  anchors: number[];
  scores: Record<string, number[][]>;
};

// storyteller.js: by distance, nats
type Interval = Record<"mean" | "low" | "high", number[]>;
type InformationCurves = {
  distances: number[];
  exact: number[];
  stay: number;
  models: Record<string, Interval>;
};
type Theme = [name: string, words: string[]];

// sentence_quiz.js
type Question = { sentence: string; options: string[]; answer: number; scores: Record<string, number[]> };

// latent_cliff.js
type DensityMeasure = "log_mean" | "mean_log";
// A walk through one latent space: for each source and step a sentence and, by each measure, minus its log
// density.
type Walk = Record<DensityMeasure, number[][]> & {
  label: string;
  axis: string;
  steps: number[];
  tick: string[];
  origin: number;
  baseline?: boolean;
  sentences: string[][][];
  reading?: number[][];
  original: Record<DensityMeasure, number[]>;
};

// pooling_race.js
type PoolingMeasures = "log_likelihood" | "kl" | "information" | "reconstruction" | "active_units";
type PoolingRun = Record<PoolingMeasures, (number | null)[]> & {
  name: string;
  label: string;
  group: string;
  step: number[];
  seconds: number[];
};

// dispersion_microscope.js
type FeaturePanel = Record<keyof Dispersion, number[]> & { label: string; half: number; start: number };
/** Sentences in classes, whose features were measured at some steps. */
type SentenceSet = {
  name: string;
  label: string;
  classes: string[];
  class_of: number[];
  texts?: string[];
  steps: number[];
  panels: FeaturePanel[];
};
