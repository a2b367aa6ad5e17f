// A chart with its heading, switches, legend and table.
(function (hrc) {
  "use strict";
  const FEW = 12;

  // `panel`: title, unit, series, note, guide, and whatever `hrc.chart` takes.
  hrc.panel = function (panel) {
    const chart = hrc.chart({ label: `${panel.title}, ${hrc.plural(panel.series.length, "line")}`, ...panel });
    const buttons = hrc.el("div", { class: "hrc-buttons" });
    if (chart.canLog)
      buttons.append(hrc.toggle("Log scale", chart.log, chart.setLog));
    buttons.append(hrc.el("button", { type: "button", onclick: chart.reset }, "Show all"));
    const shown = chart.isEmpty
      ? [hrc.el("p", { class: "hrc-none" }, "There is no finite number to draw.")]
      : [chart.host, chart.readout];
    const element = hrc.el(
      "section", { class: "hrc-panel" },
      hrc.el("div", { class: "hrc-heading" }, hrc.el(panel.heading || "h3", {}, panel.title), chart.isEmpty ? null : buttons),
      panel.unit && panel.unit !== panel.title.toLowerCase() && !panel.title.includes(panel.unit)
        ? hrc.el("p", { class: "hrc-unit" }, panel.unit) : null,
      shown,
      panel.series.length > 1 || panel.legend ? legend(chart) : null,
      marks(panel.series),
      panel.note ? hrc.el("p", { class: "hrc-note" }, panel.note) : null,
      panel.series[0].summary ? hrc.details("Numbers", () => numbers(panel)) : null,
    );
    return { element, chart };
  };

  function legend(chart) {
    const buttons = chart.series.map((series, number) => {
      const button = hrc.toggle("", series.show !== false, (on) => chart.show(number, on));
      button.append(hrc.swatch(series), series.name);
      return button;
    });
    const all = (on) => buttons.forEach((button) => {
      if ((button.getAttribute("aria-pressed") === "true") !== on) button.click();
    });
    const list = hrc.el("div", { class: "hrc-legend", role: "group", "aria-label": "Lines that are shown" }, buttons);
    if (buttons.length <= FEW) return list;
    return hrc.el(
      "details", { class: "hrc-lines" }, hrc.el("summary", {}, hrc.plural(buttons.length, "line")),
      hrc.el("div", { class: "hrc-buttons" },
        hrc.el("button", { type: "button", onclick: () => all(true) }, "All"),
        hrc.el("button", { type: "button", onclick: () => all(false) }, "None")),
      list,
    );
  }

  function marks(series) {
    const bits = series.reduce((sum, s) => (s.flags || []).reduce((a, b) => a | b, sum), 0);
    const said = [];
    if (bits & 3) said.push("A cross at the upper edge: NaN or infinite.");
    if (bits & 4) said.push("A dot at the lower edge: there was none, such as no gradient.");
    return said.length ? hrc.el("p", { class: "hrc-note" }, said.join(" ")) : null;
  }

  function numbers(panel) {
    const head = ["", "first", "smallest", "largest", "last", "NaN or infinite"];
    const rows = panel.series.map(({ name, summary: s }) =>
      [name, ...[s.first, s.min, s.max, s.last].map(asNumber), s.broken]);
    return hrc.table(`${panel.title}: numbers of all records`, head, rows);
  }
  const asNumber = (value) => (typeof value === "number" ? value : hrc.number(value));
})(hrcallbacks);
