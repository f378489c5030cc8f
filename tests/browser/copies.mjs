// Drives a Chromium against `site` of tests/fixtures/plain/traps under devhost: a copy in the browser's cache, whether from
// before devhost ran or declared fresh by the app, does not survive an edit, and the next page load does not bring it back.
//
//   DEVHOST_URL, APP_DIR, SHOTS, CHROMIUM  as in driver.mjs

import { readFileSync, utimesSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as listen } from "node:net";
import { extname, join } from "node:path";
import {
  check,
  driveApp,
  edit,
  isMarked,
  mark,
  required,
  step,
  url,
  waitForLoad,
  waitForScript,
  waitInPage,
} from "./driver.mjs";

const app = required("APP_DIR");
const MONTH_S = 30 * 24 * 3600;

/** How the files below each of them are sent. */
const KINDS = {
  static: "without a word on caching",
  aged: "with max-age",
  frozen: "as immutable",
};

function age(...files) {
  const then = Date.now() / 1000 - MONTH_S;
  for (const file of files) utimesSync(join(app, "static", file), then, then);
}

async function waitForSite(page, what, wanted) {
  await waitInPage(
    page,
    `${what}: ${JSON.stringify(wanted)}`,
    (wanted) => {
      if (document.readyState !== "complete") return false;
      const color = (id) => getComputedStyle(document.getElementById(id)).color;
      const shown = {
        app: document.documentElement.dataset.app,
        module: document.documentElement.dataset.module,
        styled: color("styled"),
        heading: color("heading"),
        picture: document.getElementById("picture").naturalWidth,
      };
      return Object.entries(wanted).every(([name, value]) => shown[name] === value);
    },
    wanted,
  );
}

