// The page of one recording, or of several.
(function (hrc) {
  "use strict";
  const { el } = hrc;
  const paragraphs = (texts) => el("ul", { class: "hrc-missing" }, texts.map((t) => el("li", {}, t)));

  hrc.report = function (host, data) {
    host.classList.add("hrc");
    const several = data.runs.length > 1;
    const detail = el("div", {});
    const show = (number) => detail.replaceChildren(...sections(data.runs[number], several));
    host.replaceChildren(
      el("header", { class: "hrc-top" },
        el("h1", {}, several ? hrc.plural(data.runs.length, "recording") : "Recording"), themes(host)),
      several ? compared(data.runs) : "",
      several
        ? el("div", { class: "hrc-chooser" }, hrc.select("Recording in detail", data.runs.map((r) => r.name), show))
        : "",
      detail,
    );
    show(0);
  };

  // Light or dark: as the system says, unless it is said here.
  function themes(host) {
    const root = document.documentElement;
    const isDark = () => hrc.color(host, "scheme") === "dark";
    if (!document.body.classList.contains("hrc-page")) return "";
    const button = el("button", { type: "button", onclick: () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      button.textContent = name();
    } });
    const name = () => (isDark() ? "Light" : "Dark");
    requestAnimationFrame(() => { button.textContent = name(); });
    return button;
  }

  function sections(run, several) {
    const parts = [head(run, several)];
    if (run.missing.length) parts.push(section("Not in this recording", paragraphs(run.missing)));
    if (!run.records) return parts;
    parts.splice(1, 0, section("Findings", findings(run.findings)));
    const panels = run.panels.map((panel) => drawn(panel, run));
    const metric = (panel) => !("gradients weights update_ratio".split(" ").includes(panel.key)) && !panel.ofPaths;
    const [metrics, sizes] = [panels.filter(metric), panels.filter((p) => !metric(p))];
    const before = parts.length - (run.missing.length ? 1 : 0);
    const charts = [];
    const usage = el("p", { class: "hrc-note" }, "Point at a line to read it; drag to zoom, double-click to show all. With the keyboard: arrow keys, plus, minus and 0.");
    if (metrics.length) charts.push(section("Loss and metrics", usage, thinned(run), el("div", { class: metrics.length > 1 ? "hrc-grid" : "" }, metrics.map((p) => hrc.panel(p).element))));
    if (sizes.length) charts.push(section("Gradients, weights and updates", metrics.length ? null : [usage, thinned(run)], sizes.map((p) => hrc.panel(p).element)));
    if (sizes.length) charts.push(section("All variables at once", heat(sizes, run)));
    if (run.network) charts.push(section("The network", network(run)));
    if (run.distributions.items.length) charts.push(section("Histograms", histograms(run)));
    parts.splice(before, 0, ...charts);
    return parts;
  }
  const section = (title, ...content) => el("section", { class: "hrc-section" }, el("h2", {}, title), content);

  function head(run, several) {
    const { about } = run;
    const variables = about.variables.map(([path, shape, count]) => [path, shape, hrc.count(count)]);
    const more = about.allVariables - about.variables.length;
    return el("div", {},
      several ? el("h2", { class: "hrc-name" }, run.name) : null,
      el("p", { class: "hrc-summary" }, about.summary),
      about.complete ? null : el("p", { class: "hrc-warning", role: "note" }, el("b", {}, "Incomplete. "), about.fault),
      el("dl", { class: "hrc-facts" }, about.facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)])),
      variables.length
        ? hrc.details(hrc.plural(about.allVariables, "variable"), () => el("div", {},
          hrc.table("Variables of the model", ["Path", "Shape", "Elements"], variables),
          more > 0 ? el("p", { class: "hrc-note" }, `And ${hrc.plural(more, "other")}.`) : null))
        : null);
  }

  function thinned(run) {
    if (run.blockSize === 1) return null;
    return el("p", { class: "hrc-note" },
      `Of ${hrc.plural(run.records, "record")}, each ${hrc.count(run.blockSize)} in a row are drawn as two points, the smallest and the largest number among them; every peak and every NaN is there. The tables of numbers are of all records.`);
  }

  function findings(found) {
    const groups = new Map();
    for (const row of found.rows) {
      const key = JSON.stringify([row.severity, row.rule, row.advice]);
      groups.set(key, [...(groups.get(key) || []), row]);
    }
    const items = [...groups.values()].map((rows) => el("li", { class: `hrc-finding hrc-is-${rows[0].severity}` },
      el("p", {}, el("b", { class: "hrc-severity" }, rows[0].severity), " ", el("b", {}, rows[0].rule.replaceAll("_", " "))),
      el("ul", {}, evidence(rows)),
      rows[0].advice ? el("p", {}, "Try ", rows[0].advice) : null));
    const rest = Object.entries(found.notLooked);
    return [
      items.length ? el("ul", { class: "hrc-findings" }, items) : el("p", {}, found.looked.length ? "Nothing was found." : "No rule could look."),
      el("p", { class: "hrc-note" }, `Looked: ${found.looked.map((n) => n.replaceAll("_", " ")).join(", ") || "none"}.`),
      rest.length ? hrc.details(`${hrc.plural(rest.length, "rule")} could not look`, () =>
        hrc.table("Rules that could not look", ["Rule", "Why"], rest.map(([name, why]) => [name.replaceAll("_", " "), why]))) : null,
    ];
  }
  const MOST = 6;
  function evidence(rows) {
    const told = new Map();
    for (const row of rows) {
      const key = JSON.stringify([row.path, row.evidence, row.step]);
      const same = told.get(key) || { ...row, units: [] };
      if (row.unit !== null) same.units.push(row.unit);
      told.set(key, same);
    }
    const lines = [...told.values()].map(({ path, units, step, evidence }) => {
      const where = [path, units.length ? `unit${units.length > 1 ? "s" : ""} ${units.join(", ")}` : null].filter(Boolean).join(", ");
      const since = step === null ? "" : ` (from step ${hrc.count(step)})`;
      return el("li", {}, where ? el("span", { class: "hrc-path" }, where) : null, where ? `${since}: ${evidence}` : `${evidence}${since}`);
    });
    const more = lines.length - MOST;
    return more > 1 ? [...lines.slice(0, MOST), el("li", {}, `… and ${more} more: recording.diagnose().to_frame() has all.`)] : lines;
  }

  // A panel's series as arrays, with colours: one a layer, dashes for its variables.
  function drawn(panel, run) {
    const layers = new Set(panel.series.map((s) => s.layer)).size;
    const used = {};
    // Long dashed lines are slow to draw, and no help among many.
    const plain = panel.series.length > 24;
    const series = panel.series.map((s) => ({
      name: s.name, y: hrc.float32(s.y), flags: hrc.uint8(s.flags), summary: s,
      color: hrc.lineColor(s.layer, layers), dash: plain ? [] : hrc.dash((used[s.layer] = (used[s.layer] ?? -1) + 1)),
    }));
    const ofPaths = series.some((s) => s.name.includes("/"));
    const isRatio = panel.key === "update_ratio";
    const notes = [];
    if (panel.every > 1) notes.push(`The tensors are large: the norm was computed of each ${hrc.count(panel.every)}th record.`);
    if (panel.left.length) notes.push(`${hrc.plural(panel.left.length, "variable")} more: ${panel.left.slice(0, 10).join(", ")}${panel.left.length > 10 ? ", …" : ""}`);
    return {
      ...panel, series, ofPaths, x: hrc.float64(run.x), xLabel: run.axis, blockSize: run.blockSize,
      log: ofPaths && panel.key !== "weights",
      guide: isRatio ? { y: 1e-3, text: "0.001, rule of thumb" } : null,
      note: notes.join(" "),
    };
  }

  function compared(runs) {
    const pick = (run, key) => run.panels.find((p) => p.key === key);
    const keys = ["loss", ...new Set(runs.flatMap((r) => r.panels.map((p) => p.key)))];
    const choices = [];
    for (const key of new Set(keys)) {
      const names = new Set(runs.flatMap((r) => (pick(r, key)?.series || []).map((s) => s.name)));
      for (const name of names) choices.push({ key, name });
    }
    const title = ({ key, name }) => {
      const panel = runs.map((r) => pick(r, key)).find(Boolean);
      return name.includes("/") ? `${panel.title.split(":")[0].replace(" by variable", "")}: ${name}` : name;
    };
    if (!choices.length) return el("p", {}, "None of the recordings has anything to compare.");
    const box = el("div", {});
    const show = (number) => {
      const { key, name } = choices[number];
      const there = runs.filter((r) => pick(r, key)?.series.some((s) => s.name === name));
      const x = together(there.map((r) => hrc.float64(r.x)));
      const series = there.map((run) => {
        const found = pick(run, key).series.find((s) => s.name === name);
        const own = hrc.float64(run.x), y = spread(own, hrc.float32(found.y), x);
        return { name: run.name, y, flags: flagsOf(own, hrc.uint8(found.flags), x), summary: found, color: hrc.lineColor(runs.indexOf(run), runs.length), dash: hrc.dash(Math.floor(runs.indexOf(run) / 7)) };
      });
      const axes = new Set(there.map((r) => r.axis));
      const absent = runs.filter((r) => !there.includes(r)).map((r) => r.name);
      const note = absent.length ? `Not recorded in: ${absent.join(", ")}.` : "";
      box.replaceChildren(hrc.panel({ title: title(choices[number]), unit: "", series, x, xLabel: axes.size === 1 ? [...axes][0] : "Step or epoch", log: name.includes("/") && key !== "weights", legend: true, note }).element);
    };
    show(0);
    return section("Side by side", el("div", { class: "hrc-chooser" }, hrc.select("Shown", choices.map(title), show)), box);
  }
  // One axis for recordings whose records lie at different steps.
  const together = (axes) => Float64Array.from(new Set(axes.flatMap((a) => [...a]))).sort();
  function spread(own, y, x) {
    const at = new Map([...own].map((step, n) => [step, y[n]]));
    return Float32Array.from(x, (step) => (at.has(step) ? at.get(step) : NaN));
  }
  function flagsOf(own, flags, x) {
    if (!flags) return null;
    const each = own.length / flags.length;
    const at = new Map([...own].map((step, n) => [step, flags[Math.floor(n / each)]]));
    return Uint8Array.from(x, (step) => at.get(step) || 0);
  }

  // Sizes of all variables as colours: rows are variables, columns records.
  function heat(panels, run) {
    const grids = panels.map((panel) => grid(panel, run));
    const key = el("div", {});
    const map = hrc.heatmap({ label: "Heat map of variables over records", ...grids[0].spec(true) });
    let robust = true, number = 0;
    const show = () => {
      const spec = grids[number].spec(robust);
      map.set(spec);
      map.readout.textContent = "Point at a cell to read it.";
      key.replaceChildren(hrc.colorKey(...spec.ends));
    };
    show();
    return [
      el("div", { class: "hrc-heading" },
        panels.length > 1 ? hrc.select("Shown", panels.map((p) => p.title.split(":")[0].replace(" by variable", "")), (n) => { number = n; show(); }) : el("span", {}, panels[0].title),
        el("div", { class: "hrc-buttons" }, hrc.toggle("Robust scale", true, (on) => { robust = on; show(); }))),
      key, map.host, map.readout,
      el("p", { class: "hrc-note" }, "The robust scale leaves out the smallest and the largest two in a hundred. Orange: NaN or infinite. Grey: none."),
    ];
  }
  function grid(panel, run) {
    const rows = panel.series, columns = run.blockSize > 1 ? rows[0].y.length / 2 : rows[0].y.length;
    const each = rows[0].y.length / columns;
    const raw = new Float32Array(rows.length * columns), codes = new Uint8Array(raw.length);
    rows.forEach((s, row) => {
      for (let c = 0; c < columns; c++) {
        const [a, b] = [s.y[c * each], s.y[c * each + each - 1]];
        raw[row * columns + c] = Math.max(a, b);
        codes[row * columns + c] = s.flags ? s.flags[c] : 0;
      }
    });
    const sorted = raw.filter((v) => v > 0 && Number.isFinite(v)).sort();
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))] || 1;
    const describe = (row, c) => {
      const value = raw[row * columns + c];
      const text = codes[row * columns + c] & 3 ? "NaN or infinite" : Number.isFinite(value) ? hrc.number(value) : "none";
      const first = panel.x[c * each], last = panel.x[c * each + each - 1];
      const when = first === last ? `${run.axis} ${hrc.count(first)}` : `${run.axis}s ${hrc.count(first)} to ${hrc.count(last)}, largest`;
      return [el("b", {}, when), ` ${rows[row].name} `, el("b", {}, text)];
    };
    const spec = (robust) => {
      const [low, high] = robust ? [at(0.02), at(0.98)] : [at(0), at(1)];
      const [from, to] = [Math.log10(low), Math.log10(Math.max(high, low * 1.0001))];
      const values = raw.map((v) => (Number.isFinite(v) ? (v > 0 ? (Math.log10(v) - from) / (to - from) : 0) : NaN));
      return {
        rows: rows.map((s) => s.name), columns, values, codes, describe, ticks: ticks(panel.x, columns, each, run.axis),
        rowHeight: Math.min(Math.max(Math.round(420 / rows.length), 3), 24), names: rows.length <= 40 ? 210 : 0,
        ends: [hrc.number(low), `${hrc.number(high)}, logarithmic`],
      };
    };
    return { spec };
  }
  function ticks(x, columns, each, axis) {
    const count = Math.min(columns, 6);
    return Array.from({ length: count }, (_, n) => {
      const column = Math.round((n / Math.max(count - 1, 1)) * (columns - 1));
      return [column, `${n === 0 ? `${axis} ` : ""}${hrc.count(x[column * each])}`];
    });
  }

  function histograms(run) {
    const { items, times } = run.distributions;
    const map = hrc.heatmap({ label: "Histogram over time", ...histogram(items[0], times, run.axis) });
    const note = el("p", { class: "hrc-note" });
    const show = (number) => {
      map.set(histogram(items[number], times, run.axis));
      map.readout.textContent = "Point at a cell to read it.";
      const others = Object.keys(items[number].others);
      note.textContent = `${hrc.plural(times.length, "record")} of ${hrc.count(run.records)}; each column is relative to its fullest bin.${items[number].isMagnitude ? " Magnitudes, on a logarithmic axis." : ""}${others.length ? ` No bin holds: ${others.join(", ")}; pointing at a column tells how many.` : ""}`;
    };
    const label = ({ quantity, path }) => `${quantity} of ${path}`;
    const chooser = hrc.select("Variable", items.map(label), show);
    const key = hrc.colorKey("none", "fullest bin");
    show(0);
    return [chooser, key, map.host, map.readout, note];
  }
  function histogram(item, times, axis) {
    const bins = item.edges.length - 1, bytes = hrc.uint8(item.shares);
    const values = new Float32Array(bins * times.length);
    // The largest numbers at the top.
    for (let c = 0; c < times.length; c++)
      for (let b = 0; b < bins; b++) values[(bins - 1 - b) * times.length + c] = bytes[c * bins + b] / 255;
    const edge = (b) => hrc.number(+item.edges[b].toPrecision(3));
    const describe = (row, c) => {
      const bin = bins - 1 - row;
      const others = Object.entries(item.others).filter(([, s]) => s[c] > 0).map(([name, s]) => (name === "no gradient" ? name : `${(100 * s[c]).toFixed(1)} % ${name}`));
      const share = Math.round(100 * values[row * times.length + c]);
      return [el("b", {}, `${axis} ${hrc.count(times[c])}`), ` ${edge(bin)} to ${edge(bin + 1)}: `, el("b", {}, `${share} % of the fullest bin`), others.length ? `; besides, ${others.join(", ")}` : ""];
    };
    return {
      rows: Array.from({ length: bins }, (_, row) => edge(bins - 1 - row)), columns: times.length, values, codes: null, describe,
      ticks: ticks(times, times.length, 1, axis), rowHeight: Math.max(4, Math.round(240 / bins)), names: 64,
    };
  }

  function network(run) {
    const data = hrc.networkData(run.network);
    const picture = hrc.network(data.sizes, "The network's weights and gradients");
    const said = el("p", { class: "hrc-readout", "aria-live": "polite" });
    const box = el("div", {});
    const when = (n) => `${run.axis} ${hrc.count(run.axis === "Epoch" ? data.epoch[n] : data.step[n])}`;
    const slider = hrc.slider("Record", data.count - 1, data.count - 1, when, (n) => {
      const record = hrc.recordOf(data, n);
      const dead = hrc.showNetwork(picture, data.sizes, record);
      said.textContent = `${when(n)}: loss ${hrc.number(data.loss[n])}. ${data.gradients ? hrc.saidOfDead(dead) : "Gradients were not recorded."}`;
      if (details.open) box.replaceChildren(linkTable(data, n));
    });
    const details = hrc.details("Numbers", () => box);
    details.addEventListener("toggle", () => { if (details.open) slider.move(); });
    slider.move();
    const skipped = data.count < run.records ? el("p", { class: "hrc-note" }, `The slider goes over ${hrc.count(data.count)} of ${hrc.plural(run.records, "record")}.`) : null;
    return [slider.element, el("div", { class: "hrc-network-box" }, picture.element), said, hrc.networkKey(), skipped, details];
  }
  function linkTable(data, n) {
    const rows = [], [w, g] = [data.weightsAt(n), data.gradientsAt(n)];
    hrc.eachLink(data.sizes, (place, kernel, i, j) => rows.push([`${data.kernels[kernel]}[${i},${j}]`, w[place], g ? g[place] : "–"]));
    data.biasesAt(n).forEach((biases, k) => biases && biases.forEach((b, j) => {
      const gradients = data.biasGradientsAt(n)[k];
      rows.push([`${data.kernels[k].replace(/kernel$/, "bias")}[${j}]`, b, gradients ? gradients[j] : "–"]);
    }));
    return hrc.table("Weights and gradients of this record", ["Element", "Weight", "Gradient"], rows);
  }
})(hrcallbacks);
