// The live part of the book: new entries appear as they are written, and times read as "5 minutes ago".
// Without this script the page is the same, only still.

const list = document.getElementById("entries");
const state = document.getElementById("feed-state");
const RETRY_MAX_MS = 8000;

/** The colour of a name in degrees, as `src/templates.rs` computes it. */
function hue(name) {
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  return (hue * 137) % 360;
}

function show(entry) {
  if (document.getElementById(`entry-${entry.id}`)) return;
  const item = document.getElementById("entry-template").content.firstElementChild.cloneNode(true);
  item.id = `entry-${entry.id}`;
  item.style.setProperty("--hue", hue(entry.name));
  item.classList.add("fresh");
  item.querySelector(".initial").textContent = Array.from(entry.name)[0].toUpperCase();
  item.querySelector(".name").textContent = entry.name;
  item.querySelector(".message").textContent = entry.message;
  item.querySelector("time").dateTime = entry.written_at;
  list.prepend(item);
  document.getElementById("empty").hidden = true;
  const count = document.getElementById("count");
  count.textContent = Number(count.textContent) + 1;
  document.getElementById("count-noun").textContent = count.textContent === "1" ? "entry" : "entries";
  tellTimes();
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "long", timeStyle: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const RELATIVE_MAX_SECONDS = 7 * 86400;

function tellTimes() {
  for (const time of list.querySelectorAll("time")) {
    const written = new Date(time.dateTime);
    const seconds = (Date.now() - written) / 1000;
    const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? [];
    time.title = exact.format(written);
    if (seconds > RELATIVE_MAX_SECONDS) time.textContent = exact.format(written);
    else time.textContent = unit ? relative.format(-Math.floor(seconds / length), unit) : "just now";
  }
}

/** Follows the feed from an id on. The browser reconnects by itself, but gives up on an error page. */
function follow(after, retry_ms = 500) {
  const feed = new EventSource(`/feed?after=${after}`);
  feed.onopen = () => {
    retry_ms = 500;
    tell("open", "live");
  };
  feed.addEventListener("entry", (event) => {
    after = Number(event.lastEventId);
    show(JSON.parse(event.data));
  });
  feed.onerror = () => {
    tell("closed", "reconnecting");
    if (feed.readyState === EventSource.CLOSED) {
      setTimeout(follow, retry_ms, after, Math.min(retry_ms * 2, RETRY_MAX_MS));
    }
  };
}

function tell(name, text) {
  state.dataset.state = name;
  state.textContent = text;
}

tellTimes();
setInterval(tellTimes, 30_000);
if (list.dataset.liveAfter !== undefined) follow(Number(list.dataset.liveAfter));
