// Drives a real Chromium against the example app under devhost: what people see who edit the app while its
// page is open. The Rust test starts devhost and runs this script; it prints a line for each step and ends
// with 0 only if all of them held. It waits for what the browser shows, never for a time to pass.
//
//   DEVHOST_URL  the address that devhost prints
//   APP_DIR      the folder of the app's sources, a copy: they are edited
//   SHOTS        a folder for screenshots (optional)
//   CHROMIUM     the browser (default: /usr/bin/chromium)

import { join } from "node:path";
import {
  STEP_TIME_MAX_MS,
  check,
  checkEqual,
  currentStep,
  drive,
  edit,
  isMarked,
  mark,
  saveInPlace,
  shots,
  step,
  url,
  waitInPage,
} from "./driver.mjs";

const PAGES = "src/pages.rs";
const STYLE = "static/style.css";
const TEMPLATE = "templates/book.html";

let shotCount = 0;

async function shoot(page, name) {
  if (!shots) return;
  shotCount += 1;
  await page.screenshot({ path: join(shots, `${String(shotCount).padStart(2, "0")}-${name}.png`) });
}

async function readStatus() {
  const response = await fetch(new URL("/__devhost/status", url), { signal: AbortSignal.timeout(10_000) });
  checkEqual(response.status, 200, "the status document's status");
  return response.json();
}

const waitForHeading = (page, text) =>
  waitInPage(
    page,
    `the heading "${text}"`,
    (text) => document.readyState === "complete" && document.getElementById("heading")?.textContent === text,
    text,
  );

const waitForText = (page, selector, text) =>
  waitInPage(
    page,
    `"${text}" in ${selector}`,
    ([selector, text]) => [...document.querySelectorAll(selector)].some((element) => element.textContent.includes(text)),
    [selector, text],
  );

const waitForConnections = (page) =>
  waitInPage(page, "feed and chat being open", () =>
    ["feed-state", "chat-state"].every((id) => document.getElementById(id)?.dataset.state === "open"),
  );

/** The text of devhost's overlay, null if none is visible. */
function readOverlay() {
  const overlay = document.documentElement.querySelector(":scope > devhost-overlay");
  const text = overlay?.shadowRoot?.textContent ?? "";
  const seen = [overlay, ...(overlay?.shadowRoot?.querySelectorAll("*") ?? [])].some((element) => {
    const box = element?.getBoundingClientRect();
    return box && box.width > 100 && box.height > 50 && element.checkVisibility();
  });
  return seen ? text : null;
}

async function waitForOverlay(page, parts) {
  const holds = `(text) => text !== null && ${JSON.stringify(parts)}.every((part) => text.includes(part))`;
  await waitInPage(page, `the overlay with ${parts.join(", ")}`, `(${holds})((${readOverlay})())`);
}

async function waitForNoOverlay(page) {
  await waitInPage(page, "the overlay's end", `(${readOverlay})() === null`);
}

const FIELDS = {
  "#sign-name": "Somebody who is not done",
  "#sign-message": "A thought of which only half is writ",
};

async function checkFields(page) {
  for (const [selector, text] of Object.entries(FIELDS)) {
    await waitInPage(page, `${selector} still having "${text}"`, ([s, t]) => document.querySelector(s)?.value === t, [
      selector,
      text,
    ]);
  }
}

async function say(page, text) {
  await page.fill("#chat-text", text);
  await page.press("#chat-text", "Enter");
}

// The steps

const complaints = [];
let complaintsCount = true;

