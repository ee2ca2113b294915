// The console's one script. Every page works without it; with it times are the reader's own, charts answer the pointer,
// events open beside their list and come in live. It reads no page but this console's.

const MOST_ROWS = 1000; // kept while live: what scrolls away is in the store
const two = (n) => String(n).padStart(2, "0");

function localTime(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  const minute = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
  const second = `${minute}:${two(moment.getSeconds())}`;
  const today = new Date().toDateString() === moment.toDateString();
  const forms = {
    time: `${second}.${String(moment.getMilliseconds()).padStart(3, "0")}`,
    minute, full: `${day} ${second}`, day: `${day} ${minute}`,
  };
  const form = element.dataset.form || "full";
  element.textContent = form === "time" && !today && element.closest(".failures") ? forms.full : forms[form];
}

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) localTime(element);
}

// -- progress where one waits ---------------------------------------------------------------------------------

const busy = document.querySelector(".busy");
let waiting = 0;
function wait() {
  clearTimeout(waiting);
  waiting = setTimeout(() => { if (busy) busy.hidden = false; }, 120);
}
function done() {
  clearTimeout(waiting);
  if (busy) busy.hidden = true;
}
addEventListener("pageshow", done);

// -- charts: the pointer reads them, a click looks closer --------------------------------------------------------

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

