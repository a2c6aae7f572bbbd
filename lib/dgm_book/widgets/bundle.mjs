// Bundles each widget of src/widgets into dist/: a minified ES module that stands alone, and what it adds to the
// style sheet of the frame.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = resolve(process.argv[2] ?? join(here, "dist"));
const options = {
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  target: "esnext",
  write: false,
};

// `import script from "./worker.js?script"` gives the text of a whole script that a worker can be started from.
const scripts = {
  name: "scripts",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\?script$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, path.replace(/\?script$/, "")),
      namespace: "script",
    }));
    onLoad({ filter: /.*/, namespace: "script" }, async ({ path }) => {
      const { outputFiles } = await build({ ...options, entryPoints: [path], format: "iife" });
      return { contents: outputFiles[0].text, loader: "text" };
    });
  },
};

const folder = join(here, "src", "widgets");
const { outputFiles } = await build({
  ...options,
  entryPoints: [...readdirSync(folder).map((name) => join(folder, name)), join(here, "src/styles/frame.css")],
  entryNames: "[name]",
  format: "esm",
  outdir: target,
  plugins: [scripts],
});

// What tells, with no Node, whether dist/ belongs to its sources: a checksum of them all, then one of each bundle.
const sum = (data) => createHash("sha256").update(data).digest("hex");
const sources = [
  ...readdirSync(join(here, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(js|css)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name)),
  join(here, "bundle.mjs"),
  join(here, "../../../package-lock.json"),
];
const whole = sources.map((path) => sum(readFileSync(path))).sort();
const lines = [`${sum(whole.join(""))}  sources`];
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const { path, contents } of outputFiles.sort((a, b) => (a.path < b.path ? -1 : 1))) {
  writeFileSync(path, contents);
  lines.push(`${sum(contents)}  ${basename(path)}`);
}
writeFileSync(join(target, "checksums"), `${lines.join("\n")}\n`);
