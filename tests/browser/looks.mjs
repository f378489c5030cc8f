// Looks at each of devhost's own pages in a real Chromium, at three widths, light and dark. The Rust test hands over
// the pages, filled with long and awkward content; this script serves them as devhost does, checks the DOM, and takes a
// screenshot of each for people to look at. It ends with 0 only if all checks held.
//
//   PAGES     a JSON file: { policy, script, samples: [{ name, html, events }] }
//   SHOTS     a folder for screenshots
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { drive, required } from "./browser.mjs";

const WIDTHS_PX = [360, 800, 1400];
const HEIGHT_PX = 900;
/** The screenshot of a taller page is cut. */
const SHOT_HEIGHT_MAX_PX = 2600;
/** Text of several lines has at least this many characters a line on average. */
const LINE_CHARACTERS_MIN = 9;
/** WCAG 2, level AA, for text of normal size. */
const CONTRAST_MIN = 4.5;

const { policy, script, samples } = JSON.parse(readFileSync(required("PAGES"), "utf8"));
const shots = join(required("SHOTS"), "pages");
mkdirSync(shots, { recursive: true });

// ---- the pages, as devhost serves them ----------------------------------------------------------------------

const server = createServer((request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  if (path === "/__devhost/client.js") {
    response.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(script);
    return;
  }
  if (path === "/__devhost/events") {
    const name = new URL(request.headers.referer ?? "http://localhost/").pathname.slice(1);
    const events = samples.find((sample) => sample.name === name)?.events ?? [];
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of events) response.write(`id: 7\ndata: ${JSON.stringify(event)}\n\n`);
    return;
  }
  const sample = samples.find((sample) => `/${sample.name}` === path);
  response
    .writeHead(sample ? 200 : 404, { "content-type": "text/html; charset=utf-8", "content-security-policy": policy })
    .end(sample?.html);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

// ---- what can be checked in the DOM -------------------------------------------------------------------------

/** Runs in the page. Returns what is wrong with it. */
function inspect({ lineCharactersMin, contrastMin }) {
  const faults = [];
  const width = document.documentElement.clientWidth;
  if (document.scrollingElement.scrollWidth > width) {
    faults.push(`the page is ${document.scrollingElement.scrollWidth} px wide, the window ${width}`);
  }
  const describe = (element) => `<${element.localName} class="${element.className}">`;
  const excerpt = (text) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

  function parentOf(element) {
    return element.assignedSlot ?? element.parentElement ?? element.getRootNode().host ?? null;
  }
  function isSeen(element) {
    return element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  }
  /** The nearest element that scrolls sideways, so that overflowing content can be reached. */
  function scroller(element) {
    for (let at = element; at; at = parentOf(at)) {
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return at;
    }
    return null;
  }
  function clipper(element) {
    for (let at = element; at; at = parentOf(at)) {
      const overflow = getComputedStyle(at).overflowX;
      if (["auto", "scroll"].includes(overflow)) return null;
      if (["hidden", "clip"].includes(overflow)) return at;
    }
    return null;
  }
  function colour(text) {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  }
  function over(front, back) {
    const mix = (name) => front[name] * front.a + back[name] * (1 - front.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
  }
  function ground(element) {
    const layers = [];
    for (let at = element; at; at = parentOf(at)) {
      const layer = colour(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer.a === 1) break;
    }
    const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark")
      && matchMedia("(prefers-color-scheme: dark)").matches;
    const last = dark ? { r: 18, g: 18, b: 18, a: 1 } : { r: 255, g: 255, b: 255, a: 1 };
    return layers.reduceRight((back, layer) => over(layer, back), last);
  }
  function luminance({ r, g, b }) {
    const [red, green, blue] = [r, g, b].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  function opacity(element) {
    let all = 1;
    for (let at = element; at; at = parentOf(at)) all *= Number(getComputedStyle(at).opacity);
    return all;
  }
  function contrast(element) {
    const back = ground(element);
    const own = colour(getComputedStyle(element).color);
    const front = over({ ...own, a: own.a * opacity(element) }, back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  }

  function checkText(node) {
    const element = node.parentElement ?? node.getRootNode().host;
    const text = node.textContent.trim();
    if (!text || !isSeen(element) || ["style", "script", "title"].includes(element.localName)) return;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
    if (boxes.length === 0) return;
    const lines = new Set(boxes.map((box) => Math.round(box.top))).size;
    const isPreformatted = getComputedStyle(element).whiteSpace.startsWith("pre");
    if (lines > 1 && !isPreformatted && text.length / lines < lineCharactersMin) {
      faults.push(`${describe(element)} has ${lines} lines for ${excerpt(text)}`);
    }
    if (!scroller(element)) {
      const stuck = boxes.find((box) => box.right > width + 1 || box.left < -1);
      if (stuck) faults.push(`${describe(element)} sticks out of the window: ${excerpt(text)}`);
    }
    const clip = clipper(element)?.getBoundingClientRect();
    if (clip && boxes.some((box) => box.right > clip.right + 1 || box.left < clip.left - 1)) {
      faults.push(`${describe(element)} is cut off: ${excerpt(text)}`);
    }
    const ratio = contrast(element);
    if (ratio < contrastMin) {
      faults.push(`${describe(element)} has a contrast of ${ratio.toFixed(2)}: ${excerpt(text)}`);
    }
  }
  /** Checks that the cells of a row are side by side and never overlap. */
  function checkRow(row) {
    const boxes = [...row.cells].filter((cell) => cell.textContent.trim()).map((cell) => cell.getBoundingClientRect());
    for (const [at, box] of boxes.entries()) {
      for (const other of boxes.slice(at + 1)) {
        const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        if (across > 1 && down > 1) faults.push(`cells lie over one another in ${excerpt(row.textContent)}`);
      }
    }
  }
  function walk(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) checkText(node);
      else {
        if (node.shadowRoot) walk(node.shadowRoot);
        if (node.localName === "tr") checkRow(node);
      }
    }
  }
  walk(document.documentElement);
  return [...new Set(faults)].slice(0, 10);
}

// ---- the round ----------------------------------------------------------------------------------------------

/** Waits until the effects of the events show. */
async function settle(page, name) {
  if (name.startsWith("overlay")) await page.waitForSelector("devhost-overlay", { state: "attached" });
  if (name === "indicator") await page.waitForSelector("devhost-indicator", { state: "attached" });
  if (name === "starting") await page.waitForFunction(() => document.querySelector("progress").value > 0);
}

const faults = [];
await drive(async (browser) => {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of WIDTHS_PX) {
      const context = await browser.newContext({ viewport: { width, height: HEIGHT_PX }, colorScheme });
      const page = await context.newPage();
      const where = () => `${new URL(page.url()).pathname.slice(1)}, ${width} px, ${colorScheme}`;
      page.on("pageerror", (error) => faults.push(`${where()}: ${error.message}`));
      page.on("console", (message) => {
        if (message.type() === "error") faults.push(`${where()}: ${message.text()}`);
      });
      for (const { name } of samples) {
        await page.goto(`${origin}/${name}`, { waitUntil: "load" });
        await settle(page, name);
        const found = await page.evaluate(inspect, {
          lineCharactersMin: LINE_CHARACTERS_MIN,
          contrastMin: CONTRAST_MIN,
        });
        faults.push(...found.map((fault) => `${where()}: ${fault}`));
        const height = await page.evaluate(() => document.documentElement.scrollHeight);
        await page.screenshot({
          path: join(shots, `${name}-${width}-${colorScheme}.png`),
          fullPage: true,
          clip: { x: 0, y: 0, width, height: Math.min(Math.max(height, HEIGHT_PX), SHOT_HEIGHT_MAX_PX) },
        });
      }
      await context.close();
      console.log(`ok    ${samples.length} pages at ${width} px, ${colorScheme}`);
    }
  }
  for (const fault of faults) console.error(`FAIL  ${fault}`);
  if (faults.length > 0) process.exitCode = 1;
});
