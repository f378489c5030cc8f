// What the scripts that edit an app under devhost have in common: edits of the app's files, and waits for what the
// browser shows.
//
//   DEVHOST_URL  the address that devhost prints
//   APP_DIR      the folder of the app's sources, a copy: they are edited
//   SHOTS, CHROMIUM  as in browser.mjs

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, drive, required, shots, waitInPage } from "./browser.mjs";

export * from "./browser.mjs";

export const url = new URL(required("DEVHOST_URL"));
const app = required("APP_DIR");

/** As vim and most editors save: a new file takes the place of the old one. */
function saveByRename(path, text) {
  writeFileSync(`${path}.new~`, text);
  renameSync(`${path}.new~`, path);
}

/** As nano and VS Code save. */
export const saveInPlace = (path, text) => writeFileSync(path, text);

/** Replaces text in a file of the app, and fails if that changes nothing. Returns what takes the edit back. */
export function edit(file, from, to, write = saveByRename) {
  const path = join(app, file);
  const before = readFileSync(path, "utf8");
  const after = before.replace(from, () => to);
  check(after !== before, `${file} does not have ${from}, or has ${to} already`);
  write(path, after);
  return () => write(path, before);
}

/** A mark that a page load wipes out. */
export const mark = (page) => page.evaluate(() => void (window.markOfTheTest = true));
export const isMarked = (page) => page.evaluate(() => window.markOfTheTest === true);

/** Waits until a page that was marked has been loaded again. */
export const waitForLoad = (page, what) =>
  waitInPage(page, what, () => window.markOfTheTest !== true && window.__devhost !== undefined);

/** Waits until the live-reload script has heard from devhost, so that it misses nothing from then on. */
export const waitForScript = (page, what) =>
  waitInPage(page, `the live-reload script in ${what}`, () => window.__devhost?.connected === true);

/** Runs the steps in a browser, with a screenshot of a step that failed. */
export const driveApp = (run) =>
  drive(run, async (page) => {
    if (shots && page) await page.screenshot({ path: join(shots, `failed-${process.pid}.png`) });
  });
