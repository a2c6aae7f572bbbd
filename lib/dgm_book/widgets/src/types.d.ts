// Types that several modules share; no code.

declare module "*?script" {
  const script: string;
  export default script;
}
declare module "*.css";

/** A widget's model as anywidget gives it, under a kernel or in a static page. */
interface WidgetModel {
  // biome-ignore lint/suspicious/noExplicitAny: each trait has its own type, which only its widget knows.
  get(name: string): any;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
  widget_manager: { get_model(id: string): Promise<WidgetModel> };
}
type RenderProps = { model: WidgetModel; el: HTMLElement };

type Doubles = Float64Array;
type Floats = Float32Array | Float64Array;
/** A buffer of a kernel, or of the page's saved state. */
type Bytes = ArrayBuffer | DataView;
/** Where an array lies in a buffer; int8 where it has a scale for each row. */
type Tensor = { shape: number[]; start: number; scale?: number | null };
type Tensors = Record<string, Tensor>;
type LayerAt = {
  rows: number;
  columns: number;
  activation?: string;
  weight: number;
  scale: number;
  bias: number;
};
/**
 * The WebAssembly product of lstm.js: places of w, x, b and o in bytes, rows, and bytes a row; that of
 * transformer.js also takes of how many x.
 */
type Multiply = (
  ...places: [w: number, x: number, b: number, o: number, rows: number, bytes: number, n?: number]
) => void;
/** A layer of a network; weights row by row. */
type Layer<A extends Floats = Float32Array> = {
  rows: number;
  columns: number;
  activation?: string;
  weight: A;
  bias: A;
  output: A;
  multiply?: Multiply;
};
type Room = {
  take(n: number, values?: ArrayLike<number>): Float32Array<ArrayBuffer>;
  multiply?: Multiply;
  /** Of exponentials, for addresses of the first and of what is behind the last. */
  sumExp?(x: number, end: number, top: number): number;
};
type Cell = { fromInput: Layer; fromHidden: Layer; h: Float32Array; c: Float32Array };
type Network = { layers: Layer[]; inputs: number; outputs: number; error: number | null };
type Dice = { uniform(): number; normals<A extends Floats>(out: A): A };

// frame.js and what widgets are built of
type Attributes = Record<string, string | number>;
type Children = (Node | string)[];
type Rest = [] | [Attributes, ...Children] | Children;
type TagOf<S extends string> = S extends `${infer T}.${string}` ? T : S;
type OfTag<M, S extends string> = TagOf<S> extends keyof M ? M[TagOf<S>] : never;
type MakeElement = <S extends string>(selector: S, ...rest: Rest) => OfTag<HTMLElementTagNameMap, S>;
type MakeShape = <S extends string>(selector: S, ...rest: Rest) => OfTag<SVGElementTagNameMap, S>;
type Frame = Record<"root" | "picture" | "side" | "controls" | "foot" | "status", HTMLElement> & {
  reset: HTMLButtonElement;
  id: string;
};
/** Asks for one drawing in the next frame. */
type Ask = { (): void; stop(): void };
type Painter = (context: CanvasRenderingContext2D, values: ArrayLike<number>, ...box: number[]) => void;
type Slider = {
  input: HTMLInputElement;
  say(shown: string, spoken?: string): void;
  show(position: number | string, shown: string, spoken?: string): void;
  words: HTMLElement;
  node: HTMLElement;
};
type Checkbox = { input: HTMLInputElement; node: HTMLElement };
type Values = Record<string, unknown>;

// address.js: what settings may be, as dgm_book.widgets.settings says
type Ends = { low?: number | null; high?: number | null };
/** `values`: the setting is a place among them, and `key` what they are called in the address. */
type NumberForm = { kind: "number" | "whole"; step?: number; key?: string; values?: number[] } & Ends;
type RowForm = { kind: "row"; parts: Form[] };
/** `total`: they sum to it; `rising`: rows whose first numbers ascend from 0. */
type ListForm = { kind: "list"; each: Form; least: number; most: number } & {
  multiple?: number;
  total?: number;
  rising?: boolean;
};
type Form =
  | NumberForm
  | ListForm
  | RowForm
  | { kind: "switch" }
  | { kind: "choice"; choices: (string | number)[] }
  | ({ kind: "text" } & Ends);
