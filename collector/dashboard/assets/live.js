// Sessions as they happen. What people say arrives as text and is only ever set as text.
"use strict";
(() => {
  const status = document.getElementById("live");
  const box = document.getElementById("happening");
  const pause = document.getElementById("pause");
  const most = 60; // sessions on the page
  const seen = new Set(); // events that were told; whole batches come again when a part of them was new
  let waiting = null, lost = false, told = 0;

  const list = box.querySelector("ul") || box.appendChild(Object.assign(document.createElement("ul"), { className: "rows" }));
  const rows = new Map();
  for (const li of list.children) rows.set(li.dataset.conversation, li);

  const make = (tag, name, text) => {
    const e = document.createElement(tag);
    if (name) e.className = name;
    if (text !== undefined) e.textContent = text;
    return e;
  };

  const rowOf = (id) => {
    let li = rows.get(id);
    if (li) return li;
    li = make("li");
    li.dataset.conversation = id;
    li.dataset.untitled = "1";
    const a = make("a", "row");
    const to = new URL(status.dataset.conversation, location.href);
    to.searchParams.set("id", id);
    a.href = to.href;
    const what = make("span", "what", "New conversation");
    what.dir = "auto";
    const facts = make("span", "facts"), who = make("span", "who");
    who.append(make("bdi", "", "unknown user"));
    facts.append(who);
    const end = make("span", "end");
    end.append(make("span", "badge open", "open"));
    a.append(what, facts, end);
    li.append(a);
    rows.set(id, li);
    return li;
  };

  const show = (e) => {
    if (seen.has(e.id)) return;
    seen.add(e.id);
    if (seen.size > 5000) seen.clear();
    const li = rowOf(e.conversation);
    if (e.user) li.querySelector(".who bdi").textContent = e.user;
    if (e.title) li.querySelector(".what").textContent = e.title;
    const badge = li.querySelector(".badge"), over = e.type === "session_close";
    if (over || e.type === "session_open" || e.type === "message_create") {
      badge.textContent = over ? "ended" : "open";
      badge.classList.toggle("open", !over);
    }
    let last = li.querySelector(".snippets");
    if (!last) {
      last = make("ul", "snippets");
      li.append(last);
    }
    const line = make("li");
    line.append(make("span", "role", e.vote ? (e.vote === "none" ? "vote taken back" : "thumbs " + e.vote) : e.role || e.type.replace("_", " ")), " ");
    const text = make("span", "", e.text || "");
    text.dir = "auto";
    line.append(text);
    if (e.vote === "up" || e.vote === "down") line.classList.add("voted-" + e.vote);
    last.append(line);
    while (last.children.length > 3) last.firstChild.remove();
    if (e.title) delete li.dataset.untitled;
    else if (e.role && e.text && li.dataset.untitled) {
      li.querySelector(".what").textContent = e.text;
      delete li.dataset.untitled;
    }
    li.classList.remove("fresh");
    void li.offsetWidth; // so that the same colour fades once more
    li.classList.add("fresh");
    if (list.firstChild !== li && !li.contains(document.activeElement)) list.prepend(li);
    while (list.children.length > most) {
      rows.delete(list.lastChild.dataset.conversation);
      list.lastChild.remove();
    }
    document.getElementById("nothing")?.remove();
    told++;
    status.textContent = told === 1 ? "Watching: 1 event so far." : "Watching: " + told + " events so far.";
  };

  const source = new EventSource(status.dataset.events);
  source.addEventListener("ready", () => {
    if (lost) return location.reload(); // what happened meanwhile is in the store
    status.textContent = "Watching.";
    status.dataset.state = "watching";
    pause.hidden = false;
  });
  source.addEventListener("error", () => {
    lost = true;
    status.dataset.state = "lost";
    status.textContent = source.readyState === EventSource.CLOSED ? "Not watching any more. Reload the page to sign in again." : "The connection was lost; trying again.";
  });
  source.addEventListener("message", (m) => {
    const e = JSON.parse(m.data);
    if (waiting) {
      if (waiting.length < 5000) waiting.push(e);
      else lost = true; // the store has them
      pause.textContent = "Go on (" + waiting.length + " waiting)";
    } else show(e);
  });
  pause.addEventListener("click", () => {
    if (!waiting) {
      waiting = [];
      pause.textContent = "Go on";
      return;
    }
    if (lost) return location.reload();
    const all = waiting;
    waiting = null;
    pause.textContent = "Pause";
    all.forEach(show);
  });
})();
