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
  let view = null, chosen = {}, focused = 0, ready = false, pending = null, stopped = false, paused = false;
  let shownAt = null, before = 0, kept = null; // Since when all images are there; ms seen before a pause; what a pause interrupted.
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

  async function load(position, notice = "") {
    for (;;) {
      if (stopped) return;
      try {
        const { status, body } = await ask("/api/state" + (position === undefined ? "" : `?position=${position}`));
        if (status === 200) { say(notice); return show(body); }
        if (status === 401 || status === 403 || status === 410) return tell("left", Date.now());
        if (status === 409 && position !== undefined) { // The place went to somebody else; there may be another.
          position = undefined;
          notice = "You were away for long, and your place was given to somebody else. This is a new one.";
          continue;
        }
        say(body.error || "The server did not answer; trying again.");
      } catch { say("No connection. It is tried again."); }
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }

  const seen = () => before + (shownAt === null ? 0 : performance.now() - shownAt);

  async function show(next) {
    view = next;
    pending = null;
    if (!view.item) return tell("finished", Date.now());
    const item = view.item;
    const goesOn = kept !== null && kept.item === item.id && kept.position === view.position;
    ready = false;
    shownAt = null;
    before = goesOn ? kept.seen : 0;
    chosen = goesOn ? kept.chosen : { ...item.answers };
    kept = null;
    $("caption").textContent = item.caption;
    $("caption").hidden = !item.caption;
    const sets = $("sets");
    sets.replaceChildren();
    sets.classList.toggle("single", item.sets.length === 1);
    sets.classList.toggle("ones", item.sets.length > 1 && item.sets.every((names) => names.length === 1));
    const decoded = [];
    item.sets.forEach((names, side) => {
      const set = element("figure", "set");
      if (item.sets.length > 1) set.append(element("figcaption", "", item.sides[side]));
      const grid = element("div", "grid");
      grid.style.setProperty("--columns", Math.min(item.columns, names.length));
      names.forEach((name, number) => {
        const button = element("button", "thumb");
        button.type = "button";
        const label = `Image ${number + 1} of ${names.length}` + (item.sets.length > 1 ? `, ${item.sides[side]}` : "");
        button.setAttribute("aria-label", `${label}, enlarge`);
        const image = element("img");
        image.alt = "";
        image.draggable = false;
        image.src = url(name);
        decoded.push(image.decode());
        button.append(image);
        button.addEventListener("click", (event) => enlarge(name, label, event.detail > 0 && button));
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
    $("said").textContent = `${view.position + 1} of ${view.total}. ${item.caption || ""}`;
    sets.focus({ preventScroll: true }); // From here Tab goes on to the images.
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
    const seconds = seen() / 1000;
    const random = crypto.getRandomValues(new Uint8Array(16));
    const key = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const answer = { position: view.position, item: view.item.id, answers: { ...chosen }, seconds, key };
    pending = answer;
    draw();
    for (;;) {
      if (stopped) return;
      try {
        const { status, body } = await ask("/api/answer", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(answer),
        });
        if (status === 200) {
          spent.push(Math.min(seconds, 120));
          say("");
          return show(body);
        }
        if (status === 401 || status === 403 || status === 410) return tell("left", Date.now());
        if (status >= 400 && status < 500) { pending = null; return load(undefined, body.error || "This answer was not taken."); }
        say("The server did not answer. Your answer is kept and sent again.");
      } catch { say("No connection. Your answer is kept and sent again."); }
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }

  function undo() {
    if (pending || paused || !view || view.position === 0) return;
    load(view.position - 1);
  }

  function enlarge(name, label, clicked) {
    const dialog = $("large"), image = dialog.querySelector("img");
    image.src = url(name);
    image.alt = label;
    // The browser gives the image its focus back; after a click the keys must not be the image's: Enter goes on.
    dialog.onclose = () => { if (clicked) clicked.blur(); };
    dialog.showModal();
  }

  function pause(now) {
    paused = now;
    root.classList.toggle("paused", paused);
    $("rest").hidden = !paused;
    [...root.children].forEach((part) => { part.inert = paused && part !== $("rest"); });
    if (paused) {
      // What was seen and chosen goes on after the pause; the pause itself does not count.
      kept = view?.item ? { item: view.item.id, position: view.position, seen: seen(), chosen: { ...chosen } } : null;
      $("resume").focus();
    }
    else if (view && !pending) load(view.position); // What is on its way shows the next item when it has come.
  }

  function press(event) {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !view || !view.item || paused) return;
    if ($("large").open) return;
    const from = event.composedPath()[0];
    if (from instanceof HTMLInputElement || from instanceof HTMLTextAreaElement) return;
    const button = from instanceof HTMLButtonElement ? from : null;
    if (/^[1-9]$/.test(event.key)) {
      event.preventDefault();
      button?.blur(); // Who answers by a number goes on by Enter.
      choose(focused, Number(event.key) - 1);
    }
    else if (event.key === "Enter") {
      // On a button it is the button's, but for an answer that is chosen already.
      if (button && button !== $("next") && button.getAttribute("aria-pressed") !== "true") return;
      event.preventDefault();
      submit();
    }
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
