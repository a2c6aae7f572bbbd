// Captions in a style, by a clause that a person wrote for a caption like it; as in dgm.clauses.

import { last } from "./arrays.js";
import { counted } from "./typed_text.js";

const [USED, STRANGE, LAST_WORD, SLIGHT] = [0.15, 0.12, 0.15, 0.15];
const [ANY_SCENE, LONGEST_CLAUSE, MIXED, MOST] = [0.46, 20, 0.3, 40];
const ENDS = [".", "!", "?"];
const KINDS = ["adult", "child", "thing", "animal", "dog"];
/** @type {[string, string[]][]} */
const PRONOUNS = [
  ["m", ["he", "him", "his", "himself"]],
  ["f", ["she", "her", "hers", "herself"]],
  ["n", ["it", "its", "itself"]],
  ["p", ["they", "them", "their", "theirs", "themselves"]],
];
const OF_LAST_WORD = ["who", "that", "whose", "which", "where", "it", "he", "she", "they", "of", "made"];
/** @type {[string, number][]} */
const ENDINGS = [
  ["ing", 6],
  ["ies", 5],
  ["es", 5],
  ["ed", 5],
  ["s", 4],
  ["e", 4],
];
const isWord = (/** @type {string} */ word) => /^[\p{L}\p{N}]/u.test(word);
const total = (/** @type {Iterable<number>} */ values) => [...values].reduce((a, b) => a + b, 0);
/** @type {(a: Iterable<string>, b: { has(word: string): boolean }) => boolean} */
const meet = (a, b) => [...a].some((word) => b.has(word));
/** @type {(a: Iterable<string>, b: { has(word: string): boolean }) => boolean} */
const within = (a, b) => [...a].every((word) => b.has(word));

/** A word without the endings of verbs and plurals. */
export function stem(/** @type {string} */ word) {
  const letters = [...word];
  const ending = ENDINGS.find(
    ([end, least]) => letters.length >= least && word.endsWith(end) && !word.endsWith("ss"),
  );
  const root = ending ? word.slice(0, -ending[0].length) : word;
  const doubled = root.length > 3 && root.at(-1) === root.at(-2) && !"lsfe".includes(root.at(-1) ?? "");
  return (doubled ? root.slice(0, -1) : root).replace(/e$/, "");
}

/** A caption's words before its last mark, and that. */
function parted(/** @type {string[]} */ words) {
  const mark = words.length - (words.length && ENDS.includes(last(words)) ? 1 : 0);
  return [words.slice(0, mark), words.slice(mark)];
}

