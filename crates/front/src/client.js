// The part of devhost in open pages. It listens to /__devhost/events, reloads the page when newer code is
// ready (once for each change, never in a loop), swaps stylesheets in place, replaces outdated cached files,
// keeps scroll position and form fields across its own reloads, and shows why the newest code is not being
// served. It never writes data as HTML, needs no library, and otherwise leaves the page alone.
(() => {
  "use strict";
  if (window.__devhost) return;

  const script = document.currentScript;
  if (!script || !script.dataset.session) return;
  // What this page was made from.
  const page = {
    session: script.dataset.session,
    generation: Number(script.dataset.generation),
    revision: Number(script.dataset.revision),
    kind: script.dataset.page,
    method: script.dataset.method || document.documentElement.dataset.devhostMethod || "GET",
  };
  window.__devhost = page;

  // Pages of devhost that only wait for something to serve.
  const WAITING = ["build_failed", "process_failed", "start_failed", "crash_loop", "starting", "timed_out", "full", "closed"];
  // Pages that have nothing to wait for.
  const FINAL = ["host_forbidden", "origin_forbidden", "not_found", "method_not_allowed"];
  const RETRY_MIN_MS = 300;
  const RETRY_MAX_MS = 5000;
  const STATE_AGE_MAX_MS = 30000;
  const INDICATOR_DELAY_MS = 250;
  const REFETCHES_COUNT_MAX = 64;
  const REFETCH_TIME_MAX_MS = 3000;
  // A little longer than devhost holds a request during a build.
  const HELD_TIME_MAX_MS = 65000;
  const REMEMBERED_COUNT_MAX = 256;
  const IMPORT_DEPTH_MAX = 8;

  const place = location.pathname + location.search;

  // sessionStorage throws in sandboxed pages.
  const store = {
    get(key) { try { return JSON.parse(sessionStorage.getItem("devhost:" + key)); } catch { return null; } },
    set(key, value) {
      try { sessionStorage.setItem("devhost:" + key, JSON.stringify(value)); return true; } catch { return false; }
    },
    remove(key) { try { sessionStorage.removeItem("devhost:" + key); } catch { /* nothing was kept */ } },
  };

  // ---- loading the page again -----------------------------------------------------------------------------

  let leaving = false;
  let changeSeen = false;
  let building = false;

  // `files` names what has changed; if it is empty, anything may have. Without it, nothing is refetched.
  function reload(files) {
    // Even if the page is being left: the next one must not find these in the cache.
    if (files) refresh(files);
    if (leaving) return;
    if (page.method !== "GET") {
      note("The new code is ready. Reload the page to send the request again.");
      return;
    }
    if (page.kind === "crash" && !changeSeen) {
      // Loading it may be what crashes the app, and the code is the same.
      note("The app runs again. Reload the page to send the request again.");
      return;
    }
    leaving = true;
    leave();
  }

  async function leave() {
    let left = REFETCH_TIME_MAX_MS;
    while (refetches.size > 0 && left > 0) {
      const begun = performance.now();
      await Promise.race([Promise.allSettled(refetches), new Promise((done) => setTimeout(done, INDICATOR_DELAY_MS))]);
      // While something is built, all requests wait for the end of the build.
      if (!building) left -= performance.now() - begun;
    }
    if (page.kind === "app") saveState();
    location.reload();
  }

  // Follows a change that this page has missed. A copy from a cache would miss it again, so each is followed
  // once. Returns whether the page is being left.
  function reloadOnce(mark) {
    const last = store.get("followed");
    if (last && last.place === place && last.mark === mark) return false;
    if (!store.set("followed", { place, mark })) return false;
    reload([]);
    return leaving;
  }

  function note(text) {
    const element = document.querySelector("[data-devhost-note]");
    if (!element) {
      indicator.show(text);
      return;
    }
    element.textContent = text;
    element.hidden = false;
  }

  // ---- scroll and form fields -----------------------------------------------------------------------------

  const SKIPPED_TYPES = ["password", "file", "hidden", "submit", "button", "reset", "image"];

  function fields() {
    const seen = new Map();
    const found = [];
    for (const element of document.querySelectorAll("input, textarea, select")) {
      const secret = /^(cc-|one-time-code)/.test(element.autocomplete || "");
      if (SKIPPED_TYPES.includes(element.type) || secret) continue;
      const form = element.form ? element.form.id || element.form.getAttribute("action") || "" : "";
      const own = element.type === "radio" ? element.value : "";
      const base = [element.tagName, element.type, form, element.id, element.name, own].join("|");
      const count = seen.get(base) || 0;
      seen.set(base, count + 1);
      found.push([base + "|" + count, element]);
    }
    return found;
  }

  // Returns what the user has put into a field, or undefined if the field is unchanged.
  function userValue(element) {
    if (element.type === "checkbox" || element.type === "radio") {
      return element.checked === element.defaultChecked ? undefined : element.checked;
    }
    if (element.tagName === "SELECT") {
      const options = [...element.options];
      const selected = options.filter((option) => option.selected).map((option) => option.value);
      let initial = options.filter((option) => option.defaultSelected).map((option) => option.value);
      if (initial.length === 0 && !element.multiple && options.length > 0) initial = [options[0].value];
      return JSON.stringify(selected) === JSON.stringify(initial) ? undefined : selected;
    }
    return element.value === element.defaultValue ? undefined : element.value;
  }

  function setUserValue(element, value) {
    if (typeof value === "boolean") element.checked = value;
    else if (Array.isArray(value)) {
      for (const option of element.options) option.selected = value.includes(option.value);
    } else element.value = value;
    element.dispatchEvent(new Event("input", { bubbles: true }));
    element.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function saveState() {
    const values = {};
    let focus = null;
    for (const [key, element] of fields()) {
      const value = userValue(element);
      if (value !== undefined) values[key] = value;
      if (element === document.activeElement) focus = key;
    }
    store.set("state:" + place, { time: Date.now(), x: scrollX, y: scrollY, values, focus });
  }

  function restoreState() {
    const state = store.get("state:" + place);
    store.remove("state:" + place);
    if (!state || Date.now() - state.time > STATE_AGE_MAX_MS) return;
    const navigation = performance.getEntriesByType("navigation")[0];
    if (navigation && navigation.type !== "reload") return;
    const restoreFields = () => {
      for (const [key, element] of fields()) {
        if (key in state.values) setUserValue(element, state.values[key]);
        if (key === state.focus) element.focus({ preventScroll: true });
      }
    };
    const restoreScroll = () => scrollTo({ left: state.x, top: state.y, behavior: "instant" });
    if (document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", () => { restoreFields(); restoreScroll(); }, { once: true });
    } else {
      restoreFields();
      restoreScroll();
    }
    // Images may have moved things since.
    if (document.readyState !== "complete") addEventListener("load", restoreScroll, { once: true });
  }

  // ---- what the browser has in its cache ------------------------------------------------------------------

  // A browser takes a file from its cache without asking while the file is fresh: for as long as the app says
  // (max-age), or for a guessed time if the copy is from before devhost ran. Reloading the page does not
  // change that, but a fetch that bypasses the cache leaves its response there.

  const refetches = new Set(); // what goes on
  const unsure = new Set(); // addresses whose refetch did not come to its end

  function lastSegment(url) {
    const segment = url.pathname.split("/").pop() || "index.html";
    try { return decodeURIComponent(segment); } catch { return segment; }
  }

  function refetch(url, cache) {
    if (refetches.size >= REFETCHES_COUNT_MAX) return null;
    unsure.add(url);
    const work = (async () => {
      try {
        const response = await fetch(url, { cache, signal: AbortSignal.timeout(HELD_TIME_MAX_MS) });
        // The cached copy is complete only once the whole body was read.
        const reader = response.body && response.body.getReader();
        while (reader && !(await reader.read()).done);
        unsure.delete(url);
      } catch { /* tried again at the next change */ }
      refetches.delete(work);
    })();
    refetches.add(work);
    return work;
  }

  // Returns what this page has loaded from its own origin, by address: true for parts of pages, false for
  // what scripts request, which may never end or may have side effects.
  function loaded() {
    const found = new Map();
    const add = (address, isPart) => {
      let url;
      try { url = new URL(address, document.baseURI); } catch { return; }
      if (url.origin !== location.origin || url.pathname.startsWith("/__devhost/")) return;
      if (url.searchParams.has("devhost")) return;
      url.hash = "";
      if (!found.get(url.href)) found.set(url.href, isPart);
    };
    const parts = ["script", "link", "css", "img", "image", "input", "icon"];
    for (const entry of performance.getEntriesByType("resource")) {
      add(entry.name, parts.includes(entry.initiatorType) || /\.(m?js|css)(\?|$)/i.test(entry.name));
    }
    // The browser keeps a limited number of entries.
    for (const script of document.querySelectorAll("script[src]")) add(script.src, true);
    for (const { plain } of stylesheetLinks()) add(plain, true);
    for (const image of document.images) if (image.currentSrc) add(image.currentSrc, true);
    return found;
  }

  // Returns the files of pages that this tab has shown before: changed ones may be cached for those, too.
  function remembered() {
    const known = store.get("loaded");
    return Array.isArray(known) ? known.filter((url) => typeof url === "string") : [];
  }

  function remember() {
    const parts = [...loaded()].filter(([, isPart]) => isPart).map(([url]) => url);
    store.set("loaded", [...new Set([...parts, ...remembered()])].slice(0, REMEMBERED_COUNT_MAX));
  }

  // Replaces the copies of changed files, and of whatever may be made from them.
  function refresh(files) {
    const here = loaded();
    const all = new Set([...here.keys(), ...remembered()]);
    const names = new Set([...all].map((url) => lastSegment(new URL(url))));
    const isNamed = (url) => files.includes(lastSegment(new URL(url)));
    for (const url of all) if (isNamed(url) || unsure.has(url)) refetch(url, "reload");
    if (files.length === 0) {
      for (const url of all) if (here.get(url) !== false && !unsure.has(url)) refetch(url, "reload");
    } else if (!files.every((file) => names.has(file))) {
      // Code, a template, or a file served by another name: scripts and stylesheets may be made from it. The
      // browser revalidates its copies.
      for (const [url, isPart] of here) if (isPart && !isImage(url) && !unsure.has(url)) refetch(url, "no-cache");
    }
  }

  const isImage = (url) => /\.(png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|otf)(\?|$)/i.test(url);

  // ---- stylesheets ----------------------------------------------------------------------------------------

  const swaps = new Map(); // link → its successor that is still loading
  const plainAddresses = new WeakMap(); // link that was swapped → its address without devhost's mark

  // Returns the links to stylesheets of this origin, with the addresses that the page gave them.
  function stylesheetLinks() {
    const successors = new Set(swaps.values());
    return [...document.querySelectorAll('link[rel~="stylesheet" i][href]')]
      .filter((link) => !successors.has(link))
      .map((link) => ({ link, plain: plainAddresses.get(link) || link.href }))
      .filter(({ plain }) => plain.startsWith(location.origin + "/"));
  }

  // Returns whether a stylesheet imports one of these files, directly or indirectly.
  function imports(sheet, files, depth) {
    let rules;
    try { rules = sheet.cssRules; } catch { return false; /* of another origin */ }
    for (const rule of rules || []) {
      if (rule instanceof CSSStyleRule) return false; // imports come first
      if (!(rule instanceof CSSImportRule)) continue;
      if (files.includes(lastSegment(new URL(rule.href, sheet.href || document.baseURI)))) return true;
      if (rule.styleSheet && depth < IMPORT_DEPTH_MAX && imports(rule.styleSheet, files, depth + 1)) return true;
    }
    return false;
  }

  async function swapStylesheets(files) {
    // First, because a swapped stylesheet takes its imports from the cache, and the next page takes
    // everything.
    const addresses = [...loaded().keys(), ...remembered()];
    const changed = new Set(addresses.filter((url) => files.includes(lastSegment(new URL(url)))));
    await Promise.allSettled([...changed].map((url) => refetch(url, "reload")));
    const links = stylesheetLinks();
    const named = ({ plain }) => files.includes(lastSegment(new URL(plain)));
    const affected = links.filter((it) => named(it) || (it.link.sheet && imports(it.link.sheet, files, 1)));
    const known = new Set(links.filter(named).map(({ plain }) => lastSegment(new URL(plain))));
    const others = files.filter((file) => !known.has(file));
    const inStyle = [...document.querySelectorAll("style")].some((it) => it.sheet && imports(it.sheet, files, 1));
    const isFound = (file) => affected.some(({ link }) => link.sheet && imports(link.sheet, [file], 1));
    const here = new Set([...loaded().keys()].map((url) => lastSegment(new URL(url))));
    if (inStyle || others.some((file) => here.has(file) && !isFound(file))) {
      // It is used where it cannot be swapped: imported by a style element or a script, or in a shadow tree.
      reload(files);
      return;
    }
    // A file that the page has not loaded may be the source of another one.
    const all = others.some((file) => !here.has(file));
    for (const { link, plain } of all ? links : affected) swapStylesheet(link, plain);
  }

  function swapStylesheet(link, plain) {
    const pending = swaps.get(link);
    if (pending) pending.remove();
    const successor = link.cloneNode();
    successor.removeAttribute("integrity");
    // By hand, to leave the query as it is.
    const [address] = plain.split("#");
    successor.href = `${address}${address.includes("?") ? "&" : "?"}devhost=${Date.now().toString(36)}`;
    plainAddresses.set(successor, plain);
    swaps.set(link, successor);
    const settle = (keep, drop) => {
      if (swaps.get(link) !== successor) return;
      swaps.delete(link);
      drop.remove();
    };
    // The old one stays until the new one is loaded, so that the page is never without style.
    successor.addEventListener("load", () => settle(successor, link), { once: true });
    successor.addEventListener("error", () => settle(link, successor), { once: true });
    link.after(successor);
  }

  // ---- terminal colours -----------------------------------------------------------------------------------

  function colour(codes, at) {
    if (codes[at] === 5 && codes.length > at + 1) {
      const n = codes[at + 1];
      if (n < 16) return [{ index: n }, 2];
      if (n >= 232) { const v = 8 + (n - 232) * 10; return [{ rgb: [v, v, v] }, 2]; }
      const level = (v) => (v === 0 ? 0 : 55 + v * 40);
      const m = n - 16;
      return [{ rgb: [level(Math.floor(m / 36)), level(Math.floor(m / 6) % 6), level(m % 6)] }, 2];
    }
    if (codes[at] === 2 && codes.length > at + 3) return [{ rgb: codes.slice(at + 1, at + 4) }, 4];
    return [null, codes.length];
  }

  function applyCodes(style, codes) {
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      if (code === 0) { style.bold = style.faint = style.italic = style.underline = false; style.front = null; }
      else if (code === 1) style.bold = true;
      else if (code === 2) style.faint = true;
      else if (code === 3) style.italic = true;
      else if (code === 4) style.underline = true;
      else if (code === 22) style.bold = style.faint = false;
      else if (code === 23) style.italic = false;
      else if (code === 24) style.underline = false;
      else if (code >= 30 && code <= 37) style.front = { index: code - 30 };
      else if (code >= 90 && code <= 97) style.front = { index: code - 82 };
      else if (code === 39) style.front = null;
      else if (code === 38 || code === 48) {
        const [found, used] = colour(codes, i + 1);
        if (code === 38) style.front = found;
        i += used;
      }
    }
  }

  // Renders text with terminal colours as elements. Data only ever becomes text.
  function renderTerminal(text) {
    const pre = document.createElement("pre");
    const style = { bold: false, faint: false, italic: false, underline: false, front: null };
    // Links and titles (OSC), control sequences (CSI), other escapes.
    const pattern = /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[([0-9;:]*)[ -\/]*([@-~])|\x1b./gs;
    let at = 0;
    const push = (part) => {
      part = part.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "");
      if (!part) return;
      const span = document.createElement("span");
      const classes = ["bold", "faint", "italic", "underline"].filter((name) => style[name]);
      if (style.front && "index" in style.front) classes.push("c" + style.front.index);
      span.className = classes.join(" ");
      if (style.front && style.front.rgb) span.style.color = `rgb(${style.front.rgb.join(",")})`;
      span.textContent = part;
      pre.append(span);
    };
    for (const match of text.matchAll(pattern)) {
      push(text.slice(at, match.index));
      at = match.index + match[0].length;
      if (match[2] === "m") applyCodes(style, (match[1] || "0").split(/[;:]/).map(Number));
    }
    push(text.slice(at));
    return pre;
  }

  // ---- the overlay ----------------------------------------------------------------------------------------

  const OVERLAY_STYLE = `
    :host { all: initial; position: fixed; inset: 0; z-index: 2147483647; color-scheme: dark; }
    .back { position: absolute; inset: 0; overflow: auto; background: rgb(10 11 14 / .66); padding: 4vh 4vw; }
    .panel { max-width: 62rem; margin: 0 auto; background: #1d1f25; color: #e4e5e9; border-radius: 10px;
      border-top: 4px solid #ff7a5c; box-shadow: 0 12px 48px rgb(0 0 0 / .5);
      font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
    header { display: flex; align-items: flex-start; gap: 1rem; padding: 1rem 1.25rem .5rem; }
    h1 { flex: 1; margin: 0; font-size: 1.2rem; line-height: 1.35; font-weight: 650; overflow-wrap: anywhere; }
    button { all: unset; cursor: pointer; padding: 0 .5rem; border-radius: 6px; font-size: 1.5rem; line-height: 1.2;
      color: #8f939f; }
    button:hover { color: #fff; } button:focus-visible { outline: 2px solid #79b8ff; }
    p { margin: 0; padding: 0 1.25rem .75rem; color: #b6bac4; white-space: pre-wrap; overflow-wrap: anywhere; }
    article { border-top: 1px solid #30333c; }
    .more { padding: .7rem 1.25rem; color: #b6bac4; }
    h2 { margin: 0; padding: .6rem 1.25rem; font: 600 .85rem/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono",
      monospace; color: #79b8ff; overflow-wrap: anywhere; }
    pre { margin: 0; padding: .75rem 1.25rem; overflow-x: auto; tab-size: 4; background: #191b20;
      font: .85rem/1.5 ui-monospace, "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    footer { border-top: 1px solid #30333c; padding: .7rem 1.25rem; color: #8f939f; font-size: .85rem; }
    .bold { font-weight: 700; } .faint { opacity: .67; } .italic { font-style: italic; }
    .underline { text-decoration: underline; }
    .c0 { color: #565b66; } .c1, .c9 { color: #ff8f80; } .c2, .c10 { color: #7ee787; } .c3, .c11 { color: #f2cc60; }
    .c4, .c12 { color: #79b8ff; } .c5, .c13 { color: #d2a8ff; } .c6, .c14 { color: #76e3ea; } .c7 { color: #d5d7dc; }
    .c8 { color: #8f939f; } .c15 { color: #fff; }`;

  const INDICATOR_STYLE = `
    :host { all: initial; position: fixed; right: 12px; bottom: 12px; z-index: 2147483646; pointer-events: none; }
    div { padding: .3rem .7rem; border-radius: 999px; background: #1d1f25; color: #e4e5e9; opacity: .92;
      border: 1px solid #30333c; font: 13px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }`;

  // A shadow root keeps the page's styles out; a constructed stylesheet is exempt from the page's style-src.
  function attach(name, style, content) {
    const element = document.createElement(name);
    const root = element.attachShadow({ mode: "open" });
    try {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(style);
      root.adoptedStyleSheets = [sheet];
    } catch { /* an old browser: plain, but readable */ }
    root.append(content);
    document.documentElement.append(element);
    return element;
  }

  function make(name, text, className) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function describeLeftOut({ errors, warnings }) {
    const counted = (count, what) =>
      count === 0 ? [] : [count === 1 ? `one more ${what}` : `${count.toLocaleString("en")} more ${what}s`];
    const parts = [...counted(errors, "error"), ...counted(warnings, "warning")];
    return parts.length > 0 ? `… and ${parts.join(" and ")}` : "";
  }

  function describe(failure) {
    if (failure.kind === "build") {
      const isError = (diagnostic) => diagnostic.level.startsWith("error");
      const leftOut = failure.left_out || { errors: 0, warnings: 0 };
      const count = failure.diagnostics.filter(isError).length + leftOut.errors;
      const sorted = [...failure.diagnostics].sort((a, b) => isError(b) - isError(a));
      const title = "The build failed" + (count === 1 ? " with one error" : count > 1 ? ` with ${count} errors` : "");
      return { title, diagnostics: sorted, more: describeLeftOut(leftOut), output: failure.output, source: "cargo" };
    }
    if (failure.kind === "process") {
      const title = `The process \`${failure.name}\` failed before the build`;
      return { title, lead: failure.message, hint: failure.hint, output: failure.output, source: "Its last output" };
    }
    if (failure.kind === "start") {
      return { title: "The app did not start", lead: failure.message, hint: failure.hint, output: failure.output };
    }
    return {
      title: `The app crashed ${failure.count} times in a row`,
      lead: failure.message,
      hint: "devhost starts it again after the next change to its code.",
      output: failure.output,
    };
  }

  const overlay = {
    element: null,
    shown: null,
    dismissed: null,
    show(failure) {
      // An overlay closed for one reason stays closed for the same reason.
      const signature = JSON.stringify({ ...failure, generation: 0, output: failure.kind === "build" ? failure.output : "" });
      if (signature === this.dismissed || signature === this.shown) return;
      this.hide();
      this.shown = signature;
      const told = describe(failure);
      const back = make("div", undefined, "back");
      const panel = make("div", undefined, "panel");
      panel.setAttribute("role", "dialog");
      panel.setAttribute("aria-label", told.title);
      const header = make("header");
      const close = make("button", "×");
      close.type = "button";
      close.title = "Close (Esc)";
      close.setAttribute("aria-label", "Close");
      close.addEventListener("click", () => this.dismiss());
      header.append(make("h1", told.title), close);
      panel.append(header);
      for (const text of [told.lead, told.hint]) if (text) panel.append(make("p", text));
      for (const diagnostic of told.diagnostics || []) {
        const article = make("article");
        if (diagnostic.file) {
          const parts = [diagnostic.file, diagnostic.line, diagnostic.column].filter((part) => part != null);
          article.append(make("h2", parts.join(":")));
        }
        article.append(renderTerminal((diagnostic.rendered || diagnostic.message).trimEnd()));
        panel.append(article);
      }
      if (told.more) panel.append(make("article", told.more, "more"));
      if (told.output && told.output.trim()) {
        const article = make("article");
        article.append(make("h2", told.source || "The app's last output"), renderTerminal(told.output.trimEnd()));
        panel.append(article);
      }
      panel.append(make("footer", "The page behind this shows the last good code. This goes away by itself."));
      back.append(panel);
      back.addEventListener("click", (event) => { if (event.target === back) this.dismiss(); });
      this.element = attach("devhost-overlay", OVERLAY_STYLE, back);
    },
    hide() {
      if (this.element) this.element.remove();
      this.element = this.shown = null;
    },
    dismiss() {
      this.dismissed = this.shown;
      this.hide();
    },
    clear() {
      this.hide();
      this.dismissed = null;
    },
  };

  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && overlay.element) overlay.dismiss();
  }, true);

  const indicator = {
    element: null,
    timer: 0,
    text: "",
    show(text) {
      this.text = text;
      if (this.element) this.element.shadowRoot.firstChild.textContent = text;
      else if (!this.timer) this.timer = setTimeout(() => {
        this.timer = 0;
        this.element = attach("devhost-indicator", INDICATOR_STYLE, make("div", this.text));
      }, INDICATOR_DELAY_MS);
    },
    hide() {
      clearTimeout(this.timer);
      this.timer = 0;
      if (this.element) this.element.remove();
      this.element = null;
    },
  };

  // ---- events ---------------------------------------------------------------------------------------------

  let shownFailure; // on a waiting page: what it shows, as of the first Hello
  let buildsKnown = null; // how many builds had begun as of the first Hello

  function onHello(event, revision) {
    const mark = [event.session, event.generation, revision].join(":");
    const failure = event.failure ? JSON.stringify(event.failure) : null;
    building = false;
    const stale = event.session !== page.session || event.generation !== page.generation || revision !== page.revision;
    indicator.hide();
    // A page that was hidden has missed events. Builds that it missed are changes, too.
    if (buildsKnown === null) buildsKnown = event.builds;
    changeSeen = changeSeen || event.session !== page.session || event.builds > buildsKnown;
    // Without a generation there is nothing to load yet; a Reload will follow.
    if (event.generation > 0 && stale && reloadOnce(mark)) return;
    page.session = event.session;
    if (event.generation > 0) page.generation = event.generation;
    page.revision = revision;
    if (WAITING.includes(page.kind)) {
      const first = shownFailure === undefined;
      const changed = failure !== null && failure !== shownFailure;
      if (first ? page.kind === "starting" && failure : changed) reload();
      shownFailure = failure;
    } else if (event.failure) overlay.show(event.failure);
    else overlay.clear();
  }

  function onEvent(event, revision) {
    switch (event.type) {
      case "hello":
        onHello(event, revision);
        break;
      case "building":
        changeSeen = true;
        building = true;
        if (page.kind !== "starting") indicator.show("Building …");
        break;
      case "progress":
        onProgress(event);
        break;
      case "reload":
        // Never sent for a crash alone: the app has read something anew, though perhaps without a build.
        changeSeen = changeSeen || event.restarted;
        building = false;
        indicator.hide();
        overlay.clear();
        reload(event.files || []);
        break;
      case "css":
        page.revision = revision;
        swapStylesheets(event.files);
        break;
      case "failed":
        building = false;
        indicator.hide();
        if (WAITING.includes(page.kind) || page.kind === "status") reload();
        else overlay.show(event.failure);
        break;
      case "moved":
        moveTo(event.from, event.to);
        break;
      case "recovered":
        building = false;
        indicator.hide();
        overlay.clear();
        if (WAITING.includes(page.kind) || page.kind === "status") reload();
        break;
    }
  }

  // The guess at the app's port was wrong. Whoever reaches devhost in another way, as through a tunnel, is left where they are.
  function moveTo(from, to) {
    if (location.port !== String(from) || page.method !== "GET") return;
    const place = new URL(location.href);
    place.port = String(to);
    leaving = true;
    location.replace(place);
  }

  function onProgress(event) {
    const bar = document.querySelector("[data-devhost-progress]");
    const text = document.querySelector("[data-devhost-progress-text]");
    const count = event.total > 0 ? `${event.done} of ${event.total} crates` : "";
    if (bar && event.total > 0) { bar.max = event.total; bar.value = event.done; }
    if (text) text.textContent = [count, event.current].filter(Boolean).join(" · ");
    else if (count) indicator.show(`Building … ${event.done}/${event.total}`);
  }

  let source = null;
  let retry = 0;
  let delay = RETRY_MIN_MS;

  function connect() {
    clearTimeout(retry);
    if (source || leaving || document.visibilityState === "hidden") return;
    // Independent of the page's <base>.
    source = new EventSource(location.origin + "/__devhost/events");
    source.onmessage = (message) => {
      delay = RETRY_MIN_MS;
      let event;
      try { event = JSON.parse(message.data); } catch { return; }
      onEvent(event, Number(message.lastEventId));
      page.connected = true;
    };
    // The browser would retry by itself, but not after an error status, and not with a growing delay.
    source.onerror = () => {
      disconnect();
      retry = setTimeout(connect, delay);
      delay = Math.min(delay * 2, RETRY_MAX_MS);
    };
  }

  function disconnect() {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
    page.connected = building = false;
  }

  if (page.kind === "app") restoreState();
  if (FINAL.includes(page.kind)) return;

  // Browsers open at most six connections per host: a hidden page must not take one from the others.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") disconnect();
    else { delay = RETRY_MIN_MS; connect(); }
  });
  addEventListener("pagehide", () => { remember(); disconnect(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { leaving = false; connect(); } });
  connect();
})();
