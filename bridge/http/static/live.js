// Keeps the live page up to date: the server sends whole rows, this puts them where they belong.
"use strict";

const KEPT = { active: Infinity, recent: 50, deliveries: 30 };
const link = document.getElementById("link");
const state = document.getElementById("state");

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function show(connected) {
  link.classList.toggle("on", connected);
  link.textContent = connected ? link.dataset.live : link.dataset.lost;
}

// Lists are sorted by data-order, the greatest first, so that late and repeated changes end in the same place.
function place(row, list) {
  const order = Number(row.dataset.order);
  let before = list.firstElementChild;
  while (before && Number(before.dataset.order) > order) before = before.nextElementSibling;
  list.insertBefore(row, before);
  while (list.children.length > KEPT[list.id]) list.lastElementChild.remove();
  tidy(list);
}

// A list without rows must match :empty, so that its placeholder shows.
function tidy(list) {
  if (!list.firstElementChild) list.textContent = "";
}

function put(change) {
  const list = document.getElementById(change.list);
  if (!list) return;
  const old = document.getElementById(change.id);
  const row = parse(change.html).firstElementChild;
  old?.classList.remove("fresh");
  if (old && old.className === row.className && old.innerHTML === row.innerHTML) return;
  row.classList.add("fresh");
  const left = old && old.parentElement;
  if (old) old.remove();
  if (left) tidy(left);
  place(row, list);
}

function settle() {
  for (const list of document.querySelectorAll("tbody[id]")) tidy(list);
  document.getElementById("active-count").textContent = document.getElementById("active").children.length;
  tick();
}

function tick() {
  const now = Date.now() / 1000;
  for (const clock of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.floor(now + skew - Number(clock.dataset.since)));
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    const rest = String(seconds % 60).padStart(2, "0");
    clock.textContent = hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }
}

// Seconds that this computer's clock is behind the server's.
let skew = 0;

const listeners = {
  clock(now) {
    skew = now - Date.now() / 1000;
  },
  state(html) {
    state.replaceChildren(parse(html));
    settle();
  },
  changes(change) {
    for (const id of change.gone) document.getElementById(id)?.remove();
    change.rows.forEach(put);
    settle();
  },
  pbxs(html) {
    document.getElementById("pbxs").replaceChildren(parse(html));
  },
};

// EventSource reconnects by itself after a cut, but gives up when it is refused: then either the session is over, or the
// server is not itself yet.
async function refused() {
  try {
    const page = await fetch("/", { method: "HEAD", redirect: "manual" });
    if (page.type === "opaqueredirect") {
      location.assign("/login");
      return;
    }
  } catch {
    // not there at all: try again
  }
  setTimeout(listen, 2000);
}

function listen() {
  const source = new EventSource("/live");
  for (const [name, listener] of Object.entries(listeners)) {
    source.addEventListener(name, (event) => listener(JSON.parse(event.data)));
  }
  source.addEventListener("open", () => show(true));
  source.addEventListener("error", () => {
    show(false);
    if (source.readyState === EventSource.CLOSED) refused();
  });
}

// One player for all recordings, outside of the rows: a call that changes does not stop it.
const player = document.getElementById("player");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-play]");
  if (!button) return;
  if (player.dataset.playing !== button.dataset.play) {
    player.dataset.playing = button.dataset.play;
    player.src = button.dataset.play;
  }
  player.hidden = false;
  // what cannot be played is shown by the player itself
  if (player.paused) player.play().catch(() => {});
  else player.pause();
});

settle();
setInterval(tick, 1000);
listen();
