// Opens the pages of `devhost bench --html` in a real Chromium. The Rust test writes them and runs this script; it prints a
// line for each step and ends with 0 only if all of them held.
//
//   REPORTS   a folder with full.html, single.html, empty.html and hostile.html
//   SHOTS     a folder for screenshots (optional)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { STEP_TIME_MAX_MS, check, currentStep, drive, required, shots, step as stepOf } from "./browser.mjs";

const reports = required("REPORTS");

/** What the console shows in red, including everything that the page's policy forbids. */
const complaints = [];

async function open(browser, name, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_TIME_MAX_MS);
  page.on("console", (message) => complaints.push(`${currentStep()}: ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`${currentStep()}: ${error}`));
  page.on("dialog", (dialog) => {
    complaints.push(`${currentStep()}: a dialog says ${dialog.message()}`);
    return dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!request.url().startsWith("file:")) complaints.push(`${currentStep()}: asked for ${request.url()}`);
  });
  await page.goto(pathToFileURL(join(reports, `${name}.html`)).href);
  return page;
}

/** The visible plots, with the number of visible marks, the smallest font, and what is cut off. */
const readPlots = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("svg.plot")]
      .filter((svg) => svg.checkVisibility())
      .map((svg) => {
        const frame = svg.getBoundingClientRect();
        const inside = (box) =>
          box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
        const boxes = [...svg.querySelectorAll(".mark, rect.step, circle.sample")].map((mark) => mark.getBoundingClientRect());
        return {
          title: svg.querySelector("title").textContent,
          description: svg.querySelector("desc").textContent,
          width: frame.width,
          height: frame.height,
          markCount: boxes.filter((box) => box.width > 0 && box.height > 0).length,
          strayCount: boxes.filter((box) => !inside(box)).length,
          strayTexts: [...svg.querySelectorAll("text")].filter((text) => !inside(text.getBoundingClientRect())).map((text) => text.textContent),
          fontSizeMin: Math.min(
            ...[...svg.querySelectorAll("text")].map(
              (text) => (parseFloat(getComputedStyle(text).fontSize) * frame.width) / svg.viewBox.baseVal.width,
            ),
          ),
          // A pattern that is not found fills nothing.
          unfilledCount: [...svg.querySelectorAll("rect.step")].filter((step) => {
            const id = /#([^")]+)/.exec(step.getAttribute("fill"))?.[1];
            return document.getElementById(id)?.tagName !== "pattern";
          }).length,
        };
      }),
  );

/** By how much the page is wider than the screen, and because of what. */
const readOverflow = (page) =>
  page.evaluate(() => {
    const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("main *")].filter(
      (element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, svg"),
    );
    return { over, names: wide.map((element) => `${element.tagName}.${element.className}`) };
  });

const PLOTS = [
  "Distribution of reload times",
  "A reload by its steps",
  "A reload by its steps, without the build",
  "private dirty after each reload",
  "PSS after each reload",
  "RSS after each reload",
  "Time of a fork",
  "Page faults of a forked child",
];

async function checkPage(page, wanted) {
  const plots = await readPlots(page);
  check(JSON.stringify(plots.map((plot) => plot.title)) === JSON.stringify(wanted), `plots are ${plots.map((plot) => plot.title)}`);
  for (const plot of plots) {
    const text = `${plot.title}: ${JSON.stringify(plot)}`;
    check(plot.width > 200 && plot.height > 80, `too small: ${text}`);
    check(plot.markCount > 0, `nothing is drawn: ${text}`);
    check(plot.strayCount === 0 && plot.strayTexts.length === 0, `something is cut off: ${text}`);
    check(plot.fontSizeMin >= 8.5, `letters are too small: ${text}`);
    check(plot.unfilledCount === 0, `a step has no pattern: ${text}`);
    check(plot.description.length > 10, `no description: ${text}`);
  }
  const overflow = await readOverflow(page);
  check(overflow.over <= 0 && overflow.names.length === 0, `the page scrolls sideways: ${JSON.stringify(overflow)}`);
  const headers = await page.evaluate(() => [...document.querySelectorAll("th")].filter((th) => !th.scope).length);
  check(headers === 0, `${headers} table headers have no scope`);
}

/** The contrast of text against its background, as WCAG measures it. */
const readContrast = (page) =>
  page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => {
        const share = part / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = luminance(getComputedStyle(document.querySelector("section")).backgroundColor);
    return ["td", "td small", "figcaption", ".good .value", ".doubtful .value", ".bad .value", "h2"].map((selector) => {
      const text = luminance(getComputedStyle(document.querySelector(selector)).color);
      return { selector, ratio: (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05) };
    });
  });

/** A step that must end without complaints. */
const step = (name, work) =>
  stepOf(name, async () => {
    await work();
    check(complaints.length === 0, complaints.join("\n      "));
  });

async function run(browser) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [screen, width] of [["desktop", 1100], ["tablet", 620], ["phone", 360], ["small-phone", 320]]) {
      await step(`all plots are drawn, ${colorScheme}, ${width} px`, async () => {
        const page = await open(browser, "full", { viewport: { width, height: 800 }, colorScheme });
        await checkPage(page, PLOTS);
        for (const { selector, ratio } of await readContrast(page)) {
          check(ratio >= 4.5, `${selector} has a contrast of ${ratio}`);
        }
        if (shots) await page.screenshot({ path: join(shots, `bench-${screen}-${colorScheme}.png`), fullPage: true });
        await page.context().close();
      });
    }
  }
  await step("tables scroll in their own boxes", async () => {
    const page = await open(browser, "full", { viewport: { width: 360, height: 800 } });
    const scrolled = await page.evaluate(() => {
      const box = [...document.querySelectorAll(".scroll")].find((box) => box.scrollWidth > box.clientWidth);
      box?.scrollTo(500, 0);
      return box?.scrollLeft ?? 0;
    });
    check(scrolled > 0, "no table scrolls");
    await page.context().close();
  });
  await step("one sample is drawn", async () => {
    const page = await open(browser, "single", { viewport: { width: 1100, height: 800 } });
    // Memory is one mark; no fork was measured.
    await checkPage(page, PLOTS.slice(0, 6));
    await page.context().close();
  });
  await step("a run without samples is a page without plots", async () => {
    const page = await open(browser, "empty", { viewport: { width: 360, height: 800 } });
    await checkPage(page, []);
    check((await page.textContent("main")).includes("No reload was measured."), "it does not say so");
    await page.context().close();
  });
  await step("hostile names do nothing", async () => {
    const page = await open(browser, "hostile", { viewport: { width: 360, height: 800 } });
    check((await page.evaluate(() => document.querySelectorAll("script, img, [onerror]").length)) === 0, "an element got in");
    check((await page.title()).includes("<script>alert(1)</script>"), "the title has lost its text");
    const overflow = await readOverflow(page);
    check(overflow.over <= 0, `the page scrolls sideways: ${JSON.stringify(overflow)}`);
    await page.context().close();
  });
}

await drive(run);
