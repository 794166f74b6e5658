"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = () => window.fedsiegeDark();
  const WHO = ["benign", "malicious"];
  const SHAPES = [
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left",
    /* A star, a saltire, an hourglass, a bow tie, a chevron, two bars and a T. */
    "M0,-1.15L0.28,-0.39L1.09,-0.36L0.46,0.15L0.68,0.93L0,0.48L-0.68,0.93L-0.46,0.15L-1.09,-0.36L-0.28,-0.39Z",
    "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "M-.9,-1L.9,-1L-.9,1L.9,1Z", "M-1,-.9L-1,.9L1,-.9L1,.9Z", "M-1,.2L0,-.9L1,.2L1,.9L0,-.2L-1,.9Z",
    "M-1.1,-.35L1.1,-.35L1.1,.35L-1.1,.35Z", "M-.35,-1.1L.35,-1.1L.35,1.1L-.35,1.1Z",
    "M-1,-1L1,-1L1,-.4L.3,-.4L.3,1L-.3,1L-.3,-.4L-1,-.4Z",
  ];
  const DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]];
  const FACES = {
    light: {
      ink: "#1d2329", soft: "#566069", line: "#e3e6e9", dark: "#10151a", pale: "#ffffff", who: ["#2f6fb3", "#d1495b"],
      loss: ["#0a5f8f", "#6fb1d6", "#f1f1ee", "#eda36b", "#a63d12"], one: "#2f6fb3",
      series: ["#5a6570", "#0072b2", "#d55e00", "#00875f", "#b65c95", "#a87900", "#3a9bd1", "#8c5a44", "#6a4fb3", "#7a8a00"],
    },
    dark: {
      ink: "#e6eaee", soft: "#a3afba", line: "#323b45", dark: "#10151a", pale: "#f2f5f7", who: ["#6fb3f2", "#ff7b8a"],
      loss: ["#8fd0f7", "#3b7ea6", "#2a323b", "#a8592a", "#ffb27a"], one: "#6fb3f2",
      series: ["#c3ccd4", "#58b4ee", "#ff9a4d", "#35c99a", "#e79ccb", "#f0c24b", "#a5dcff", "#d3a48f", "#b3a0f0", "#c9d65a"],
    },
  };

  /* Tables come by columns; repeats are counted and texts are places in a list. */
  const spread = (column) => {
    if (Array.isArray(column)) return column;
    const out = [];
    for (let i = 0; i < column.runs.length; i += 2)
      for (let k = 0; k < column.runs[i + 1]; k++) out.push(column.runs[i]);
    return out;
  };
  const decode = (table) => Object.fromEntries(Object.entries(table).map(([name, column]) =>
    [name, column.words ? spread(column.at).map((at) => column.words[at]) : spread(column)]));

  /* Give colour, shape and dash of the fields of a series their values. */
  function dress(spec, fields, present) {
    if (spec === null || typeof spec !== "object") return;
    for (const [key, at] of [["color", 1], ["shape", 2], ["strokeDash", 3]]) {
      if (fields.includes(spec[key]?.field))
        spec[key].scale = { domain: present.map((entry) => entry[0]), range: present.map((entry) => entry[at]) };
    }
    Object.values(spec).forEach((part) => dress(part, fields, present));
  }

  const theme = (face, columns) => ({
    background: "transparent", font: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    view: { stroke: face.line },
    axis: { labelColor: face.soft, titleColor: face.soft, gridColor: face.line, domainColor: face.line, tickColor: face.line,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, labelLimit: 180, labelFlush: false, labelOverlap: true },
    axisY: { titlePadding: 8 },
    legend: { labelColor: face.ink, titleColor: face.soft, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500,
      orient: "bottom", direction: "horizontal", columns, symbolSize: 80, symbolOpacity: 1, labelLimit: 220, titleLimit: 0, offset: 10 },
    header: { labelColor: face.ink, labelFontSize: 13, labelFontWeight: 600, labelLimit: 300 },
    text: { color: face.ink, fill: face.ink }, rule: { color: face.soft }, bar: { color: face.one }, point: { color: face.ink },
    facet: { spacing: 22 }, range: { diverging: face.loss, heatmap: face.loss },
  });

  function start(figure) {
    const chart = charts[figure.dataset.chart];
    const stage = figure.querySelector(".stage");
    const menus = figure.querySelector(".menus");
    const table = decode(chart.table);
    const size = Object.values(table)[0].length;
    /* Vega-Embed makes its element as wide as the drawing; the stage around it keeps the width of the page. */
    const canvas = document.createElement("div");
    stage.replaceChildren(canvas);
    let turn = 0;

    const selects = chart.choices.map(([column, label, first]) => {
      const select = document.createElement("select");
      select.dataset.column = column;
      select.dataset.first = first ?? "";
      const box = document.createElement("label");
      box.append(label, select);
      menus.append(box);
      return select;
    });

    /* What a link narrowed the chart to: one panel, and its attack beside no attack. */
    let narrowed = null;
    const wide = document.createElement("button");
    wide.type = "button";
    wide.hidden = true;
    menus.append(wide);
    const widen = () => { narrowed = null; wide.hidden = true; delete figure.dataset.narrowed; };
    wide.addEventListener("click", () => { widen(); redraw(); });
    figure.addEventListener("narrow", ({ detail }) => {
      narrowed = detail;
      figure.dataset.narrowed = JSON.stringify(detail);
      for (const select of selects) {
        const value = detail[select.dataset.column];
        if (value === undefined) continue;
        /* A menu offers what fits those before it; the wanted value must be there to be chosen. */
        if (![...select.options].some((option) => option.value === value)) select.append(new Option(value, value));
        select.value = value;
      }
      wide.textContent = `Only ${detail.attack} against ${detail.defense}: show all`;
      wide.hidden = false;
      redraw();
    });
    const kept = (i) => !narrowed || (table.defense[i] === narrowed.defense
      && [narrowed.attack, "none"].includes(table.attack[i]) && table.group[i] === narrowed.group);

    /* Each menu offers what is left after those before it; a choice that is gone falls back to one that is there. */
    function chosen() {
      let rows = Array.from({ length: size }, (_, i) => i);
      for (const select of selects) {
        const values = table[select.dataset.column];
        const known = [...new Set(rows.map((i) => values[i]))];
        const wanted = select.value || select.dataset.first;
        const value = [wanted, select.dataset.first].find((name) => known.includes(name))
          ?? known.find((name) => name !== "none") ?? known[0];
        select.replaceChildren(...known.map((name) => new Option(name, name, name === value, name === value)));
        select.disabled = known.length < 2;
        rows = rows.filter((i) => values[i] === value);
      }
      if (rows.some(kept)) rows = rows.filter(kept);
      return rows.map((i) => Object.fromEntries(Object.keys(table).map((name) => [name, table[name][i]])));
    }

    async function draw() {
      const mine = ++turn;
      const rows = chosen();
      const face = dark() ? FACES.dark : FACES.light;
      const width = stage.clientWidth;
      const spec = structuredClone(chart.spec);
      const config = theme(face, Math.max(1, Math.floor(width / 150)));
      /* Every attack keeps its colour and shape whatever else is shown; only what is shown is in the legend. */
      const named = chart.series === "who"
        ? [...WHO.map((name, i) => [name, face.who[i], ["circle", "triangle-up"][i], [[1, 0], [6, 3]][i]]),
          ["rejected", face.ink, "M-.8,-.8L.8,.8M.8,-.8L-.8,.8", [1, 0]]]
        : chart.order.map((name, i) => [name, face.series[i % face.series.length], SHAPES[i % SHAPES.length],
          DASHES[Math.floor(i / SHAPES.length) % DASHES.length]]);
      const shown = new Set(rows.flatMap((row) => [row[chart.series], row.verdict]));
      const present = named.filter(([name]) => shown.has(name));
      dress(spec, [chart.series, "verdict"], present);
      if (chart.facet) {
        const panels = new Set(rows.map((row) => row[chart.panel])).size;
        const room = width - chart.margin - 6;
        spec.columns = Math.max(1, Math.min(panels, spec.columns, Math.floor((room + 22) / (chart.facet + 22))));
        spec.spec.width = Math.max(120, Math.min(560, Math.floor((room - 22 * (spec.columns - 1)) / spec.columns)));
      }
      for (const param of spec.params ?? []) {
        if (param.name === "ink") param.value = face.ink;
        if (param.name === "paper") param.value = dark() ? face.dark : face.pale;
        /* What the colours of a heat map tell depends on the metric. */
        if (param.name === "change") param.value = rows[0]?.change ?? 1;
      }
      for (const layer of spec.layer ?? []) {
        const legend = layer.encoding?.color?.legend;
        if (legend && rows[0]?.legend) legend.title = rows[0].legend;
        if (legend && rows[0]?.change === 0) {
          layer.encoding.color.scale.domain = [-1, 1];
          legend.values = [0, 0.5, 1];
        }
      }
      const picked = selects.map((select) => select.value).join(", ");
      spec.description = `${figure.dataset.title}: ${picked}`;
      spec.datasets = { rows };
      const options = {
        mode: "vega-lite", renderer: "svg", ast: true, config, tooltip: { theme: dark() ? "dark" : "light" },
        actions: { export: true, source: false, compiled: false, editor: false },
        downloadFileName: `fedsiege-${figure.dataset.chart}`,
      };
      /* How much room labels take is known only once they are drawn: what sticks out is taken from the panels. */
      for (let attempt = 0; attempt < 3; attempt++) {
        const result = await vegaEmbed(canvas, structuredClone(spec), options);
        if (mine !== turn) return result.finalize();
        stage.dataset.drawn = dark() ? "dark" : "light";
        figure.classList.toggle("wide", stage.scrollWidth > stage.clientWidth + 4);
        const over = canvas.querySelector("svg").clientWidth - width;
        if (!chart.facet || over <= 0 || spec.spec.width <= 120) return;
        spec.spec.width = Math.max(120, spec.spec.width - Math.ceil(over / spec.columns));
        result.finalize();
      }
    }

    const failed = (error) => {
      console.error(error);
      stage.textContent = `This chart could not be drawn: ${error.message}`;
    };
    const redraw = () => draw().catch(failed);
    let seen = stage.clientWidth;
    let timer = 0;
    new ResizeObserver(() => {
      if (Math.abs(stage.clientWidth - seen) < 2) return;
      seen = stage.clientWidth;
      clearTimeout(timer);
      timer = setTimeout(redraw, 60);
    }).observe(stage);
    document.addEventListener("themechange", redraw);
    for (const select of selects)
      select.addEventListener("change", () => {
        if (select.dataset.column === "group") {
          widen();
          /* Another setting may be judged by another metric; one that was picked by hand stays. */
          for (const other of selects)
            if (["metric", "choice"].includes(other.dataset.column) && !other.dataset.picked) other.value = "";
        } else select.dataset.picked = "yes";
        redraw();
      });
    redraw();
  }
  document.querySelectorAll("figure[data-chart]").forEach(start);
})();
