// Puts the pages of the built book into one document, to be printed. `book_pdf.py` calls these.

const REMOVED = `script, .headerlink, .dgm-cite, .dgm-next, .dgm-time, .dgm-pdf, .copybtn, button,
  details.hide.above-input, .prev-next-footer, input`;

// Puts one page behind the others: everything that names an id gets the page's own.
async function append([address, key, keys]) {
  const text = await (await fetch(address)).text();
  const page = new DOMParser().parseFromString(text, "text/html");
  const article = page.querySelector("article.bd-article");
  for (const node of article.querySelectorAll(REMOVED)) node.remove();
  for (const node of article.querySelectorAll("details")) node.open = true;
  for (const node of article.querySelectorAll("noscript")) {
    const figure = page.createElement("figure");
    figure.className = "dgm-poster";
    const image = node.querySelector("img");
    if (!image) { node.remove(); continue; }
    const caption = page.createElement("figcaption");
    const title = image.alt.trim().replace(/^\w+\(['"](.*)['"]\)$/, "$1");
    caption.textContent = `${title.replace(/[^.?!]$/, "$&.")} It moves on the book's page.`;
    figure.append(image, caption);
    node.replaceWith(figure);
  }
  const own = (id) => `${key}--${id}`;
  const base = new URL(address, location);
  for (const node of [article, ...article.querySelectorAll("*")]) {
    for (const { name, value } of [...node.attributes]) {
      if (name === "id") node.id = own(value);
      else if (/^(for|aria-labelledby|aria-describedby|headers)$/.test(name))
        node.setAttribute(name, value.split(/\s+/).map(own).join(" "));
      else if (name === "src" && !value.startsWith("data:")) node.src = new URL(value, base).href;
      else if (/href$/.test(name)) {
        const target = new URL(value, base);
        const local = target.origin === location.origin;
        const other = keys[target.pathname];
        if (!local) continue;
        if (node.tagName !== "A" && node.tagName !== "a") node.setAttribute(name, "#" + own(value.slice(1)));
        else if (other === undefined) node.removeAttribute(name);
        else if (target.hash.includes("=") || !target.hash) node.setAttribute(name, "#" + other);
        else node.setAttribute(name, `#${other}--${decodeURIComponent(target.hash.slice(1))}`);
      } else if (value.includes("url(#"))
        node.setAttribute(name, value.replace(/url\(#/g, `url(#${key}--`));
    }
    if (node.tagName === "IMG") node.loading = "eager";
  }
  article.id = key;
  document.body.append(document.adoptNode(article));
}

// Takes the styles of a page; returns its scripts that set equations.
async function takeHead(address) {
  const text = await (await fetch(address)).text();
  const page = new DOMParser().parseFromString(text, "text/html");
  const base = new URL(address, location);
  for (const link of page.querySelectorAll("link[rel=stylesheet]")) {
    const copy = document.createElement("link");
    Object.assign(copy, { rel: "stylesheet", href: new URL(link.getAttribute("href"), base).href });
    const loaded = new Promise((done) => { copy.onload = copy.onerror = done; });
    document.head.append(copy);
    await loaded;
  }
  const scripts = [...page.querySelectorAll("script")];
  const whole = (source) => source && new URL(source, base).href;
  return scripts
    .filter((one) => /mathjax/i.test(one.outerHTML))
    .map((one) => [whole(one.getAttribute("src")), one.textContent]);
}

async function runScript([source, text]) {
  const script = document.createElement("script");
  const loaded = new Promise((done, fail) => { script.onload = done; script.onerror = fail; });
  if (source) script.src = source;
  else script.textContent = text;
  document.head.append(script);
  if (source) await loaded;
}

async function ready() {
  await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => 0)));
}

// The headings in their order, as the outline shall name them.
function headings() {
  const all = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
  return all.map((one) => one.textContent.trim().replace(/\s+/g, " "));
}
