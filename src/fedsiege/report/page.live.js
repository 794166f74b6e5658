(() => {
  const bar = document.getElementById("live");
  const EVERY = 2500;
  const KEY = "fedsiege-live";

  /* What a reader has chosen outlives the reload: menus, order of tables, opened rows, focus, place on the page. What
     a thing is called does not follow its place, for rows move and tables come as results do. */
  const within = (element) => element.closest("tr.more")?.id || element.closest("figure")?.dataset.chart
    || element.closest("section")?.id || "";
  const rowOf = (element) => element.closest("tr")?.querySelector("th")?.textContent ?? "";
  const called = (element, text) => [within(element), rowOf(element), element.tagName, element.className, text].join("|");
  const menu = (select) => called(select, select.dataset.column ?? "");
  /* What these two say counts seeds or gaps, which grow. */
  const fold = (element) => called(element, element.className || element.querySelector("summary")?.textContent);
  const folds = () => [...document.querySelectorAll("details:not(.vega-embed details)")];
  const stop = (element) => called(element, element.getAttribute("aria-controls") ?? element.getAttribute("href")
    ?? element.dataset.column ?? element.closest("details")?.className ?? element.textContent);
  const STOPS = "a[href], button, select, summary";

  function keep() {
    const state = { at: scrollY, menus: {}, orders: {}, open: [], details: [], narrow: {}, focus: "" };
    for (const select of document.querySelectorAll("figure select")) state.menus[menu(select)] = select.value;
    for (const table of document.querySelectorAll("table.board")) {
      const heads = [...table.tHead.rows[0].cells];
      const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
      state.orders[table.id] = [column, heads[column]?.getAttribute("aria-sort")];
    }
    for (const button of document.querySelectorAll('button.open[aria-expanded="true"]'))
      state.open.push(button.getAttribute("aria-controls"));
    for (const element of folds()) if (element.open) state.details.push(fold(element));
    for (const figure of document.querySelectorAll("figure[data-narrowed]"))
      state.narrow[figure.dataset.chart] = JSON.parse(figure.dataset.narrowed);
    if (document.activeElement?.matches(STOPS)) state.focus = stop(document.activeElement);
    try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* Then the page starts afresh. */ }
  }
  function restore() {
    let state = null;
    try { state = JSON.parse(sessionStorage.getItem(KEY)); sessionStorage.removeItem(KEY); } catch { return; }
    if (!state) return;
    for (const select of document.querySelectorAll("figure select")) {
      const value = state.menus[menu(select)];
      if ([...select.options].some((option) => option.value === value) && select.value !== value) {
        select.value = value;
        select.dispatchEvent(new Event("change"));
      }
    }
    for (const [key, detail] of Object.entries(state.narrow))
      document.querySelector(`figure[data-chart="${key}"]`)?.dispatchEvent(new CustomEvent("narrow", { detail }));
    for (const [id, [column, order]] of Object.entries(state.orders)) {
      const button = document.getElementById(id)?.querySelectorAll("button.sort")[column];
      for (let press = 0; button && press < 2 && button.closest("th").getAttribute("aria-sort") !== order; press++) button.click();
    }
    for (const button of document.querySelectorAll("button.open"))
      if (state.open.includes(button.getAttribute("aria-controls"))) button.click();
    for (const element of folds()) if (state.details.includes(fold(element))) element.open = true;
    const focused = state.focus && [...document.querySelectorAll(STOPS)].find((element) => stop(element) === state.focus);
    focused?.focus({ preventScroll: true });
    requestAnimationFrame(() => scrollTo(0, state.at));
  }

  const parts = (now) => ["finished", "running", "failed", "stopped"]
    .filter((kind) => now[kind] || kind === "finished")
    .map((kind) => `${now[kind]} ${kind}`).join(", ");

  async function ask() {
    try {
      const now = await (await fetch("status.json", { cache: "no-store" })).json();
      if (now.page !== bar.dataset.state && !document.hidden) {
        keep();
        location.reload();
        return;
      }
      const total = now.finished + now.running + now.failed + now.stopped;
      const late = now.error
        ? ` The newest results could not be drawn (${now.error}).` : " Newer results are being drawn …";
      const text = `Live: ${parts(now)} of ${total} started runs.${now.page === now.store ? "" : late}`;
      if (bar.firstChild?.textContent !== text) {
        const progress = document.createElement("progress");
        progress.max = Math.max(total, 1);
        progress.value = now.finished + now.failed;
        progress.setAttribute("aria-label", "Runs that have ended");
        bar.replaceChildren(text, progress);
      }
    } catch {
      bar.textContent = "The server that keeps this page up to date is gone; what you see is its last state.";
    }
    setTimeout(ask, EVERY);
  }
  restore();
  ask();
})();
