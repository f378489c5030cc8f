// Drives a Chromium against `site` of tests/fixtures/plain/traps under devhost: everything that the browser loads as a
// document reloads itself after an edit and shows why the code does not build; what scripts fetch stays unchanged.
//
//   DEVHOST_URL, APP_DIR, SHOTS, CHROMIUM  as in driver.mjs

import { check, checkEqual, driveApp, edit, isMarked, mark, step, url, waitForLoad, waitForScript, waitInPage } from "./driver.mjs";

const SOURCE = "src/bin/site.rs";
const TEMPLATE = "templates/greeting.html";
const PATHS = [
  "/",
  "/text",
  "/empty",
  "/comment",
  "/standards",
  "/latin-1",
  "/untyped",
  "/missing",
  "/broken",
  "/bare",
  "/stream",
];

const overlayText = () =>
  document.documentElement.querySelector(":scope > devhost-overlay")?.shadowRoot?.textContent ?? "";

const open = (page, path) => page.goto(new URL(path, url).href, { waitUntil: "commit" });

await driveApp(async (browser) => {
  const page = await (await browser.newContext()).newPage();

  await step("every document has the script, and nothing else of it is changed", async () => {
    for (const path of PATHS) {
      await open(page, path);
      await waitForScript(page, path);
    }
    await open(page, "/latin-1");
    await waitInPage(page, "the accents", () => document.querySelector("h1")?.textContent === "déjà vu");
    await open(page, "/standards");
    await waitForScript(page, "/standards");
    checkEqual(await page.evaluate(() => document.compatMode), "CSS1Compat", "the mode of a page with a doctype");
    await open(page, "/");
    await waitForScript(page, "/");
    checkEqual(await page.evaluate(() => document.compatMode), "BackCompat", "the mode of a page without one");
    checkEqual(await page.evaluate(() => document.body.innerHTML), "<h1>Before the edit</h1>", "the body");
  });

  await step("what a script fetches has no script in it", async () => {
    const bodies = await page.evaluate(async () => {
      const ask = async (headers) => (await fetch("/", { headers })).text();
      const asked = new XMLHttpRequest();
      await new Promise((done) => {
        asked.onload = done;
        asked.open("GET", "/");
        asked.setRequestHeader("HX-Request", "true");
        asked.setRequestHeader("Accept", "text/html");
        asked.send();
      });
      return [await ask({}), await ask({ Accept: "text/html" }), asked.responseText];
    });
    for (const body of bodies) checkEqual(body, "<h1>Before the edit</h1>", "the body");
  });

  await step("an edit loads the simplest page again", async () => {
    await mark(page);
    edit(SOURCE, 'HEADING: &str = "Before the edit"', 'HEADING: &str = "After the edit"');
    await waitInPage(page, "the new heading", () => document.querySelector("h1")?.textContent === "After the edit");
    await waitForLoad(page, "the page load");
  });

  await step("each kind of document shows why the code does not build", async () => {
    await waitForScript(page, "/");
    edit(SOURCE, 'HEADING: &str = "After the edit"', "HEADING: &str = 42");
    await waitInPage(page, "the overlay", `(${overlayText})().includes("E0308")`);
    for (const path of PATHS) {
      await open(page, path);
      await waitInPage(page, `the overlay in ${path}`, `(${overlayText})().includes("E0308")`);
    }
  });

  await step("each of them is loaded again once it builds", async () => {
    for (const [index, path] of PATHS.entries()) {
      await open(page, path);
      await waitForScript(page, path);
      await mark(page);
      const before = index === 0 ? "HEADING: &str = 42" : `HEADING: &str = "Edit ${index}"`;
      edit(SOURCE, before, `HEADING: &str = "Edit ${index + 1}"`);
      await waitForLoad(page, `a load of ${path}`);
    }
  });

  await step("an edited template shows at once, and again after one that ended the app", async () => {
    const heading = (text) =>
      waitInPage(page, text, (text) => document.querySelector("h1")?.textContent === text, text);
    await open(page, "/template");
    await heading("A template");
    await waitForScript(page, "/template");
    edit(TEMPLATE, "A template", "Another template");
    await heading("Another template");
    await waitForScript(page, "the new page");
    edit(TEMPLATE, "Another template", "A {{ template");
    await heading("The app exited");
    await waitInPage(page, "the note", () => document.querySelector("[data-devhost-note]")?.hidden === false);
    edit(TEMPLATE, "A {{ template", "A mended template");
    await heading("A mended template");
  });

  await step("a page that a form was sent to is not sent again", async () => {
    await page.setContent(`<form method=post action="${new URL("/form", url).href}"><button>Send</button></form>`);
    await page.click("button");
    await waitForScript(page, "/form");
    await mark(page);
    edit(SOURCE, /HEADING: &str = ".*?"/, 'HEADING: &str = "The last edit"');
    await waitInPage(page, "the note", () =>
      document.querySelector("devhost-indicator")?.shadowRoot.textContent.includes("send the request again"),
    );
    check(await isMarked(page), "the page was loaded again");
  });
});
