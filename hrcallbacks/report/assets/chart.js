// A line chart: uPlot, with what it lacks for keyboards, screen readers, gaps and NaN.
(function (hrc) {
  "use strict";
  const NAN = 1, INFINITE = 2, ABSENT = 4;
  const MARK = 4, APART = 7;

  // uPlot's values: null is a gap, undefined is bridged.
  function shown(series, log) {
    const out = new Array(series.y.length);
    const each = series.flags ? series.y.length / series.flags.length : 1;
    for (let n = 0; n < out.length; n++) {
      const y = series.y[n];
      if (Number.isFinite(y) && !(log && y <= 0)) out[n] = y;
      else if (Number.isFinite(y)) out[n] = null;
      else out[n] = series.flags && series.flags[Math.floor(n / each)] ? null : undefined;
    }
    return out;
  }

  const positive = (series) => series.some((s) => s.y.some((y) => y > 0 && Number.isFinite(y)));
  const finite = (series) => series.some((s) => s.y.some(Number.isFinite));

  // What has no place on the axis: crosses at the upper edge, dots at the lower.
  function drawMarks(u, chart) {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([]); // A dashed series leaves its own.
    chart.series.forEach((series, number) => {
      if (!series.flags || !u.series[number + 1].show) return;
      const each = series.y.length / series.flags.length;
      let before = { true: -Infinity, false: -Infinity };
      ctx.strokeStyle = ctx.fillStyle = series.color;
      for (let block = 0; block < series.flags.length; block++) {
        const flag = series.flags[block];
        if (!flag) continue;
        const x = u.valToPos(chart.x[block * each], "x", true);
        const broken = (flag & (NAN | INFINITE)) > 0;
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        if (x - before[broken] < APART * ratio) continue;
        before[broken] = x;
        const size = MARK * ratio * (broken ? 1 : 0.5);
        const y = broken ? bbox.top + size + ratio : bbox.top + bbox.height - size - ratio;
        ctx.beginPath();
        if (broken) {
          ctx.moveTo(x - size, y - size); ctx.lineTo(x + size, y + size);
          ctx.moveTo(x - size, y + size); ctx.lineTo(x + size, y - size);
          ctx.stroke();
        } else {
          ctx.arc(x, y, size, 0, 7);
          ctx.fill();
        }
      }
    });
    ctx.restore();
  }

  // A line across, or down, with a name.
  function drawGuides(u, chart) {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = hrc.color(chart.host, "soft");
    ctx.lineWidth = ratio;
    ctx.setLineDash([5 * ratio, 4 * ratio]);
    const scale = u.scales.y;
    if (chart.guide && chart.guide.y > scale.min && chart.guide.y < scale.max) {
      const y = u.valToPos(chart.guide.y, "y", true);
      line(ctx, bbox.left, y, bbox.left + bbox.width, y);
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.fillText(chart.guide.text, bbox.left + bbox.width - 4 * ratio, y - 4 * ratio);
    }
    if (chart.at !== null) {
      const x = u.valToPos(chart.at, "x", true);
      ctx.setLineDash([]);
      line(ctx, x, bbox.top, x, bbox.top + bbox.height);
    }
    ctx.restore();
  }
  function line(ctx, x0, y0, x1, y1) {
    ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke();
  }

  const logTicks = (u, splits) => {
    const decades = Math.log10(u.scales.y.max / u.scales.y.min);
    const each = Math.max(1, Math.ceil(decades / 6));
    return splits.map((v) => {
      if (v === null) return ""; // Too close to the next.
      const power = Math.log10(v);
      const whole = Math.abs(power - Math.round(power)) < 1e-9;
      if (whole && Math.round(power) % each === 0) return hrc.number(v);
      return decades < 1.5 && !whole ? hrc.number(v) : "";
    });
  };

  function options(chart, width) {
    const ink = () => hrc.color(chart.host, "ink");
    const faint = () => hrc.color(chart.host, "grid");
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, size: 5 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18 };
    const few = chart.x.length <= 30;
    const many = chart.series.length > 24; // Hairlines are drawn many times faster.
    return {
      width,
      height: chart.height,
      legend: { show: false },
      padding: [10, 26, 0, 0],
      cursor: { drag: { x: true, y: false }, focus: { prox: 40 }, points: { size: 7 } },
      focus: { alpha: chart.series.length > 6 ? 0.25 : 1 },
      scales: { x: { time: false, range: span }, y: { distr: chart.log ? 3 : 1, range: chart.log ? logSpan : undefined } },
      axes: [
        { ...axis, label: chart.xLabel, size: 34, values: (u, all) => all.map((v) => (Number.isInteger(v) ? hrc.count(v) : "")) },
        { ...axis, size: 62, values: chart.log ? logTicks : (u, all) => all.map(hrc.number) },
      ],
      series: [{}, ...chart.series.map((s) => ({
        label: s.name, stroke: s.color, width: many ? 1 / devicePixelRatio : 1.5, dash: s.dash,
        show: s.show !== false,
        points: { show: few, size: 5, fill: s.color },
      }))],
      hooks: {
        draw: [(u) => { drawGuides(u, chart); drawMarks(u, chart); }],
        setCursor: [(u) => chart.read(u.cursor.idx)],
      },
    };
  }
  const span = (u, low, high) => (low === null ? [0, 1] : low === high ? [low - 1, high + 1] : [low, high]);
  const logSpan = (u, low, high) => {
    if (!(low > 0) || !(high > 0)) return [0.1, 10];
    const room = Math.max((high / low) ** 0.05, 1.05);
    return [low / room, high * room];
  };

  // `spec`: label, x, xLabel, series [{name, y, flags, color, dash}], log, guide, height.
  hrc.chart = function (spec) {
    const host = hrc.el("div", {
      class: "hrc-plot hrc-chart", tabindex: "0", role: "group", "aria-roledescription": "line chart",
      "aria-label": `${spec.label}. Arrow keys read the values, plus and minus zoom, 0 shows all.`,
    });
    host.style.minHeight = `${spec.height || 260}px`;
    const readout = hrc.el("p", { class: "hrc-readout", "aria-live": "polite" });
    const chart = { height: 260, guide: null, log: false, at: null, ...spec, host, readout };
    const canLog = positive(chart.series);
    chart.log = chart.log && canLog;
    let u = null, place = null;

    function make() {
      if (u) u.destroy();
      if (!host.clientWidth) return;
      const data = [Array.from(chart.x), ...chart.series.map((s) => shown(s, chart.log))];
      chart.series.forEach((s, n) => { s.drawn = data[n + 1]; });
      u = new uPlot(options(chart, host.clientWidth), data, host);
    }
    chart.read = (index) => {
      place = index;
      readout.replaceChildren(...(index === null || index === undefined ? [chart.hint] : describe(chart, u, index)));
    };
    chart.setLog = (log) => { chart.log = log; make(); };
    chart.show = (number, visible) => {
      chart.series[number].show = visible;
      if (u) u.setSeries(number + 1, { show: visible });
    };
    chart.reset = () => u && u.setData(u.data, true);
    chart.mark = (x) => { chart.at = x; if (u) u.redraw(false); };
    chart.setSeries = (series) => { chart.series = series; make(); };
    chart.zoom = (factor) => {
      const { min, max } = u.scales.x;
      const middle = place === null || place === undefined ? (min + max) / 2 : chart.x[place];
      u.setScale("x", { min: middle - (middle - min) * factor, max: middle + (max - middle) * factor });
    };
    chart.hint = spec.hint || "";
    chart.canLog = canLog;
    chart.isEmpty = !finite(chart.series);
    readout.textContent = chart.hint;
    host.addEventListener("keydown", (event) => onKey(event, chart, () => u, () => place));
    hrc.onWidth(host, (width) => (u ? u.setSize({ width, height: chart.height }) : make()));
    hrc.onTheme(host, () => u && u.redraw(false));
    return chart;
  };

  function onKey(event, chart, plot, place) {
    const u = plot();
    if (!u || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
    if (event.key in moves || event.key === "Home" || event.key === "End") {
      const last = chart.x.length - 1;
      const now = place() ?? -1;
      const ends = { Home: 0, End: last };
      const index = ends[event.key] ?? Math.min(Math.max(now + moves[event.key], 0), last);
      u.setCursor({ left: u.valToPos(chart.x[index], "x"), top: u.bbox.height / devicePixelRatio / 2 });
      chart.read(index);
    } else if (event.key === "+" || event.key === "=") chart.zoom(0.5);
    else if (event.key === "-") chart.zoom(2);
    else if (event.key === "0" || event.key === "Escape") chart.reset();
    else return;
    event.preventDefault();
  }

  // What is read at a place: all lines if they are few, otherwise the nearest.
  function describe(chart, u, index) {
    const visible = chart.series.filter((s) => s.show !== false);
    let told = visible;
    if (visible.length > 6) {
      const top = u.cursor.top;
      const distance = (s) => {
        const y = s.drawn[index];
        return y === null || y === undefined ? Infinity : Math.abs(u.valToPos(y, "y") - top);
      };
      told = [...visible].sort((a, b) => distance(a) - distance(b)).slice(0, 3);
    }
    const entries = told.map((s) => hrc.el("span", { class: "hrc-read" }, swatch(s), s.name, " ", hrc.el("b", {}, value(s, index))));
    return [hrc.el("b", {}, when(chart, index)), ...entries];
  }
  function value(series, index) {
    if (Number.isFinite(series.y[index])) return hrc.number(series.y[index]);
    const each = series.flags ? series.y.length / series.flags.length : 1;
    const flag = series.flags ? series.flags[Math.floor(index / each)] : 0;
    if (flag & NAN) return "NaN";
    if (flag & INFINITE) return "infinite";
    return flag & ABSENT ? "none" : "–";
  }
  function when(chart, index) {
    const name = chart.xLabel;
    if (!(chart.blockSize > 1)) return `${name} ${hrc.count(chart.x[index])}`;
    const first = index - (index % 2);
    return `${name}s ${hrc.count(chart.x[first])} to ${hrc.count(chart.x[first + 1])}`;
  }
  function swatch(series) {
    const mark = hrc.el("span", { class: "hrc-swatch", "aria-hidden": "true" });
    const [on] = series.dash && series.dash.length ? series.dash : [0];
    mark.style.borderTop = `2.5px ${on === 0 ? "solid" : on > 4 ? "dashed" : "dotted"} ${series.color}`;
    return mark;
  }
  hrc.swatch = swatch;
})(hrcallbacks);