/** A port with first a plain file server and then devhost, as when `cargo run` had the port before. */
async function serveBefore() {
  const site = await (await fetch(new URL("/static/", url), { headers: { accept: "*/*" } })).text();
  const modified = new Date(Date.now() - MONTH_S * 1000).toUTCString();
  const kinds = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
  const files = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const kind = kinds[extname(pathname)];
    response.setHeader("last-modified", modified);
    response.setHeader("content-type", kind ?? "text/html");
    response.end(kind ? readFileSync(join(app, pathname)) : site);
  });
  let isBefore = true;
  const kept = new Set();
  const server = listen((socket) => {
    if (isBefore) {
      kept.add(socket);
      files.emit("connection", socket);
      return;
    }
    const devhost = connect(Number(url.port), url.hostname);
    for (const end of [socket, devhost]) end.on("error", () => (socket.destroy(), devhost.destroy()));
    socket.pipe(devhost).pipe(socket);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/static/`,
    handOver() {
      isBefore = false;
      for (const socket of kept) socket.destroy();
    },
    end: () => server.close(),
  };
}

let count = 1;

/** A visible edit of each file, different every time. */
const EDITS = {
  app: ["app.js", /app = ".*?"/, (n) => `app = "edit ${n}"`, (n) => `edit ${n}`],
  module: ["part.js", /word = ".*?"/, (n) => `word = "edit ${n}"`, (n) => `edit ${n}`],
  styled: ["site.css", /rgb\(\d+, 0, 0\)/, (n) => `rgb(${n}, 0, 0)`, (n) => `rgb(${n}, 0, 0)`],
  heading: ["colours.css", /rgb\(\d+, 0, 0\)/, (n) => `rgb(${n}, 0, 0)`, (n) => `rgb(${n}, 0, 0)`],
  picture: ["picture.svg", /width="\d+"/, (n) => `width="${n + 10}"`, (n) => n + 10],
};

/** devhost answers edits that follow an answer at once later and later, as they may be echoes of it. */
const PAUSE_MS = 1_100;

const pause = () => new Promise((done) => setTimeout(done, PAUSE_MS));

/** Edits files, after a pause such as a person makes. */
async function change(...names) {
  await pause();
  return changeAtOnce(...names);
}

function changeAtOnce(...names) {
  count += 1;
  const wanted = {};
  for (const name of names) {
    const [file, from, to, shown] = EDITS[name];
    edit(join("static", file), from, to(count));
    wanted[name] = shown(count);
  }
  return wanted;
}

await driveApp(async (browser) => {
  age("app.js", "site.css", "colours.css", "main.js", "part.js", "picture.svg");

  await step("files of last month are asked for again although nobody says so", async () => {
    const page = await (await browser.newContext()).newPage();
    const asked = [];
    page.on("response", (response) => asked.push([new URL(response.url()).pathname, response.status()]));
    await page.goto(new URL("/static/", url).href);
    await waitForSite(page, "the site", { app: "one", module: "one" });
    const another = await page.context().newPage();
    another.on("response", (response) => asked.push([new URL(response.url()).pathname, response.headers()["cache-control"]]));
    asked.length = 0;
    await another.goto(new URL("/static/", url).href);
    await waitForSite(another, "the site", { app: "one", module: "one" });
    for (const file of ["app.js", "site.css", "main.js"]) {
      check(
        asked.some(([path, control]) => path === `/static/${file}` && control === "no-cache"),
        `${file} came without cache-control: no-cache: ${JSON.stringify(asked)}`,
      );
    }
    await page.context().close();
  });

  await step("a copy from before devhost ran does not outlive an edit", async () => {
    const before = await serveBefore();
    const page = await (await browser.newContext()).newPage();
    await page.goto(before.url);
    await waitForSite(page, "the site", { app: "one", module: "one" });
    check(await page.evaluate(() => window.__devhost === undefined), "the script was there before devhost");
    before.handOver();
    // The browser also has the page, without the script; loading it again gets that.
    await page.reload();
    await waitForScript(page, "the page");
    const wanted = await change("app", "module", "picture");
    await waitForSite(page, "the edits", wanted);
    await mark(page);
    Object.assign(wanted, await change("styled", "heading"));
    await waitForSite(page, "the edits of styles", wanted);
    check(await isMarked(page), "the page was loaded again for a stylesheet");
    await page.reload();
    await waitForSite(page, "all edits after a reload by hand", wanted);
    await page.context().close();
    before.end();
  });

  for (const [kind, how] of Object.entries(KINDS)) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const open = async () => {
      await page.goto(new URL(`/${kind}/`, url).href);
      await waitForScript(page, kind);
    };

    for (const name of ["app", "module", "picture"]) {
      await step(`files ${how}: an edit of ${EDITS[name][0]} shows`, async () => {
        await open();
        await mark(page);
        await waitForSite(page, "the edit", await change(name));
        check(!(await isMarked(page)), "the page was not loaded again");
      });
    }

    for (const name of ["styled", "heading"]) {
      await step(`files ${how}: an edit of ${EDITS[name][0]} is swapped in, and the next load keeps it`, async () => {
        await open();
        await mark(page);
        const wanted = await change(name);
        await waitForSite(page, "the edit", wanted);
        check(await isMarked(page), "the page was loaded again");
        await page.reload();
        await waitForSite(page, "the edit after a reload by hand", wanted);
        await open();
        await waitForSite(page, "the edit after another visit", wanted);
        // And after a reload by devhost.
        await mark(page);
        await waitForSite(page, "both edits", { ...wanted, ...(await change("app")) });
      });
    }

    await step(`files ${how}: a script and a stylesheet edited at once show at once`, async () => {
      await open();
      await waitForSite(page, "the edits", await change("app", "styled", "heading"));
    });

    await step(`files ${how}: an edit that the page on show does not use is there in the next one`, async () => {
      await open();
      await page.goto(new URL("/", url).href);
      await waitForScript(page, "/");
      await mark(page);
      const wanted = await change("app", "module");
      await waitForLoad(page, "the page load");
      await open();
      await waitForSite(page, "the edits", wanted);
    });

    await step(`files ${how}: every tab shows the edit`, async () => {
      await open();
      const tabs = [page, await context.newPage(), await context.newPage()];
      for (const tab of tabs) {
        await tab.goto(new URL(`/${kind}/`, url).href);
        await waitForScript(tab, kind);
      }
      const wanted = await change("app", "module", "styled");
      for (const tab of tabs) await waitForSite(tab, "the edits", wanted);
    });

    await step(`files ${how}: an edit while the code is being built shows with the new code`, async () => {
      await open();
      await pause();
      count += 1;
      edit("src/bin/site.rs", /HEADING: &str = ".*?"/, `HEADING: &str = "Edit ${count}"`);
      const wanted = changeAtOnce("app", "module");
      await waitForSite(page, "the edits", wanted);
      const heading = `Edit ${count - 1}`;
      await waitInPage(page, "the new code", (text) => document.getElementById("heading")?.textContent === text, heading);
      await waitForSite(page, "the edits", wanted);
    });

    await context.close();
  }
});
