// A widget's state in the address of its page, such as #explorer=beta:50,log_distortion:on&draw=seed:3.
// What a setting may be comes from its class in Python; what it may not be is left out, never an error.

const NUMBER = /^-?\d+(\.\d+)?(e-?\d+)?$/;
const DIGITS = 4; // of a number that is not whole

/** @type {(text: string) => string} */
const escaped = (text) =>
  encodeURIComponent(text.toWellFormed()).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

/** @type {(text: string) => string | undefined} */
function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Whether it lies between a form's ends. @type {(ends: Ends, value: number) => boolean} */
const inside = ({ low = null, high = null }, value) =>
  (low === null || value >= low) && (high === null || value <= high);

/** Lists in a list are apart by "/", what is in them by ";". @type {(form: ListForm | RowForm) => string} */
const comma = (form) => (form.kind === "list" && "each" in form && isList(form.each) ? "/" : ";");
/** @type {(form: Form) => form is ListForm | RowForm} */
const isList = (form) => form.kind === "list" || form.kind === "row";
/** An empty list, which "" is not in a list of lists. @type {(form: ListForm | RowForm) => string} */
const nothing = (form) => (comma(form) === "/" ? "" : "-");

/** @type {(form: NumberForm, text: string) => number | undefined} */
function numberIn({ kind, step = 0, values, ...ends }, text) {
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  if (values) {
    const [low, high] = [0.999 * values[0], 1.001 * values[values.length - 1]];
    const far = values.map((v) => Math.abs(v - value));
    return inside({ low, high }, value) ? far.indexOf(Math.min(...far)) : undefined;
  }
  const fits = kind === "whole" ? Number.isInteger(value) : Number.isFinite(value);
  const steps = step && value / step;
  return fits && inside(ends, value) && Math.abs(steps - Math.round(steps)) < 1e-6 ? value : undefined;
}

/** @type {(form: ListForm | RowForm, text: string) => unknown[] | undefined} */
function listIn(form, text) {
  const parts = text === nothing(form) ? [] : text.split(comma(form));
  if (form.kind === "row") {
    const values = form.parts.map((part, i) => valueIn(part, parts[i] ?? ""));
    return parts.length === values.length && !values.includes(undefined) ? values : undefined;
  }
  const { each, least, most, multiple = 1, total, rising } = form;
  if (parts.length < least || parts.length > most || parts.length % multiple) return undefined;
  const values = parts.map((part) => valueIn(each, part));
  if (values.includes(undefined)) return undefined;
  const sum = /** @type {number[]} */ (values).reduce((all, v) => all + v, 0);
  if (total !== undefined) {
    if (Math.abs(sum - total) > 1e-3) return undefined;
    return values.map((v) => (Number(v) * total) / sum);
  }
  const times = rising ? /** @type {number[][]} */ (values).map(([t]) => t) : [];
  return times.every((t, i) => (i ? t > times[i - 1] : t === 0)) ? values : undefined;
}

/**
 * What a text says; undefined where a setting may not be that.
 * @type {(form: Form, text: string) => unknown}
 */
export function valueIn(form, text) {
  if (isList(form)) return listIn(form, text);
  if (form.kind === "switch") return text === "on" || (text === "off" ? false : undefined);
  if (form.kind === "number" || form.kind === "whole") return numberIn(form, text);
  const word = unescaped(text);
  if (form.kind === "choice") return form.choices.find((choice) => String(choice) === word);
  return word !== undefined && inside(form, word.length) ? word : undefined;
}

/** @type {(form: Form, value: any) => string} */
export function textOf(form, value) {
  if (isList(form)) {
    const each = (/** @type {unknown} */ v, /** @type {number} */ i) =>
      textOf(form.kind === "row" ? form.parts[i] : form.each, v);
    return value.length ? value.map(each).join(comma(form)) : nothing(form);
  }
  if (form.kind === "switch") return value ? "on" : "off";
  if (form.kind === "whole" && !form.values) return String(value);
  if (form.kind === "number" || form.kind === "whole")
    return String(+Number(form.values?.[value] ?? value).toPrecision(DIGITS));
  return escaped(String(value));
}

/** What a setting is called in the address. @type {(name: string, form: Form) => string} */
const keyOf = (name, form) => ("key" in form && form.key) || name;

/**
 * What an address (with its #) sets of a widget: the values, and the same as words; null where the address
 * does not name the widget. What a setting may be can depend on others that are set along with it.
 * @type {(hash: string, widget: string, forms: Forms, now: Values, inWords?: InWords) => FromAddress | null}
 */
export function readAddress(address, widget, forms, now, inWords = {}) {
  const own = address
    .slice(1)
    .split("&")
    .find((part) => part.startsWith(`${widget}=`));
  if (own === undefined) return null;
  const pairs = own
    .slice(widget.length + 1)
    .split(",")
    .map((pair) => pair.split(":"));
  const texts = new Map(pairs.filter((pair) => pair.length === 2).map(([key, text]) => [key, text]));
  /** @type {FromAddress} */
  let setting = { values: {}, words: [] };
  for (let round = 0; round < 2; round++) {
    const [given, words] = [/** @type {Values} */ ({}), /** @type {string[]} */ ([])];
    for (const [name, form] of Object.entries(forms({ ...now, ...setting.values }))) {
      const text = texts.get(keyOf(name, form));
      const value = text === undefined ? undefined : valueIn(form, text);
      if (text === undefined || value === undefined) continue;
      given[name] = value;
      const shown = unescaped(text) ?? "";
      const plain = `${keyOf(name, form).replaceAll("_", " ")}${shown.length < 60 ? ` ${shown}` : ""}`;
      words.push(inWords[name]?.(value) ?? plain);
    }
    setting = { values: given, words };
  }
  return setting;
}

/**
 * The address of what differs from the start.
 * @type {(widget: string, forms: Forms, now: Values, first: Values) => string}
 */
export function writeAddress(widget, forms, now, first) {
  const before = forms(first);
  const parts = Object.entries(forms(now)).flatMap(([name, form]) => {
    const text = textOf(form, now[name]);
    const same = text === textOf(before[name], first[name]) && String(now[name]) === String(first[name]);
    return same ? [] : [`${keyOf(name, form)}:${text}`];
  });
  return `#${widget}=${parts.join(",")}`;
}
