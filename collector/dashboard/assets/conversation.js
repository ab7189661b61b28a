// A conversation as it goes on. What happens in it is told; then the page is asked for once more, and what differs in it
// takes the place of what was there. What was said only comes as the server's page has it, where it is text.
"use strict";
(() => {
  const status = document.getElementById("news");
  const apart = 400; // milliseconds from one look to the next, at least
  let source = null, looking = false, wanted = false, news = "";

  const focusable = "a, summary, [tabindex]";

  // swap puts fresh in the place of old, with the same parts opened and the same one in focus.
  const swap = (old, fresh) => {
    const opened = [...old.querySelectorAll("details")].map((d) => d.open);
    fresh.querySelectorAll("details").forEach((d, i) => { d.open = opened[i] || false; });
    if (old.isEqualNode(fresh)) return false;
    const focus = old.contains(document.activeElement) ? [...old.querySelectorAll(focusable)].indexOf(document.activeElement) : -1;
    old.replaceWith(fresh);
    if (focus >= 0) fresh.querySelectorAll(focusable)[focus]?.focus({ preventScroll: true });
    return true;
  };

  // follow makes a list of messages what fresh is, and leaves alone what has not changed.
  const follow = (list, fresh) => {
    const all = [...fresh.children];
    all.forEach((li, i) => {
      const old = list.children[i];
      old?.classList.remove("fresh");
      if (!old) list.append(li);
      else if (old.id === li.id) { if (!swap(old, li)) return; }
      else old.before(li);
      li.classList.add("fresh");
    });
    while (list.children.length > all.length) list.lastElementChild.remove();
  };

  const look = async () => {
    if (looking) { wanted = true; return; }
    looking = true;
    try {
      const response = await fetch(location.href);
      if (!response.ok) throw new Error("status " + response.status);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const fresh = page.getElementById(part.id);
        if (!fresh) continue;
        document.adoptNode(fresh);
        part.tagName === "OL" ? follow(part, fresh) : swap(part, fresh);
      }
      if (news) status.textContent = news;
      news = "";
    } catch {
      status.textContent = "This page could not be brought up to date. Load it again.";
    }
    setTimeout(() => {
      looking = false;
      if (wanted) { wanted = false; look(); }
    }, apart);
  };

  const told = (e) => {
    if (e.vote) return e.vote === "none" ? "A vote was taken back." : "A vote arrived: thumbs " + e.vote + ".";
    if (e.type === "message_create") return "A message arrived.";
    if (e.type === "session_close") return "The conversation ended.";
    return "Something arrived.";
  };

  const begin = () => {
    source = new EventSource(status.dataset.events);
    source.addEventListener("ready", () => { // what came before this was not told
      status.dataset.state = "watching";
      status.textContent = "What arrives is shown as it does.";
      look();
    });
    source.addEventListener("message", (m) => {
      news = told(JSON.parse(m.data));
      look();
    });
    source.addEventListener("error", () => {
      status.dataset.state = "lost";
      if (source?.readyState === EventSource.CLOSED) status.textContent = "What arrives is not shown any more. Load the page again.";
    });
  };

  // A page that nobody sees does not watch: browsers open few connections to a host, and all tabs share them.
  const watch = () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source) begin();
  };
  document.addEventListener("visibilitychange", watch);
  watch();
})();