/** What settings may be, given what all are. */
type Forms = (now: Values) => Record<string, Form>;
type FromAddress = { values: Values; words: string[] };
/** A setting's value in words, where its text in the address is none. */
// biome-ignore lint/suspicious/noExplicitAny: each setting has its own type.
type InWords = Record<string, (value: any) => string>;
type Addressed = {
  name: string;
  forms: Record<string, Form>;
  also?: Forms;
  state(): Values;
  first: Values;
  save(values: Values): void;
  inWords?: InWords;
};
type WidgetOptions = { names: string[]; hint: string; kind?: string; forms?: Forms; inWords?: InWords };

/** What changes with a widget's traits or its width, and what ends besides. */
type StartOptions = {
  sized?: Element;
  resized?: (width: number) => void;
  touched?: () => void;
  ended?: () => void;
};
type Widget = Frame & {
  get: WidgetModel["get"];
  set: WidgetModel["set"];
  first: Values;
  save(values: Values): void;
  change(values: Values): void;
  ask(): void;
  start(measure: string, draw: () => unknown, options?: StartOptions): () => void;
};
// widget.js
type SpeakingWidget = Widget & { speak(text: string): void };
type Drawing = {
  draw(width: number): unknown;
  layout?(width: number): void;
  sized?: Element;
  touched?(): void;
  ended?(): void;
};
/** `pause`: ms without a change before the screen reader hears of it. */
type WidgetDefinition<T> = WidgetOptions & {
  measure: string;
  pause?: number;

  load?(model: WidgetModel): Promise<T>;
};
type DefineWidget = <T>(
  definition: WidgetDefinition<T> | ((model: WidgetModel) => WidgetDefinition<T>),
  build: (w: SpeakingWidget, loaded: T) => Drawing | Drawing["draw"],
) => { render(props: RenderProps): Promise<() => void> };
type MakeLayers = <K extends string>(svg: Element, selectors: Record<K, string>) => Record<K, SVGElement>;

type BottomAxis = { px: ToPixels; y: number; text?: (v: number) => string; grid?: number };
type LeftAxis = { py: ToPixels; left: number; right: number; text?: (v: number) => string; gap?: number };
// form.js
type Binding<V> = { get?(): V; set?(value: V): void };
type Bound<V> = Required<Binding<V>> & { id: string };
type Words<V> = { text?(value: V): string; spoken?(value: V): string };
type Options = (string | number)[][];
type WidgetForm = {
  w: Widget;
  updates: (() => void)[];
  show(): void;
  reset(before?: () => void): HTMLElement;
};
type Maker<Rest extends unknown[], Made = HTMLElement> = (form: WidgetForm, ...rest: Rest) => Made;
type SliderOf = Maker<
  [name: string, words: string, range: Attributes, more?: Binding<number> & Words<number>]
>;
type TickOf = Maker<[name: string, words: string, more?: Binding<boolean>]>;
type Choice = Binding<string | number>;
/** `head` stands before the radios, `legend` is their name. */
type RadiosOf = Maker<[name: string, legend: string, choices: string[][], more?: Choice & { head?: string }]>;
/** A label of that selector, with its select. */
type PickOf = Maker<[kind: string, name: string, words: Node | string, options: Options, more?: Choice]>;
type Ends1D = { min: number; max: number };
/** The same, with a whole number. */
type WholeOf = Maker<
  [kind: string, name: string, words: Node | string, ends: Ends1D, more?: Binding<number>]
>;
/** A box for a text, after its label and what stands beside that; Enter begins no new line. */
type TextOf = Maker<
  [name: string, label: string, attributes: Attributes, aside: Element, enter?: () => void],
  HTMLElement[]
