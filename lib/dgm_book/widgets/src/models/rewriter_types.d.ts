// Types of the rewriter and of what shows its candidates; no code.

// transformer.js: rows of numbers go through layers, and attend to rows of a memory, for each row its own.
type Arrays = Record<string, Float32Array>;
type Paths = number[][];
/** The output is overwritten by the next call. */
type Linear = { rows: number; columns: number; apply(x: Float32Array, n: number): Float32Array };
type LinearParts = [weight: Float32Array, bias: Float32Array, columns: number, room: Room, most: number];
type ReadParts = [y: Float32Array, memory: Float32Array, paths: Paths];
type AttendParts = [
  queries: Float32Array,
  heads: number,
  memory: Float32Array,
  paths: Paths,
  out: Float32Array,
];
type BlockSizes = Record<"width" | "heads" | "inner", number>;
type BlockParts = [t: Arrays, name: string, sizes: BlockSizes, room: Room, most: number];
type Block = {
  /** Keys and values of n states, for others to attend to. */
  remember(states: Float32Array, n: number): Float32Array;
  /** x is changed; its own keys and values are put into the memory, from row `start` on. */
  forward(
    x: Float32Array,
    memory: Float32Array,
    start: number,
    paths: Paths,
    source?: Float32Array,
    sourcePaths?: Paths,
  ): void;
};

// rewriter.js
type RewriterSizes = BlockSizes & Record<"encoder_layers" | "decoder_layers" | "grades" | "places", number>;
type EmbedParts = [i: number, word: number, places: Float32Array, place: number, grade: Float32Array];
type Memory = { source: number[]; grade: Float32Array; pointer: Float32Array; layers: Float32Array[] };
type Progress = { memory: Memory; own: Float32Array[]; used: number };
type DecoderRow = { tokens: number[]; path: number[] };
/** A beginning of targets, its place among all, and what comes next in which of them. */
type GoalRow = DecoderRow & { place: number; goals: { which: number; id: number }[] };
type PointParts = [memory: Memory, query: Float32Array, i: number, tokens: number[]];
/** Logits of words and the log of their sum; shares of the source's places; the gate before its sigmoid. */
type Mixture = { logits: Float32Array; total: number; pointed: Float64Array; gate: number };
type BestParts = [mixture: Mixture, source: number[], count: number];
type Next = { id: number; nats: number };
type Hypothesis = DecoderRow & { nats: number; over: boolean };
type BeamParts = [memory: Memory, width: number, steps: number];
type Written = { tokens: number[]; nats: number; finished: boolean };

// typed_text.js: spans are of characters, [first, end)
type Span = [first: number, end: number];
type TypedWord = { word: string; first: number; end: number };
type JoinedParts = [words: string[], shown: string[], gaps: Map<number, string>];
type AsTypedParts = [source: string, words: string[]];
type TypedText = { text: string; changed: Span[]; removed: Span[] };

// rewriting.js
type WordIds = {
  id(word: string): number;
  encode(sentence: string[], most?: number): { ids: number[]; unknown: string[] };
  decode(ids: number[], unknown: string[]): string[];
  target(sentence: string[], unknown: string[]): number[];
};
type RewritingModel = {
  vertices: string[];
  vocabulary: WordIds;
  rewriter: import("./rewriter.js").Rewriter;
  reader: { value(ids: number[]): number } | null;
  content: Float32Array;
  scoreWeights: number[];
  leastNats: number;
  leastAgreement: number;
  bank?: ClauseBank; // of captions, which have no other part
};
type RewriteScores = Record<
  "likelihood" | "contrast" | "agreement" | "leftOut" | "added" | "repeated" | "total",
  number
>;
type RankedCandidate = { words: string[]; scores: RewriteScores; reason: string };
type ScoreParts = [
  model: RewritingModel,
  source: string[],
  weights: number[],
  words: string[],
  nats: number,
  unlikely: number,
];
type SentenceToRank = {
  words: string[];
  locked: string[];
  known: boolean;
  read: { memory?: Memory; against?: Memory };
};
type RankParts = [model: RewritingModel, sentence: SentenceToRank, weights: number[], width: number];
type SentenceWithCandidates = SentenceToRank & { candidates: RankedCandidate[] };
type SentenceParts = [model: RewritingModel, text: string, locked: string[]];
type RankedSentence = { words: string[]; candidates: RankedCandidate[] };
/** `removed` is of the source, `changed` of the text; a reason says why it should not be shown. */
type TextRewrite = TypedText & { scores: RewriteScores; reason: string };
type TogetherParts = [source: string, sentences: (RankedSentence & { known: boolean })[], count: number];
type RewriteOptions = { locked?: string[]; count?: number; onFirst?: (rewrite: TextRewrite) => void };
type RewriteParts = [model: RewritingModel, text: string, weights: number[], options?: RewriteOptions];
type AlongParts = [model: RewritingModel, text: string, options?: Omit<RewriteOptions, "onFirst">];
type RewrittenText = { rewrites: TextRewrite[]; sentences: RankedSentence[] };
type GoldenTexts = { text: string; weights: number[]; rewrites: string[] }[];
type CaptionParts = [text: string, weights: number[], count: number];
type PackedRewriter = {
  header: {
    tensors: Tensors;
    words: string;
    vertices: string[];
    sizes: RewriterSizes;
    reader: RewriterSizes | null;
    score_weights: number[];
    least_nats: number | null;
    least_agreement?: number;
    golden?: GoldenTexts;
    bank?: boolean; // of clauses, as JSON in the data, instead of tensors
  };
  data: Bytes;
};

// clauses.js
type WordTable = Record<string, string>;
type CaptionBank = {
  rows: string[][];
  any: string[][];
  plurals: WordTable;
  nouns: Record<string, WordTable>;
  topics: WordTable;
} & Record<"numbers" | "slight" | "stop" | "love" | "romance" | "several" | "species", string> &
  Record<"crude" | "gendered" | "colours" | "plain" | "collective", string>;
type SeenNoun = { i: number; noun: string; plural: boolean };
type NounParts = [words: string[], i: number];
type Scene = Record<"kind" | "gender" | "number" | "noun" | "last", string> &
  Record<"plural" | "child", boolean> & {
    finite: boolean | null;
    others: Set<string>;
    features: Map<string, number>;
    words: Set<string>;
  };
type Clause = {
  line: string;
  text: string[];
  style: number;
  scene: Scene;
  anyScene: boolean;
} & Record<"words" | "stems" | "topics", Set<string>>;
type RankedClause = { clause: Clause; score: number };
type RankClauseParts = [words: string[], style: number, used: Map<string, number>];
type ClauseBank = {
  written(sentences: string[][], weights: number[], count: number): { words: string[]; score: number }[];
};
