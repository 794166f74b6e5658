(() => {
  const said = document.getElementById("said");
  const say = (text) => { said.textContent = ""; setTimeout(() => { said.textContent = text; }, 30); };

  /* Numbers by value, texts by name, what is missing last whatever the direction. */
  function sort(table, column, order) {
    const cell = (entry) => entry.rows[0].cells[column].dataset.v;
    const entries = [...table.tBodies];
    const there = entries.filter((entry) => cell(entry) !== undefined);
    const gone = entries.filter((entry) => cell(entry) === undefined);
    const numeric = there.every((entry) => cell(entry) !== "" && Number.isFinite(Number(cell(entry))));
    there.sort((a, b) => (numeric ? cell(a) - cell(b) : cell(a).localeCompare(cell(b))));
    if (order === "descending") there.reverse();
    table.append(...there, ...gone);
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", order) : head.removeAttribute("aria-sort")));
    const chooser = document.querySelector(`.sorter select[aria-controls="${table.id}"]`);
    if (chooser) chooser.value = String(column);
    say(`Sorted by ${heads[column].textContent}, ${order}`);
  }

  function unfold(button, open) {
    button.setAttribute("aria-expanded", String(open));
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  }

  document.documentElement.classList.add("scripted");
  for (const table of document.querySelectorAll("table.board")) {
    const heads = [...table.querySelectorAll("button.sort")];
    heads.forEach((button, column) => button.addEventListener("click", () => {
      const now = button.closest("th").getAttribute("aria-sort");
      const other = now === "ascending" ? "descending" : "ascending";
      sort(table, column, now ? other : button.dataset.first);
    }));
    /* On a narrow page a menu sorts, and headings that nobody sees must not take the focus. */
    const narrow = matchMedia("(max-width: 820px)");
    const reach = () => heads.forEach((button) => { button.tabIndex = narrow.matches ? -1 : 0; });
    narrow.addEventListener("change", reach);
    reach();
    const chooser = document.querySelector(`.sorter select[aria-controls="${table.id}"]`);
    chooser.addEventListener("change", () => sort(table, Number(chooser.value), heads[Number(chooser.value)].dataset.first));
    const rows = () => [...table.querySelectorAll("button.open")];
    for (const button of rows()) {
      unfold(button, false);
      button.addEventListener("click", () => unfold(button, button.getAttribute("aria-expanded") !== "true"));
    }
    const every = document.querySelector(`button.every[aria-controls="${table.id}"]`);
    every.addEventListener("click", () => {
      const open = every.getAttribute("aria-pressed") !== "true";
      every.setAttribute("aria-pressed", String(open));
      every.textContent = open ? "Close all rows" : "Open all rows";
      rows().forEach((button) => unfold(button, open));
    });
  }

  /* The clipboard is closed to pages opened as files in some browsers: then the text is selected and copied the old way. */
  async function copy(text, code) {
    try { return await navigator.clipboard.writeText(text); } catch { /* Below. */ }
    const range = document.createRange();
    range.selectNodeContents(code);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) throw new Error("copying is not allowed here; the command is selected");
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    copy(code.textContent, code).then(
      () => { button.classList.add("done"); say("Copied"); setTimeout(() => button.classList.remove("done"), 1500); },
      (error) => say(error.message),
    );
  });

  /* A link to a curve narrows the chart of curves to that attack and that defense. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.curve");
    const figure = document.querySelector('figure[data-chart="curves"]');
    if (link && figure) figure.dispatchEvent(new CustomEvent("narrow", { detail: { ...link.dataset } }));
  });
})();
