// One item at a time: shown, answered, sent. All that counts is on the server; a reload loses nothing.
const SETTLE = 400; // ms that images must have been seen before a key or a click counts
const RETRY = 2000;
const screens = new WeakMap();

export default function (component) {
  const { parentElement, setTriggerValue } = component;
  if (!screens.has(parentElement)) screens.set(parentElement, start(parentElement, (name, value) => setTriggerValue(name, value)));
  return () => {
    screens.get(parentElement)?.stop();
    screens.delete(parentElement);
  };
}

function start(host, tell) {
  const root = host.querySelector(".rate");
  const $ = (name) => root.querySelector(`[data-is="${name}"]`);
  let view = null, chosen = {}, focused = 0, ready = false, shownAt = 0, pending = null, stopped = false, paused = false;
  const spent = [];

  const say = (text) => { $("notice").textContent = text; $("notice").hidden = !text; };
  const element = (kind, cls, text) => {
    const made = document.createElement(kind);
    if (cls) made.className = cls;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const url = (name) => `/img/${encodeURIComponent(name)}`;

  async function ask(path, options) {
    const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
    const body = await answer.json().catch(() => ({}));
    return { status: answer.status, body };
  }

  async function load(position) {
    const query = position === undefined ? "" : `?position=${position}`;
    for (;;) {
      if (stopped) return;
      try {
        const { status, body } = await ask(`/api/state${query}`);
        if (status === 200) { say(""); return show(body); }
        if (status === 401 || status === 403 || status === 410) return tell("left", Date.now());
        say(body.error || "The server did not answer; trying again.");
      } catch { say("No connection. It is tried again."); }
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }

  async function show(next) {
    view = next;
    pending = null;
    if (!view.item) return tell("finished", Date.now());
    const item = view.item;
    ready = false;
    chosen = { ...item.answers };
    $("caption").textContent = item.caption;
    $("caption").hidden = !item.caption;
    const sets = $("sets");
    sets.replaceChildren();
    sets.classList.toggle("single", item.sets.length === 1);
    const decoded = [];
    item.sets.forEach((names, side) => {
      const set = element("figure", "set");
      if (item.sets.length > 1) set.append(element("figcaption", "", item.sides[side]));
      const grid = element("div", "grid");
      grid.style.setProperty("--columns", Math.min(item.columns, names.length));
      names.forEach((name, number) => {
        const button = element("button", "thumb");
        button.type = "button";
        const where = item.sets.length > 1 ? `${item.sides[side]}, ` : "";
        button.setAttribute("aria-label", `Image ${number + 1} of ${names.length}, ${where}enlarge`);
        const image = element("img");
        image.alt = "";
        image.draggable = false;
        image.src = url(name);
        decoded.push(image.decode());
        button.append(image);
        button.addEventListener("click", (event) => enlarge(name, event.detail > 0 && button));
        grid.append(button);
      });
      set.append(grid);
      sets.append(set);
    });
    const questions = $("questions");
    questions.replaceChildren();
    item.questions.forEach((question, number) => {
      const field = element("fieldset", "question");
      field.append(element("legend", "", question.text));
      const row = element("div", "options");
      question.options.forEach((option, place) => {
        const button = element("button", "option");
        button.type = "button";
        button.append(element("kbd", "", String(place + 1)), document.createTextNode(` ${option.label}`));
        button.addEventListener("click", () => choose(number, place));
        row.append(button);
      });
      field.append(row);
      field.addEventListener("focusin", () => focus(number));
      questions.append(field);
    });
    focused = Math.max(0, item.questions.findIndex((question) => !(question.name in chosen)));
    draw();
    if (root.getBoundingClientRect().top < 0) root.scrollIntoView({ block: "start" }); // On a phone the caption comes first again.
    try {
      await Promise.all(decoded);
    } catch {
      if (view === next) { say("An image could not be loaded. It is tried again."); setTimeout(() => view === next && load(view.position), RETRY); }
      return;
    }
    if (view !== next) return;
    shownAt = performance.now();
    setTimeout(() => { if (view === next) { ready = true; draw(); } }, SETTLE);
    view.next.forEach((name) => { new Image().src = url(name); });
  }

  function draw() {
    const item = view.item;
    root.classList.toggle("waits", !ready || pending !== null);
    [...$("questions").children].forEach((field, number) => {
      field.classList.toggle("focused", number === focused && item.questions.length > 1);
      [...field.querySelectorAll("button")].forEach((button, place) => {
        const own = chosen[item.questions[number].name] === item.questions[number].options[place].code;
        button.setAttribute("aria-pressed", String(own));
      });
    });
    const complete = item.questions.every((question) => question.name in chosen);
    $("next").disabled = !complete || !ready || pending !== null;
    $("undo").disabled = view.position === 0 || pending !== null;
    $("bar").max = view.total;
    $("bar").value = view.done;
    const left = view.total - view.done;
    const pace = spent.length ? spent.reduce((sum, one) => sum + one, 0) / spent.length : 0;
    const minutes = Math.max(1, Math.round((pace * left) / 60));
    $("progress").textContent = `${view.position + 1} of ${view.total}` + (spent.length > 2 ? `, about ${minutes} min left` : "");
  }

  function focus(number) {
    if (number !== focused) { focused = number; draw(); }
  }

  function choose(number, place) {
    if (!ready || pending || paused) return;
    const question = view.item.questions[number];
    if (!question.options[place]) return;
    chosen[question.name] = question.options[place].code;
    const open = view.item.questions.findIndex((one) => !(one.name in chosen));
    focused = open >= 0 ? open : number;
    draw();
    $("said").textContent = `${question.options[place].label}. ` + (open >= 0 ? view.item.questions[open].text : "Enter goes on.");
  }

  async function submit() {
    if (!ready || pending || paused || $("next").disabled) return;
    const seconds = (performance.now() - shownAt) / 1000;
    const random = crypto.getRandomValues(new Uint8Array(16));
    const key = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    pending = { position: view.position, item: view.item.id, answers: { ...chosen }, seconds, key };
    draw();
    for (;;) {
      if (stopped) return;
      try {
        const { status, body } = await ask("/api/answer", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(pending),
        });
        if (status === 200) {
          spent.push(Math.min(seconds, 120));
          say("");
          return show(body);
        }
        if (status === 401 || status === 403 || status === 410) return tell("left", Date.now());
        if (status >= 400 && status < 500) { pending = null; say(body.error || "This answer was not taken."); return load(); }
        say("The server did not answer. Your answer is kept and sent again.");
      } catch { say("No connection. Your answer is kept and sent again."); }
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }

  function undo() {
    if (pending || paused || !view || view.position === 0) return;
    load(view.position - 1);
  }

  function enlarge(name, clicked) {
    const dialog = $("large");
    dialog.querySelector("img").src = url(name);
    // After a click the keys must not be the image's: Enter goes on.
    dialog.onclose = () => { if (clicked) clicked.blur(); };
    dialog.showModal();
  }

  function pause(now) {
    paused = now;
    root.classList.toggle("paused", paused);
    $("rest").hidden = !paused;
    if (paused) $("resume").focus();
    else if (view) load(view.position); // The time begins anew.
  }

  function press(event) {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !view || !view.item || paused) return;
    if ($("large").open) return;
    const from = event.composedPath()[0];
    if (from instanceof HTMLInputElement || from instanceof HTMLTextAreaElement) return;
    if (/^[1-9]$/.test(event.key)) {
      event.preventDefault();
      if (from.classList?.contains("thumb")) from.blur(); // Who answers by a number goes on by Enter.
      choose(focused, Number(event.key) - 1);
    }
    else if (event.key === "Enter" && !(from instanceof HTMLButtonElement && from.classList.contains("thumb"))) { event.preventDefault(); submit(); }
    else if (event.key === "z" || event.key === "Z") { event.preventDefault(); undo(); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const count = view.item.questions.length;
      if (count > 1) { event.preventDefault(); focus((focused + (event.key === "ArrowDown" ? 1 : count - 1)) % count); }
    }
  }

  $("next").addEventListener("click", submit);
  $("undo").addEventListener("click", undo);
  $("pause").addEventListener("click", () => pause(true));
  $("resume").addEventListener("click", () => pause(false));
  $("large").addEventListener("click", () => $("large").close());
  document.addEventListener("keydown", press);
  load();
  return { stop() { stopped = true; document.removeEventListener("keydown", press); } };
}
