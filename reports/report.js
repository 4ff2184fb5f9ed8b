"use strict";
// Filter by category and words; without scripts every prompt is shown.
for (const gallery of document.querySelectorAll(".gallery")) {
  const form = gallery.querySelector(".filter");
  const cards = [...gallery.querySelectorAll(".card")].map((card) => ({
    card, category: card.dataset.category, text: card.querySelector(".prompt").textContent.toLowerCase(),
  }));
  const select = form.querySelector("select"), search = form.querySelector("input"), count = form.querySelector("output");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { card, category, text } of cards) {
      card.hidden = (select && select.value && category !== select.value) || !words.every((word) => text.includes(word));
      shown += !card.hidden;
    }
    count.textContent = `${shown} of ${cards.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}

// Enlarge; arrow keys step through what the filter shows: left and right along a row, up and down between prompts.
const dialog = document.querySelector("dialog");
let current = null;
const enlarge = (button) => {
  current = button;
  const card = button.closest(".card"), image = button.querySelector("img");
  dialog.querySelector("img").src = image.src;
  dialog.querySelector("img").alt = image.alt;
  const prompt = card.querySelector("h3").textContent, by = button.closest("figure").querySelector(".by").textContent.trim();
  dialog.querySelector("p").textContent = `${by} — ${prompt}`;
  if (!dialog.open) dialog.showModal();
};
for (const button of document.querySelectorAll(".zoom")) button.addEventListener("click", () => enlarge(button));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { if (current) current.focus(); });
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || !current) return;
  event.preventDefault();
  const gallery = current.closest(".gallery");
  const along = event.key === "ArrowLeft" || event.key === "ArrowRight";
  const system = (button) => [...button.closest(".card").querySelectorAll("figure")].indexOf(button.closest("figure"));
  const all = [...gallery.querySelectorAll(".card:not([hidden]) .zoom")]
    .filter((button) => along || system(button) === system(current));
  const next = all[all.indexOf(current) + step];
  if (next) enlarge(next);
});

// What is folded away on screen is printed.
const folded = () => [...document.querySelectorAll("details:not([open])")];
let opened = [];
addEventListener("beforeprint", () => { opened = folded(); for (const it of opened) it.open = true; });
addEventListener("afterprint", () => { for (const it of opened) it.open = false; });
