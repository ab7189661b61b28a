// The demo's chat, with answers as they come, votes in place, and what arrives at the collector. What was said is only ever
// set as text.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const lines = find("lines"), form = find("say"), status = find("status"), problem = find("problem");
  const most = 40; // events shown

  const say = (e, message) => { e.textContent = message; e.hidden = !message; };
  const begun = () => document.querySelectorAll(".begun").forEach((e) => { e.hidden = false; });
  const isLow = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 160;
  const add = (kind, text) => {
    const li = find(kind).content.firstElementChild.cloneNode(true);
    li.querySelector(".said").textContent = text;
    lines.append(li);
    return li;
  };

  // reason is why a request was refused; other pages than ours answer with HTML.
  const reason = async (response) => {
    if (response.status === 401) return "You are not signed in any more. Load this page again.";
    const kind = response.headers.get("Content-Type") || "";
    if (kind.startsWith("application/json")) return "That did not work: " + (await response.json()).message + ".";
    return kind.startsWith("text/plain") ? await response.text() : "That did not work. Load this page again.";
  };

  // pieces calls with each line of an answer, as it comes.
  const pieces = async (response, each) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      const all = (rest + value).split("\n");
      rest = all.pop();
      all.forEach((line) => each(JSON.parse(line)));
    }
  };

  const answer = async (text) => {
    const body = new URLSearchParams(new FormData(form));
    body.set("text", text);
    const asked = add("question", text), said = add("answer", "");
    const at = said.querySelector(".said");
    const who = form.querySelector("select");
    if (who) said.querySelector(".role").textContent = who.value;
    said.setAttribute("aria-busy", "true");
    said.scrollIntoView({ block: "nearest" });
    let over = false;
    try {
      const response = await fetch(form.action, { method: "POST", headers: { Accept: "application/x-ndjson" }, body });
      if (!response.ok) {
        asked.remove();
        said.remove();
        form.elements.text.value ||= text;
        say(problem, await reason(response));
        return;
      }
      begun();
      document.querySelector(".starters")?.remove();
      document.querySelector(".first")?.classList.remove("first");
      if (who) chosen(who);
      await pieces(response, (line) => {
        const low = isLow();
        if (line.piece) at.append(line.piece);
        if (line.done) {
          over = true;
          end(said, at, line.done);
        }
        if (low) scrollTo(0, document.documentElement.scrollHeight);
      });
      if (!over) throw new Error();
    } catch {
      fail(said, "the connection was lost. Load this page again.");
    } finally {
      said.removeAttribute("aria-busy");
    }
  };

  const chosen = (select) => { // who answers first, answers all
    const who = select.value;
    const text = document.createElement("p");
    text.id = "who";
    text.className = "quiet small";
    text.textContent = who;
    select.closest("label").replaceWith(text);
    find("answer").content.querySelector(".role").textContent = who;
  };

  const fail = (said, why) => say(said.querySelector(".failure"), "The agent did not answer: " + why);

  const end = (said, at, done) => {
    if (done.text) at.textContent = done.text;
    if (done.failure) fail(said, done.failure);
    if (!done.token) return;
    const ballot = find("ballot").content.firstElementChild.cloneNode(true);
    ballot.elements.token.value = done.token;
    said.append(ballot);
  };

  let busy = false;
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = form.elements.text, text = event.submitter?.name === "starter" ? event.submitter.value : field.value.trim();
    if (!text || busy) return;
    busy = true;
    say(problem, "");
    status.textContent = "";
    const answering = answer(text); // has read the form by now
    if (event.submitter?.name !== "starter") field.value = "";
    field.focus();
    await answering;
    busy = false;
  });
  form?.elements.text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  // Votes. The same thumb again takes the vote back.
  document.addEventListener("submit", async (event) => {
    const ballot = event.target;
    if (!ballot.classList.contains("ballot")) return;
    event.preventDefault();
    const button = event.submitter, says = ballot.querySelector("output"), why = ballot.querySelector("details");
    if (!button) return;
    const isThumb = button.classList.contains("thumb");
    const vote = isThumb && button.ariaPressed === "true" ? "none" : button.value;
    const body = { token: ballot.elements.token.value, vote };
    if (!isThumb) {
      const all = new FormData(ballot);
      Object.assign(body, { comment: all.get("comment"), reasons: all.getAll("reasons") });
    }
    try {
      const response = await fetch(ballot.action, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      if (!response.ok) {
        says.value = await reason(response);
        return;
      }
      for (const thumb of ballot.querySelectorAll(".thumb")) thumb.ariaPressed = String(thumb.value === vote);
      says.value = { up: "Thank you!", down: isThumb ? "Sorry. What was wrong?" : "Thank you for telling us.", none: "Taken back." }[vote];
      why.open = isThumb && vote === "down";
      if (!isThumb) why.dataset.told = "1";
      else if (why.dataset.told) { // a new vote takes the place of the old one, with its reasons
        delete why.dataset.told;
        ballot.elements.comment.value = "";
        why.querySelectorAll("[type=checkbox]").forEach((box) => { box.checked = false; });
      }
    } catch {
      says.value = "That did not work: the connection was lost.";
    }
  });

  // What arrives.
  const watching = find("watching"), arrived = find("arrived");
  const words = (e) => {
    switch (e.type) {
      case "session_open": return "Conversation opened";
      case "session_close": return e.reason === "idle" ? "Closed: nobody said anything" : "Conversation ended";
      case "message_create": return e.role === "user" ? "Your message" : "The answer";
      case "feedback_create": return e.vote === "none" ? "Vote taken back" : "Thumbs " + e.vote;
    }
    return e.type.replace("_", " ");
  };
  const seen = new Set();
  const tell = () => {
    watching.textContent = arrived.children.length ? "This is what the collector stores:" : "What you say and press shows up here once the collector has stored it.";
  };
  const show = (e) => {
    if (seen.has(e.id)) return; // what is sent again is no news
    seen.add(e.id);
    if (seen.size > 1000) seen.clear();
    const li = document.createElement("li"), time = document.createElement("time"), what = document.createElement("span");
    time.dateTime = e.time;
    time.textContent = new Date(e.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    what.textContent = words(e);
    li.append(time, what);
    if (e.text) {
      const text = document.createElement("span");
      text.className = "text";
      text.dir = "auto";
      text.textContent = e.text;
      li.append(text);
    }
    li.className = "fresh";
    arrived.prepend(li);
    tell();
    while (arrived.children.length > most) arrived.lastElementChild.remove();
    if (!form) return;
    if (e.type === "session_close" && e.reason === "idle") status.textContent = form.dataset.idle;
    else if (e.type === "message_create") status.textContent = "";
  };
  const source = new EventSource(watching.dataset.events);
  source.addEventListener("ready", () => {
    watching.dataset.state = "watching";
    tell();
  });
  source.addEventListener("message", (m) => show(JSON.parse(m.data)));
  source.addEventListener("error", () => {
    watching.dataset.state = "lost";
    watching.textContent = source.readyState === EventSource.CLOSED ? "Not watching any more. Load this page again." : "The connection was lost; trying again.";
  });
})();
