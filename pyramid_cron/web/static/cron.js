"use strict";
// Keeps a page up to date: asks for it again and exchanges the parts of it that have changed.
const live = document.querySelector("[data-live]");

const isAtEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 8;

const showEnd = (part) => {
  const text = part.querySelector("pre");
  if (text) text.scrollTop = text.scrollHeight;
};

const exchange = (part, newer) => {
  const [text, newText] = [part, newer].map((one) => one.querySelector("pre"));
  if ("grows" in part.dataset && text && newText) {
    // A log that is read stays where it is; one whose end is shown shows its end.
    const follows = isAtEnd(text);
    text.textContent = newText.textContent;
    if (follows) text.scrollTop = text.scrollHeight;
    return;
  }
  const focused = part.contains(document.activeElement) && document.activeElement;
  const target = focused && focused.getAttribute("href");
  part.innerHTML = newer.innerHTML;
  if ("grows" in part.dataset && newText) showEnd(part);
  if (target) part.querySelector(`[href="${CSS.escape(target)}"]`)?.focus();
};

const refresh = async () => {
  let seconds = Number(live.dataset.live);
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const newer = page.querySelector(`[data-part="${part.dataset.part}"]`);
        if (newer && newer.innerHTML !== part.innerHTML) exchange(part, newer);
      }
      document.title = page.title;
      document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").href;
      if (!page.querySelector("[data-live]")) return;
    }
  } catch {
    // The server does not answer; ask again.
  }
  if (document.hidden) seconds *= 10;
  setTimeout(refresh, seconds * 1000);
};

if (live) {
  live.querySelectorAll("[data-grows]").forEach(showEnd);
  setTimeout(refresh, Number(live.dataset.live) * 1000);
}
// Says what the form of a schedule means, as one types.
const form = document.querySelector("[data-explain]");
if (form) {
  const part = (name) => form.querySelector(`[data-meaning="${name}"]`);
  const ignored = ["csrf_token", "explained", "payload", "enabled"];
  let timer;
  let number = 0;
  const explain = async () => {
    const turn = ++number;
    const texts = [...new FormData(form)].filter(
      ([name, text]) => text.trim() && !ignored.includes(name));
    if (!texts.some(([name]) => !["name", "task", "timezone"].includes(name))) return;
    try {
      const answer = await fetch(`${form.dataset.explain}?${new URLSearchParams(texts)}`,
        { headers: { Accept: "application/json" } });
      const meaning = await answer.json();
      if (turn === number) show(answer.ok, meaning);
    } catch {
      // The server does not answer; it will say what the form means before it is saved.
    }
  };
  const show = (isRight, meaning) => {
    part("description").textContent = isRight ? meaning.description : meaning.detail;
    const slots = (isRight ? meaning.next : []).map((slot) => {
      const item = document.createElement("li");
      item.textContent = new Date(slot).toLocaleString(undefined,
        { timeZone: meaning.timezone, dateStyle: "full", timeStyle: "long" });
      return item;
    });
    part("next").replaceChildren(...slots);
    form.elements.explained.value = isRight ? meaning.explained : "";
    form.querySelector("button").textContent = isRight ? "Save" : "Show what it means";
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(explain, 250);
  });
}
