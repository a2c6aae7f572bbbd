// Starts the page's widgets without a kernel or the network. Each model's state is in the page.
(() => {
  const STATE = "application/vnd.jupyter.widget-state+json";
  const PACKED = "application/x-dgm-state";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const saved = {};
  const models = new Map();
  const modules = new Map();
  const styles = new Set();
  const arriving = new Map(); // models beside the page, by their files
  const waiting = new Set(); // widgets that nobody has used yet
  let unread;

  function bytes(base64) {
    const text = atob(base64);
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return new DataView(out.buffer);
  }

  function inflate(base64) {
    const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  function build({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const parent = path.slice(0, -1).reduce((node, key) => node[key], state);
      parent[path.at(-1)] = typeof data === "string" ? bytes(data) : data;
    }
    const listeners = [];
    const call = (name, ...values) => {
      for (const l of [...listeners]) if (l.name === name) l.callback(...values);
    };
    const model = {
      get: (key) => state[key],
      set(key, value) {
        const changes = typeof key === "string" ? { [key]: value } : key;
        for (const [name, next] of Object.entries(changes)) {
          if (state[name] === next) continue;
          state[name] = next;
          call(`change:${name}`, model, next);
        }
        call("change", model);
      },
      save_changes() {},
      send() {},
      on: (name, callback) => listeners.push({ name, callback }),
      off(name, callback) {
        for (let i = listeners.length; i--; ) {
          const l = listeners[i];
          if ((!name || l.name === name) && (!callback || l.callback === callback)) listeners.splice(i, 1);
        }
      },
      widget_manager: { get_model: (id) => bring(beside(id)).then(() => getModel(id)) },
    };
    return model;
  }

  function getModel(id) {
    if (!models.has(id)) {
      if (!saved[id]) throw unread ?? Error(`its state (${id}) is not in this page`);
      models.set(id, build(saved[id]));
    }
    return models.get(id);
  }

  function load(esm) {
    if (!modules.has(esm)) {
      const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
      modules.set(esm, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(esm);
  }

  function addStyle(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    const node = document.createElement("style");
    node.textContent = css;
    document.head.append(node);
  }

  function poster(script) {
    const next = document.evaluate("following::noscript", script, null, 9).singleNodeValue;
    if (!script.closest(".cell_output, .dgm-widget")?.contains(next)) return [];
    return new DOMParser().parseFromString(next.textContent, "text/html").images;
  }

  // Buffers of a widget's models beside the page.
  function beside(id) {
    const { state = {}, buffers = [] } = saved[id] ?? {};
    // What a list refers to is left until it is asked for.
    const names = Object.values(state).filter((value) => typeof value === "string");
    const others = names.map((value) => /^IPY_MODEL_(.+)/.exec(value)?.[1]);
    return [...buffers.filter(({ file }) => file), ...others.filter(Boolean).flatMap(beside)];
  }

  // They come as scripts, which a page from the disk may load; each calls this.
  globalThis.dgmModel = (file, base64) => arriving.get(file).done(inflate(base64));
  function fetchModel(file) {
    if (!arriving.has(file)) {
      const entry = {};
      arriving.set(file, entry);
      entry.data = new Promise((done, fail) => {
        entry.done = done;
        const script = Object.assign(document.createElement("script"), { src: file });
        script.onerror = () => {
          arriving.delete(file);
          fail(Error(`its model, the file ${file}, is not beside this page`));
        };
        document.head.append(script);
      });
    }
    return arriving.get(file).data;
  }

  async function bring(buffers) {
    for (const buffer of buffers) buffer.data ??= new DataView(await fetchModel(buffer.file));
  }

  // Shows the poster until a widget is used, by pointer, button or a link; then loads its model.
  async function used(el, script, name, buffers) {
    const size = `${(buffers.reduce((sum, buffer) => sum + buffer.size, 0) / 1e6).toFixed(1)} MB`;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "dgm-load", textContent: `Start (loads ${size})` });
    const note = document.createElement("p");
    note.setAttribute("role", "status");
    el.replaceChildren(button, note, ...poster(script));
    await new Promise((done) => {
      waiting.add(done);
      const start = () => waiting.forEach((go) => void go());
      const linked = () => location.hash.slice(1).split("&").some((part) => part.startsWith(`${name}=`)) && start();
      for (const kind of ["pointerenter", "click"]) el.addEventListener(kind, start);
      addEventListener("hashchange", linked);
      linked();
    });
    const focused = document.activeElement === button;
    note.textContent = `Loading the model, ${size} \u2026`;
    button.disabled = true;
    await bring(buffers);
    el.replaceChildren();
    return focused;
  }

  async function start(script) {
    const el = document.createElement("div");
    el.className = "dgm-view";
    script.after(el);
    try {
      const id = JSON.parse(script.textContent).model_id;
      const buffers = beside(id);
      el.dataset.widget = saved[id]?.state.address?.name ?? "";
      const focused = buffers.length && (await used(el, script, saved[id].state.address?.name, buffers));
      const model = getModel(id);
      if (!model.get("_esm")) throw Error("it needs a live kernel");
      addStyle(model.get("_css"));
      let widget = (await load(model.get("_esm"))).default;
      if (typeof widget === "function") widget = await widget();
      if (!model.started) model.started = Promise.resolve(widget.initialize?.({ model }));
      await model.started;
      await widget.render?.({ model, el });
      el.dataset.ready = "yes";
      if (focused) el.querySelector(".dgm-body :is(input, select, textarea, button, [tabindex])")?.focus();
    } catch (error) {
      const message = document.createElement("p");
      message.setAttribute("role", "alert");
      message.textContent = `This interactive figure could not start: ${error.message}.`;
      el.replaceChildren(message, ...poster(script));
      el.dataset.ready = "no";
      console.error(error);
    }
  }

  // A packed state: compressed JSON, then bytes of buffers.
  async function read(script) {
    if (script.type === STATE) return JSON.parse(script.textContent).state;
    const whole = await inflate(script.textContent);
    const head = Number(script.dataset.head);
    const { state } = JSON.parse(new TextDecoder().decode(new Uint8Array(whole, 0, head)));
    for (const { buffers = [] } of Object.values(state)) {
      for (const buffer of buffers.filter(({ at }) => at)) buffer.data = new DataView(whole, head + buffer.at[0], buffer.at[1]);
    }
    return state;
  }

  async function startAll() {
    for (const script of document.querySelectorAll(`script[type="${STATE}"], script[type="${PACKED}"]`)) {
      try {
        Object.assign(saved, await read(script));
      } catch (error) {
        unread = Error(`the page's data cannot be read (${error.message})`);
      }
    }
    document.querySelectorAll(`script[type="${VIEW}"]`).forEach(start);
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
