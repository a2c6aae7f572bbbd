// What a widget does with the address of its page: it follows it, and writes its own state into a link.

import { readAddress, writeAddress } from "./address.js";
import { element } from "./elements.js";

/** @type {(address: string) => string} */
const pageOf = (address) => address.split("#")[0];

/** Puts a link where a reader can copy it by hand. @type {(foot: Element, link: string) => void} */
function offer(foot, link) {
  const field =
    foot.querySelector("input") ?? element("input", { readonly: "", "aria-label": "Link to this view" });
  field.value = link;
  foot.append(field);
  field.focus();
  field.select();
}

/**
 * Sets the widget by the page's address now, whenever that changes, and by each link to it that is pressed:
 * also by one that the address holds already. The focus and the page stay where they are.
 * @type {(frame: Frame, widget: Addressed) => { show(): void, stop(): void }}
 */
export function followAddress({ root, foot }, { name, forms, state, first, save, also, inWords }) {
  /** @type {Forms} */
  const all = (now) => {
    const own = Object.entries({ ...forms, ...also?.(now) }).filter(([trait]) => trait in first);
    return Object.fromEntries(own);
  };
  const note = element("p.dgm-link-note", { role: "status" });
  /** @type {(address: string) => boolean} */
  function follow(address) {
    const setting = readAddress(address, name, all, state(), inWords);
    if (!setting) return false;
    if (setting.words.length) save(setting.values);
    note.textContent = setting.words.length ? `Set by a link: ${setting.words.join(", ")}.` : "";
    return true;
  }
  async function copy() {
    const link = pageOf(location.href) + writeAddress(name, all, state(), first);
    try {
      history.replaceState(null, "", link);
    } catch {} // the page of a notebook's output may have no address
    try {
      await navigator.clipboard.writeText(link);
      note.textContent = "The link is copied.";
    } catch {
      offer(foot, link);
      note.textContent = "Copy this link.";
    }
  }
  const button = element("button.dgm-copy", { type: "button" }, "Copy link to this view");
  button.addEventListener("click", copy);
  foot.append(button, note);

  const followHash = () => follow(location.hash);
  /** @type {(event: MouseEvent) => void} */
  const pressed = ({ target, ctrlKey, metaKey, shiftKey }) => {
    const link = target instanceof Element && target.closest("a");
    if (!link || ctrlKey || metaKey || shiftKey) return;
    if (pageOf(link.href) === pageOf(location.href)) follow(link.hash);
  };
  addEventListener("hashchange", followHash);
  document.addEventListener("click", pressed);
  const named = follow(location.hash);
  return {
    // Who came by a link to this view sees it; who pressed one in the text stays there.
    show() {
      if (named && !scrollY && !document.activeElement?.closest("a")) root.scrollIntoView();
    },
    stop() {
      removeEventListener("hashchange", followHash);
      document.removeEventListener("click", pressed);
    },
  };
}