document.addEventListener("pointermove", (event) => {
  const hit = event.target.closest?.(".hit");
  if (!hit) { tip.hidden = true; return; }
  const at = new Date(hit.dataset.at);
  tip.textContent = `${at.toLocaleString([], { dateStyle: "short", timeStyle: "medium" })}  ${hit.dataset.tip}`;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - box.width - 8)}px`;
  tip.style.top = `${Math.max(8, event.clientY - box.height - 12)}px`;
});
document.addEventListener("pointerleave", () => { tip.hidden = true; });

document.addEventListener("click", (event) => {
  const hit = event.target.closest?.(".hit");
  if (!hit) return;
  const address = new URL(location.href);
  address.searchParams.set("since", hit.dataset.at);
  address.searchParams.set("until", hit.dataset.to);
  address.searchParams.delete("event");
  address.searchParams.delete("at");
  wait();
  location.assign(address);
});

// -- an event beside its list ------------------------------------------------------------------------------------

const drawer = document.getElementById("drawer");
let asked = 0;

async function openBeside(href, push) {
  const mine = ++asked;
  wait();
  try {
    const response = await fetch(href, { headers: { Accept: "text/html" } });
    const found = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("drawer");
    if (mine !== asked) return;
    if (!found) { location.assign(href); return; }
    drawer.replaceChildren(...found.childNodes);
    drawer.hidden = found.hidden;
    localise(drawer);
    const wanted = new URL(href, location.href).searchParams.get("event");
    for (const link of document.querySelectorAll("[data-drawer][aria-current]")) link.removeAttribute("aria-current");
    for (const link of document.querySelectorAll("[data-drawer]")) {
      if (wanted && new URL(link.href).searchParams.get("event") === wanted) link.setAttribute("aria-current", "true");
    }
    if (push) history.pushState({ beside: true }, "", href);
    if (!drawer.hidden && getComputedStyle(drawer).position === "static") drawer.scrollIntoView({ block: "nearest" });
  } catch {
    location.assign(href);
  } finally {
    done();
  }
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.origin !== location.origin) return;
  if (drawer && (link.matches("[data-drawer]") || link.matches(".drawer .close"))) {
    event.preventDefault();
    openBeside(withPlace(link.href), true);
  } else if (!link.pathname.match(/\.(json|csv)$/)) {
    wait();
  }
});
document.addEventListener("submit", (event) => {
  for (const field of event.target.querySelectorAll("input:not([type=hidden])")) {
    if (event.target.method === "get" && !field.value) field.disabled = true; // an address has no empty parts
  }
  wait();
});
addEventListener("popstate", () => {
  if (drawer) openBeside(location.href, false);
});

// A line that came in live knows its event only; the rest of the address is the page's.
function withPlace(href) {
  const wanted = new URL(href, location.href);
  const address = new URL(location.href);
  for (const name of ["event", "at"]) {
    const value = wanted.searchParams.get(name);
    if (value) address.searchParams.set(name, value); else address.searchParams.delete(name);
  }
  return address.href;
}

// -- live --------------------------------------------------------------------------------------------------------

const log = document.querySelector(".log[data-stream]");
if (log) {
  const box = log.querySelector(".livebox");
  const button = box.querySelector("button");
  const state = box.querySelector(".state");
  const list = () => { // which comes with its part of the page, maybe later than this
    const part = log.querySelector("div[data-part=rows]");
    if (!part.querySelector(".rows")) part.prepend(Object.assign(document.createElement("ol"), { className: "rows" }));
    return part.querySelector(".rows");
  };
  const shows = (id) => log.querySelector(`.row[data-id="${CSS.escape(id)}"]`) !== null;
  let source = null;
  let mark = log.dataset.after;
  let came = 0;
  let behind = [];
  box.hidden = false;

  const say = () => {
    if (source) state.textContent = `${came} new`;
    else state.textContent = came ? "paused" : "";
  };
  const add = (row) => {
    const rows = list();
    rows.prepend(row);
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    log.querySelector(".empty")?.remove();
  };
  const gap = (text) => {
    const row = document.createElement("li");
    row.className = "row gap";
    row.textContent = text;
    add(row);
  };
  const start = () => {
    const address = new URL(log.dataset.stream, location.href);
    address.searchParams.set("after", mark);
    source = new EventSource(address);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Pause";
    say();
    source.addEventListener("event", (message) => {
      mark = message.lastEventId || mark;
      const { id, html } = JSON.parse(message.data);
      if (shows(id)) return;
      const row = new DOMParser().parseFromString(html, "text/html").querySelector("li");
      row.classList.add("fresh");
      localise(row);
      add(row);
      came += 1;
      say();
    });
    source.addEventListener("left_out", (message) => {
      mark = message.lastEventId || mark;
      const { count } = JSON.parse(message.data);
      gap(`${count.toLocaleString()} more events came than can be shown here: narrow them by a condition, or reload`);
    });
    source.addEventListener("trouble", (message) => { state.textContent = JSON.parse(message.data).said; });
    source.onerror = () => { state.textContent = "no connection: trying again"; };
    source.onopen = say;
  };
  const stop = () => {
    source?.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = came ? "Resume" : "Live";
    say();
  };
  button.addEventListener("click", () => {
    if (source) stop(); else start();
    const address = new URL(location.href);
    if (source) address.searchParams.set("live", "1"); else address.searchParams.delete("live");
    history.replaceState(history.state, "", address);
  });
  if (new URL(location.href).searchParams.get("live") === "1") start();
  addEventListener("pagehide", () => source?.close());
}

// -- traces: what is alike is folded -------------------------------------------------------------------------------

for (const button of document.querySelectorAll(".unfold")) {
  const folded = [];
  for (let next = button.closest(".step").nextElementSibling; next?.classList.contains("folded"); next = next.nextElementSibling) folded.push(next);
  const set = (open) => {
    for (const step of folded) step.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Fold" : `${button.dataset.count} more alike`;
  };
  set(false);
  button.addEventListener("click", () => set(button.getAttribute("aria-expanded") !== "true"));
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });
}

// -- keys: / to the filter, j and k through lines, Escape closes ---------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const typing = event.target.matches?.("input, textarea, select");
  if (event.key === "Escape") {
    if (typing) { event.target.blur(); return; }
    if (drawer && !drawer.hidden) drawer.querySelector(".close")?.click();
    return;
  }
  if (typing) return;
  if (event.key === "/") {
    const field = document.querySelector("#where, #q");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (event.key === "j" || event.key === "k") {
    const links = [...document.querySelectorAll(".row > a, .step:not([hidden]) > a, .failure")];
    const place = links.indexOf(document.activeElement);
    const next = links[Math.max(0, Math.min(links.length - 1, place + (event.key === "j" ? 1 : -1)))];
    next?.focus();
  }
});

// -- parts that are counted while the page is already shown ---------------------------------------------------------

const PARTS = "[data-part]";

function fillIn(found) {
  const ours = [...document.querySelectorAll(PARTS)];
  const theirs = [...found.querySelectorAll(PARTS)];
  if (ours.length !== theirs.length || ours.some((part, n) => part.dataset.part !== theirs[n].dataset.part)) {
    document.getElementById("main").replaceChildren(...found.getElementById("main").childNodes); // another kind of page
    localise(document);
    return;
  }
  ours.forEach((part, n) => {
    if (!part.hasAttribute("aria-busy")) return;
    const fresh = [...part.querySelectorAll(".row.fresh")]; // came in live meanwhile
    part.replaceChildren(...theirs[n].childNodes);
    if (!theirs[n].hasAttribute("aria-busy")) part.removeAttribute("aria-busy");
    for (const row of fresh.reverse()) {
      if (!part.querySelector(`[data-id="${CSS.escape(row.dataset.id)}"]`)) part.querySelector(".rows")?.prepend(row);
    }
    localise(part);
  });
}

async function askForTheRest() {
  const rest = document.querySelector("[data-later]");
  if (!rest) return;
  let later = rest.dataset.later;
  rest.replaceChildren("Some of this page is still being counted.");
  rest.setAttribute("role", "status");
  wait();
  try {
    while (later) {
      const response = await fetch(later, { headers: { Accept: "text/html" } });
      if (!response.ok) { location.assign(later); return; } // says why
      const found = new DOMParser().parseFromString(await response.text(), "text/html");
      later = found.querySelector("[data-later]")?.dataset.later;
      found.querySelector("[data-later]")?.remove();
      fillIn(found);
    }
    rest.remove();
  } catch {
    rest.textContent = "The rest of this page did not come: reload it."; // the bridge is away
  } finally {
    done();
  }
}
askForTheRest();

localise(document);