>;
type Fill = (...values: (string | Children)[]) => void;
type MakeTable = (
  caption: string,
  heads: string[],
  names: Children[],
) => { node: HTMLTableElement; rows: HTMLElement[]; fill(row: number, ...texts: string[]): void };

// charts.js
type ToPoint = (number | string)[];
type ChartBox = { px: ToPixels; py: ToPixels } & Record<"left" | "top" | "right" | "bottom", number>;
/** Values of the ticks and names of the axes; `below` is how far beneath the axis its name stands, px. */
type ChartAxes = { xs: number[]; ys: number[]; x: Children | string; y?: Children | string } & {
  grid?: boolean;
  gap?: number;
  below?: number;
  xText?: (v: number) => string;
  yText?: (v: number) => string;
};

type Radios = { node: HTMLElement; show(value: string): void };
type Series = ArrayLike<number>;
/** Whether a line breaks before point i. */
type Gap = (i: number) => boolean;
type ToPixels = (v: number) => number | string;
// panels.js
type Fixed = (v: number) => string;
type PanelBox = Record<"top" | "width" | "height" | "low" | "high", number>;
/** Of each step, by coordinate. */
type Prediction = Record<"mean" | "deviation", Doubles[]>;
/** Width of a step, of the picture, and tops and heights of the lines, px. */
type ChangePlace = Record<"wide" | "width", number> & { spans: number[][] };
type Law = { which: number; sigma: number };
type SayChange = (step: CourseStep, before?: CourseStep) => [kind: string, label: string] | null;
/** `colour` gives red, green, blue and opacity of a pixel. */
type HeatSheet = {
  node: HTMLElement;
  paint(top: number, width: number, height: number, colour: (row: number, column: number) => number[]): void;
};
type BarCell = { node: HTMLElement; set(length: number, text: string): void };
/** A node that stands before a word, if any. */
type Before = (place: number) => Element | null;
type RewriteView = {
  stage: Element;
  votes: Element;
  /** What the votes' bars mean. */
  bars: string;
  show(source: Source, rewrite: Rewrite, before?: Before): void;
};
type Sound = {
  ready(patience?: number): Promise<boolean>;
  turn(pitches: number[], ms: number): void;
  end(): void;
};

// plot.js
type Labels = {
  clear(): void;
  add(node: Element, x: number, y: number, wide: number): void;
};

// piano_roll.js
type RollActs = {
  opening(): number[][];
  changed(frames: number[][]): void;
  seek(t: number): void;
  say(text: string): void;
  ask(): void;
};
type PianoRoll = {
  node: HTMLElement;
  layout(pitches: number[], frames: number, width: number, writer: string): boolean;
  drawNotes(given: Run[], written: Run[]): void;
  /**
   * The play head at a frame, how far it is through it, what sounds there, and whether the roll scrolls
   * along.
   */
  drawHead(at: number, glide: number, pitches: number[], follow: boolean): void;
};

// drawing_pad.js
type PadActs = {
  strokes(): number[][];
  /** A stroke begins; the drawing has one more; the last one goes; Enter; the reader has done something. */
  began(): void;
  drawn(strokes: number[][]): void;
  undo(): void;
  enter(): void;
  noted(): void;
  say(text: string): void;
};
type DrawingPad = { node: HTMLElement; draw(): void };

// gan_pictures.js
type Scale1D = (v: number) => number;
type GanTarget = { name: string; label: string; centres: [number, number][]; sigma: number };
type GanTheme = Record<"ink" | "soft" | "edge" | "font" | "data", string> & {
  tones: string[];
  model: string[];
};
/** Sums of the losses of D and G and their count, in bins over the run. */
type GanLosses = { d: Doubles; g: Doubles; n: Uint16Array };
type PlaneView = {
  panel: GanPanel;
  real: Float32Array;
  target: GanTarget;
  reach: number;
  seams: boolean;
  p: number;
};
type CurvesView = Record<"top" | "steps" | "step" | "p", number> & { losses: GanLosses; weights: number[] };