/** @type {(bank: CaptionBank) => ClauseBank} */
export function clauseBank(bank) {
  /** @type {Record<string, Set<string>>} */
  const tables = {};
  for (const [name, value] of Object.entries(bank))
    if (typeof value === "string") tables[name] = new Set(value.split(/\s+/).filter((word) => word));
  const split = (/** @type {string} */ words) => words.split(/\s+/).filter((word) => word);
  const plurals = new Map(Object.entries(bank.plurals));
  /** @type {Map<string, string[]>} */
  const nouns = new Map();
  for (const [kind, genders] of Object.entries(bank.nouns))
    for (const [gender, words] of Object.entries(genders))
      for (const noun of split(words)) nouns.set(noun, [kind, gender]);
  /** @type {Map<string, Set<string>>} */
  const topics = new Map();
  for (const [topic, words] of Object.entries(bank.topics))
    for (const root of split(words).map(stem))
      topics.set(root, new Set([...(topics.get(root) ?? []), `#${topic}`]));
  const slight = new Set([...tables.slight].map(stem));
  const colours = new Set([...tables.colours].map(stem));
  const kindOf = (/** @type {string} */ noun) => nouns.get(noun)?.[0] ?? "";

  const topicsOf = (/** @type {Iterable<string>} */ words) =>
    new Set([...words].flatMap((word) => [...(topics.get(stem(word)) ?? [])]));
  const contentOf = (/** @type {string[]} */ words) =>
    words.filter((word) => !tables.stop.has(word) && isWord(word));
  /** @type {Map<string, number>} */
  let rarity = new Map();
  let most = 1;
  function featuresOf(/** @type {string[]} */ words) {
    const names = [...new Set([...contentOf(words).map(stem), ...topicsOf(words)])].sort();
    return new Map(
      names.map((f) => {
        const size = f[0] === "#" ? 0.7 : slight.has(f) ? SLIGHT : 1;
        return [f, size * (rarity.get(f) ?? most)];
      }),
    );
  }

  /** The singular of a noun at a place, and whether it is plural. @type {(...of: NounParts) => SeenNoun[]} */
  function nounAt(words, i) {
    for (const word of [words.slice(i, i + 2).join("_"), words[i]]) {
      const single = plurals.get(word) ?? word;
      if (nouns.has(single))
        return [{ i, noun: single, plural: single !== word || tables.collective.has(word) }];
      for (const end of ["s", "es"])
        if (word.endsWith(end) && nouns.has(word.slice(0, -end.length)))
          return [{ i, noun: word.slice(0, -end.length), plural: true }];
    }
    return [];
  }

  /** Who is seen, and what. @type {(words: string[]) => Scene} */
  function sceneOf(words) {
    const people = words.flatMap((_, i) => nounAt(words, i));
    const at = new Set(people.map(({ i }) => i));
    const heads = people.filter(({ i }) => !at.has(i + 1) && words[i + 1] !== "of");
    const first = heads.find(({ i, noun }) => i < 5 || kindOf(noun) !== "thing");
    /** @type {boolean | null} */
    let finite = words.includes("is") || words.includes("are") ? true : null;
    const young = words
      .slice(0, first?.i ?? 0)
      .some((word) => ["young", "little", "child", "baby", "girl", "boy"].includes(word));
    let [kind, gender] = ["thing", "n"];
    if (first) {
      [kind, gender] = nouns.get(first.noun) ?? ["", ""];
      const follows = words[first.i + 1] ?? ".";
      if (finite === null && follows.endsWith("ing")) finite = false;
      else if (finite === null && /^\p{L}/u.test(follows) && !tables.stop.has(follows))
        finite = follows.endsWith("ed") ? null : true;
      const after = people.find(({ i }) => i > first.i + 1 && i <= first.i + 5);
      if (words[first.i + 1] === "and" && after) {
        first.plural = true;
        gender = "";
        kind = KINDS[Math.min(KINDS.indexOf(kind), KINDS.indexOf(kindOf(after.noun)))];
      }
      if (young && kind === "adult" && !["man", "woman", "person", "lady"].includes(first.noun))
        kind = "child";
    }
    const others = new Set(people.map(({ noun }) => nouns.get(noun)?.[1] ?? ""));
    if (people.some(({ plural }) => plural)) others.add("p");
    const content = contentOf(words);
    return {
      kind,
      gender,
      plural: first?.plural ?? false,
      finite,
      number: words.slice(0, 3).find((word) => tables.numbers.has(word)) ?? "",
      noun: first?.noun ?? "",
      others,
      child: people.some(({ noun }) => kindOf(noun) === "child") || kind === "child",
      features: featuresOf(words),
      words: new Set(content.map(stem)),
      last: content.length ? stem(last(content)) : "",
    };
  }

  const captions = bank.rows.map(([caption]) => [...featuresOf(caption.split(" ")).keys()]);
  most = Math.log(captions.length + 1);
  rarity = new Map([...counted(captions.flat())].map(([f, n]) => [f, Math.log((captions.length + 1) / n)]));
  /** @type {Map<string, Clause[]>} */
  const groups = new Map();
  /** @type {Set<string>} */
  const known = new Set();
  const groupOf = (/** @type {number} */ style, /** @type {Scene} */ { kind, plural }) =>
    `${style} ${kind} ${plural}`;
  for (const rows of [bank.rows, bank.any])
    for (const [caption, ...pair] of rows) {
      const scene = sceneOf(caption.split(" "));
      for (const [k, line] of pair.entries()) {
        if (!line) continue;
        const text = line.split(" ");
        const words = new Set(text);
        const stems = new Set([...words].filter((word) => !tables.stop.has(word)).map(stem));
        const group = groupOf(k + 1, scene);
        known.add(line);
        const more = { anyScene: rows === bank.any, words, stems, topics: topicsOf(words) };
        if (!groups.has(group)) groups.set(group, []);
        groups.get(group)?.push({ line, text, style: k + 1, scene, ...more });
      }
    }

  /** Whether a clause may be said of a scene. @type {(clause: Clause, scene: Scene) => boolean} */
  function fits({ scene: old, words, text, style, anyScene, stems, topics: own }, scene) {
    if (meet(words, tables.crude) || (scene.child && meet(words, tables.love))) return false;
    const spoken = PRONOUNS.filter(([, group]) => meet(group, words)).map(([group]) => group);
    const people = (/** @type {string[]} */ groups_) =>
      groups_.filter((group) => group === "m" || group === "f");
    if (old.gender !== scene.gender && (meet(words, tables.gendered) || people(spoken).length)) return false;
    const foreign = spoken.filter((group) => group !== (old.plural ? "p" : old.gender));
    const [first, second] = text[0] === "," ? text.slice(1) : text;
    if (["and", "but"].includes(first) && scene.finite !== !second.endsWith("ing")) return false;
    const both = (/** @type {Scene} */ { others }) => others.has("m") && others.has("f");
    if (anyScene) {
      if (both(old) && !both(scene)) return false;
      return !(scene.child && (meet(words, tables.romance) || people(foreign).length));
    }
    if (people(foreign).some((group) => old.others.has(group) && !scene.others.has(group))) return false;
    if (old.kind === "dog" && people(foreign).length && !within(foreign, scene.others)) return false;
    const ofLast = OF_LAST_WORD.includes(first) || ["one", "ones"].includes(last(text));
    const things = foreign.includes("n") || foreign.includes("p");
    if ((things || ofLast) && old.last !== scene.last) return false;
    if (meet(words, tables.several) && old.number !== scene.number) return false;
    if (old.kind === "animal" && old.noun !== scene.noun && meet(words, tables.species)) return false;
    if (scene.child && !old.child && style === 1) return false;
    const taken = [...own].filter((topic) => old.features.has(topic));
    return (
      within(
        [...stems].filter((s) => old.words.has(s)),
        scene.words,
      ) && within(taken, scene.features)
    );
  }

  /** Equation (1), but for what was used. @type {(clause: Clause, scene: Scene, own: number) => number} */
  function scoreOf({ text, anyScene, scene: old, topics: named }, scene, own) {
    if (anyScene) {
      const letters = [...scene.words].join("") + text.join("");
      return ANY_SCENE + (0.06 * (total([...letters].map((c) => c.codePointAt(0) ?? 0)) % 97)) / 97;
    }
    const alike = total([...old.features].filter(([f]) => scene.features.has(f)).map(([, value]) => value));
    const strange =
      [...named].filter((topic) => !scene.features.has(topic)).length +
      [...old.words].filter((word) => !scene.words.has(word) && colours.has(word)).length +
      Number(!tables.plain.has(old.noun) && !scene.words.has(stem(old.noun)));
    const theirs = Math.max(total(old.features.values()), 1e-9);
    const apart = Number(old.last !== scene.last && text[0] !== ",");
    const score = (0.6 * alike) / Math.max(theirs, most) + (0.4 * alike) / Math.max(own, most);
    const less = score - (STRANGE * strange + LAST_WORD * apart);
    return alike >= theirs / 2 && less >= ANY_SCENE ? less : Number.NEGATIVE_INFINITY;
  }

  /** Clauses that fit a caption, best first. @type {(...of: RankClauseParts) => RankedClause[]} */
  function ranked(words, style, used) {
    const scene = sceneOf(words);
    const own = total(scene.features.values());
    const rows = (groups.get(groupOf(style, scene)) ?? [])
      .filter((clause) => fits(clause, scene))
      .map((clause) => ({
        clause,
        score: scoreOf(clause, scene, own) - USED * (used.get(clause.line) ?? 0),
      }))
      .filter(({ score }) => score > Number.NEGATIVE_INFINITY)
      .sort((a, b) => b.score - a.score)
      .slice(0, MOST);
    /** @type {Map<string, number>} */
    const starts = new Map();
    return rows
      .map(({ clause, score }) => {
        const start = clause.text.slice(0, 2).join(" ");
        const before = starts.get(start) ?? 0;
        starts.set(start, before + 1);
        return { clause, score: score - 0.05 * before };
      })
      .sort((a, b) => b.score - a.score);
  }

  function withoutClause(/** @type {string[]} */ words) {
    const [body, mark] = parted(words);
    for (let first = Math.max(2, body.length - LONGEST_CLAUSE); first < body.length - 1; first++)
      if (known.has(body.slice(first).join(" "))) return [...body.slice(0, first), ...mark];
    return words;
  }

  return {
    /** Rewrites of sentences' words, best first; none without a word. */
    written(sentences, weights, count) {
      const bare = sentences.map(withoutClause);
      if (!bare.flat().some((word) => /^\p{L}+$/u.test(word))) return [];
      const [plain, romantic, humorous] = weights;
      if (plain >= Math.max(romantic, humorous)) return [{ words: bare.flat(), score: 0 }];
      const styles = romantic >= humorous ? [1, 2] : [2, 1];
      const mixed = Math.abs(romantic - humorous) < MIXED * total(weights);
      /** @type {Map<string, number>} */
      const used = new Map();
      const lists = bare.map((words) => styles.map((style) => ranked(words, style, used)));
      return Array.from({ length: count }, (_, k) => {
        const chosen = lists.map((each) => (mixed ? each[k % 2][Math.floor(k / 2)] : each[0][k]));
        const scores = chosen.flatMap((row) => (row ? [row.score] : []));
        const words = bare.flatMap((sentence, i) => {
          const [body, mark] = parted(sentence);
          return [...body, ...(chosen[i]?.clause.text ?? []), ...mark];
        });
        return scores.length ? [{ words, score: total(scores) / scores.length }] : [];
      }).flat();
    },
  };
}
