(() => {
  const bar = document.getElementById("live");
  const EVERY = 2500;
  const KEY = "fedsiege-live";

  /* What a reader has chosen outlives the reload: menus, order of tables, opened rows, place on the page. */
  const named = (list, name) => [...document.querySelectorAll(list)].map((element, i) => [`${name}${i}`, element]);
  function keep() {
    const state = { at: scrollY, menus: {}, orders: {}, open: [], details: [] };
    for (const [name, select] of named("figure select", "menu")) state.menus[name] = select.value;
    for (const table of document.querySelectorAll("table.board")) {
      const heads = [...table.tHead.rows[0].cells];
      const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
      state.orders[table.id] = [column, heads[column]?.getAttribute("aria-sort")];
    }
    for (const button of document.querySelectorAll('button.open[aria-expanded="true"]'))
      state.open.push(button.getAttribute("aria-controls"));
    for (const [name, element] of named("details", "details")) if (element.open) state.details.push(name);
    try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* Then the page starts afresh. */ }
  }
  function restore() {
    let state = null;
    try { state = JSON.parse(sessionStorage.getItem(KEY)); sessionStorage.removeItem(KEY); } catch { return; }
    if (!state) return;
    for (const [name, select] of named("figure select", "menu"))
      if ([...select.options].some((option) => option.value === state.menus[name]) && select.value !== state.menus[name]) {
        select.value = state.menus[name];
        select.dispatchEvent(new Event("change"));
      }
    for (const [id, [column, order]] of Object.entries(state.orders)) {
      const button = document.getElementById(id)?.querySelectorAll("button.sort")[column];
      for (let press = 0; button && press < 2 && button.closest("th").getAttribute("aria-sort") !== order; press++) button.click();
    }
    for (const button of document.querySelectorAll("button.open"))
      if (state.open.includes(button.getAttribute("aria-controls"))) button.click();
    for (const [name, element] of named("details", "details")) if (state.details.includes(name)) element.open = true;
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