/** Collects what a developer would see in red in the browser's console. */
function listen(page, name) {
  page.setDefaultTimeout(STEP_TIME_MAX_MS);
  page.on("console", (message) => {
    if (message.type() === "error" && complaintsCount) {
      complaints.push(`${name}, during "${currentStep()}": ${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => complaints.push(`${name}, during "${currentStep()}": ${error.stack ?? error}`));
  return page;
}

async function run(browser) {
  // Lower than the page, so that it scrolls.
  const context = await browser.newContext({ viewport: { width: 1100, height: 560 }, colorScheme: "light" });
  const page = listen(await context.newPage(), "page");
  let generation;

  await step("the page opens, with a generation in its headers", async () => {
    const response = await page.goto(url.href, { timeout: STEP_TIME_MAX_MS });
    checkEqual(response.status(), 200, "the status");
    generation = (await readStatus()).generation;
    checkEqual(response.headers()["x-devhost-generation"], String(generation), "x-devhost-generation");
    await waitForConnections(page);
    await shoot(page, "open");
  });

  const other = listen(await (await browser.newContext()).newPage(), "other page");

  await step("an entry that one visitor signs appears in the other's open page", async () => {
    await other.goto(url.href);
    await waitForConnections(other);
    await mark(page);
    await other.fill("#sign-name", "Ada");
    await other.fill("#sign-message", "Signed by <another> visitor");
    await Promise.all([other.waitForURL(/#entry-\d+$/), other.click("#sign button")]);
    await waitForText(page, ".entry .message", "Signed by <another> visitor");
    await waitForText(other, ".entry .message", "Signed by <another> visitor");
    check(await isMarked(page), "the first page was loaded again");
  });

  await step("two visitors chat", async () => {
    await waitForConnections(other);
    await say(page, "Hello from the first page");
    await waitForText(page, "#chat-lines .mine", "Hello from the first page");
    await waitForText(other, "#chat-lines li:not(.mine)", "Hello from the first page");
    await say(other, "Hello from the other page");
    await waitForText(page, "#chat-lines li:not(.mine)", "Hello from the other page");
    await shoot(page, "chat");
    await other.context().close();
  });

  await step("an edit of the code shows, and the half-filled form is still filled in", async () => {
    for (const [selector, text] of Object.entries(FIELDS)) await page.fill(selector, text);
    await page.evaluate(() => window.scrollTo(0, 90));
    await mark(page);
    edit(PAGES, /const HEADING: &str = ".*";/, 'const HEADING: &str = "The visitors’ book";');
    await waitForHeading(page, "The visitors’ book");
    check(!(await isMarked(page)), "the new heading is there without a page load");
    await checkFields(page);
    await waitInPage(page, "the page being scrolled as before", () => Math.abs(window.scrollY - 90) <= 2);
    const status = await readStatus();
    checkEqual(status.state, "ready", "the state");
    check(status.generation > generation, `the generation is still ${status.generation}`);
    generation = status.generation;
    await shoot(page, "edited");
  });

  await step("feed and chat are open again in the new generation", async () => {
    await waitForConnections(page);
    await say(page, "Hello to the new generation");
    await waitForText(page, "#chat-lines .mine", "Hello to the new generation");
  });

  await step("an edit of the stylesheet changes the colour without a page load", async () => {
    const colour = () => page.evaluate(() => getComputedStyle(document.querySelector("#sign button")).backgroundColor);
    const before = await colour();
    const reloads = (await readStatus()).reloads.length;
    await mark(page);
    edit(STYLE, /--accent: .*;/, "--accent: #6d28d9;", saveInPlace);
    await waitInPage(
      page,
      `the button's colour, ${before}, becoming another`,
      () => getComputedStyle(document.querySelector("#sign button")).backgroundColor === "rgb(109, 40, 217)",
    );
    await waitInPage(
      page,
      "the old stylesheet being gone",
      () => document.querySelectorAll('link[rel="stylesheet"]').length === 1 && document.styleSheets.length === 1,
    );
    check(await isMarked(page), "the page was loaded again");
    await checkFields(page);
    const status = await readStatus();
    checkEqual(status.generation, generation, "the generation");
    checkEqual(status.reloads.length, reloads, "the number of reloads");
    await shoot(page, "restyled");
  });

  await step("an edit of a template starts the app anew without a build and loads the page again", async () => {
    await mark(page);
    edit(TEMPLATE, ">Sign the book<", ">Sign our book<", saveInPlace);
    await waitForText(page, "#sign-title", "Sign our book");
    check(!(await isMarked(page)), "the new text is there without a page load");
    await checkFields(page);
    const status = await readStatus();
    // The app may have read it once, when it started.
    checkEqual(status.generation, generation + 1, "the generation");
    checkEqual(status.reloads.at(-1).steps.build_ms, 0, "the time of the build");
    generation = status.generation;
  });

  const mistake = 'const HEADING: &str = 42;';

  await step("a compile error shows over the page, which stays", async () => {
    await waitForConnections(page);
    await mark(page);
    edit(PAGES, /const HEADING: &str = ".*";/, mistake);
    await waitForOverlay(page, [PAGES, "mismatched types", "E0308"]);
    check(await isMarked(page), "the page was loaded again");
    checkEqual(await page.textContent("#heading"), "The visitors’ book", "the heading under the overlay");
    await checkFields(page);
    checkEqual((await readStatus()).state, "failed", "the state");
    await shoot(page, "compile-error");
  });

  await step("a page opened meanwhile has the last good code and the error", async () => {
    const late = listen(await context.newPage(), "late page");
    const response = await late.goto(url.href);
    checkEqual(response.status(), 200, "the status");
    checkEqual(await late.textContent("#heading"), "The visitors’ book", "the heading");
    await waitForOverlay(late, [PAGES, "mismatched types"]);
    await late.close();
  });

  await step("the error goes away once the code builds, and the new code shows", async () => {
    edit(PAGES, mistake, 'const HEADING: &str = "Once more with feeling";');
    await waitForHeading(page, "Once more with feeling");
    await waitForNoOverlay(page);
    await checkFields(page);
    const status = await readStatus();
    checkEqual(status.state, "ready", "the state");
    check(status.generation > generation, `the generation is still ${status.generation}`);
    await shoot(page, "mended");
  });

  await step("an error that is taken back goes away too", async () => {
    await waitForConnections(page);
    const takeBack = edit(PAGES, "async fn render_book(", "async fn render_bok(");
    await waitForOverlay(page, [PAGES, "render_book", "E0425"]);
    takeBack();
    await waitForNoOverlay(page);
    await waitForHeading(page, "Once more with feeling");
    await checkFields(page);
    checkEqual((await readStatus()).state, "ready", "the state");
  });

  await step("the console had no error in it", () => {
    check(complaints.length === 0, complaints.join("\n      "));
  });

  await step("a panic is a page with its message and place, and the app goes on", async () => {
    // The browser itself logs a 500 to the console.
    complaintsCount = false;
    const response = await page.goto(new URL("/panic", url).href);
    checkEqual(response.status(), 500, "the status");
    const text = await page.textContent("body");
    for (const part of ["the guest book fell off the table, on purpose", "src/trouble.rs"]) {
      check(text.includes(part), `the page does not say ${part}`);
    }
    await shoot(page, "panic");
    checkEqual((await page.goto(url.href)).status(), 200, "the status of the book");
    await waitForConnections(page);
  });
}

await drive(run, async (page) => {
  for (const complaint of complaints) console.error(`      console: ${complaint}`);
  if (page) await shoot(page, "failed");
});
