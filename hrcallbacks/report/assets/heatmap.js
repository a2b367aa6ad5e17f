// A grid of colours on a canvas, read with the pointer or the arrow keys.
(function (hrc) {
  "use strict";
  const RAMPS = {
    light: ["#f1f5f9", "#9cc4e0", "#0072b2", "#08243c"],
    dark: ["#272d38", "#0f527f", "#3d92ff", "#eaf3ff"],
  };
  const STEPS = 64, BROKEN = 3, ABSENT = 4, AXIS = 20;

  const ramp = (host) => (hrc.color(host, "scheme") === "dark" ? RAMPS.dark : RAMPS.light);
  function colors(stops) {
    return Array.from({ length: STEPS }, (_, n) => hrc.rgb(hrc.mixed(stops, n / (STEPS - 1))));
  }

  // Columns that share a pixel show the largest of their values.
  function columnsOf(spec, width) {
    const each = Math.max(1, Math.ceil(spec.columns / width));
    return { each, count: Math.ceil(spec.columns / each) };
  }
  function cell(spec, row, first, each) {
    let value = NaN, code = 0;
    for (let c = first; c < Math.min(first + each, spec.columns); c++) {
      const place = row * spec.columns + c;
      code |= spec.codes ? spec.codes[place] : 0;
      if (!(spec.values[place] <= value)) value = Number.isNaN(spec.values[place]) ? value : spec.values[place];
    }
    return { value, code };
  }

  function image(spec, host, width) {
    const { each, count } = columnsOf(spec, width);
    const table = colors(ramp(host));
    const broken = hrc.rgb(hrc.negative()), absent = hrc.rgb(hrc.color(host, "absent"));
    const made = new ImageData(count, spec.rows.length);
    for (let row = 0; row < spec.rows.length; row++)
      for (let c = 0; c < count; c++) {
        const { value, code } = cell(spec, row, c * each, each);
        const place = (row * count + c) * 4;
        let rgb = null;
        if (code & BROKEN) rgb = broken;
        else if (!Number.isNaN(value)) rgb = table[Math.round(Math.min(Math.max(value, 0), 1) * (STEPS - 1))];
        else if (code & ABSENT) rgb = absent;
        if (rgb) made.data.set([...rgb, 255], place);
      }
    return made;
  }

  // `spec`: label, rows (names), columns (how many), values from 0 to 1 and codes by row,
  // rowHeight, ticks [[column, text]], describe(row, column), names (how wide).
  hrc.heatmap = function (spec) {
    const canvas = hrc.el("canvas", { "aria-hidden": "true" });
    const host = hrc.el("div", {
      class: "hrc-plot", tabindex: "0", role: "group", "aria-roledescription": "heat map",
      "aria-label": `${spec.label}. Arrow keys read the cells.`,
    }, canvas);
    const readout = hrc.el("p", { class: "hrc-readout", "aria-live": "polite" }, spec.hint || "Point at a cell to read it.");
    const map = { spec, at: null };
    let area = null;

    map.paint = function () {
      const { spec } = map;
      const width = host.clientWidth;
      if (!width) return;
      const height = spec.rows.length * spec.rowHeight;
      const ratio = devicePixelRatio;
      const left = spec.names ? Math.min(spec.names, width * 0.34) : 0;
      area = { left, width: width - left - 1, height };
      canvas.width = width * ratio;
      canvas.height = (height + AXIS) * ratio;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height + AXIS}px`;
      const ctx = canvas.getContext("2d");
      ctx.scale(ratio, ratio);
      ctx.imageSmoothingEnabled = false;
      const pixels = image(spec, host, Math.max(1, Math.floor(area.width)));
      const small = new OffscreenCanvas(pixels.width, pixels.height);
      small.getContext("2d").putImageData(pixels, 0, 0);
      ctx.drawImage(small, left, 0, area.width, height);
      write(ctx, spec, host, area);
      if (map.at) outline(ctx, spec, host, area, map.at);
    };
    map.set = (next) => { map.spec = { ...map.spec, ...next }; map.at = null; map.paint(); };
    const read = (row, column) => {
      map.at = [row, column];
      map.paint();
      readout.replaceChildren(...[map.spec.describe(row, column)].flat());
    };
    canvas.addEventListener("pointermove", (event) => {
      const { spec } = map;
      const row = Math.floor(event.offsetY / spec.rowHeight);
      const column = Math.floor(((event.offsetX - area.left) / area.width) * spec.columns);
      if (row >= 0 && row < spec.rows.length && column >= 0 && column < spec.columns) read(row, column);
    });
    host.addEventListener("keydown", (event) => {
      const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [0, -20], PageDown: [0, 20] }[event.key];
      if (!by) return;
      event.preventDefault();
      const [row, column] = map.at || [0, -by[1]];
      const within = (n, last) => Math.min(Math.max(n, 0), last);
      read(within(row + by[0], map.spec.rows.length - 1), within(column + by[1], map.spec.columns - 1));
    });
    hrc.onWidth(host, map.paint);
    hrc.onTheme(host, map.paint);
    map.host = host;
    map.readout = readout;
    return map;
  };

  function write(ctx, spec, host, area) {
    ctx.fillStyle = hrc.color(host, "ink");
    ctx.font = "11px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    const every = Math.max(1, Math.ceil(12 / spec.rowHeight));
    if (area.left)
      spec.rows.forEach((name, row) => {
        if (row % every === 0) ctx.fillText(fitted(ctx, name, area.left - 8), area.left - 6, Math.max((row + 0.5) * spec.rowHeight, 6));
      });
    let end = -Infinity;
    for (const [column, text] of spec.ticks) {
      const x = area.left + ((column + 0.5) / spec.columns) * area.width;
      const half = ctx.measureText(text).width / 2;
      const middle = Math.min(Math.max(x, area.left + half), area.left + area.width - half);
      if (middle - half < end + 10) continue;
      ctx.textAlign = "center";
      ctx.fillText(text, middle, area.height + AXIS / 2 + 2);
      end = middle + half;
    }
  }
  // The end of a path tells most.
  function fitted(ctx, name, width) {
    if (ctx.measureText(name).width <= width) return name;
    let start = 1;
    while (start < name.length && ctx.measureText(`…${name.slice(start)}`).width > width) start++;
    return `…${name.slice(start)}`;
  }
  function outline(ctx, spec, host, area, [row, column]) {
    ctx.strokeStyle = hrc.color(host, "ink");
    ctx.lineWidth = 1.5;
    const width = Math.max(area.width / spec.columns, 4);
    const x = area.left + ((column + 0.5) / spec.columns) * area.width - width / 2;
    ctx.strokeRect(x, row * spec.rowHeight, width, spec.rowHeight);
  }

  // The colours' key: a bar between two numbers.
  hrc.colorKey = function (low, high) {
    const bar = hrc.el("canvas", { width: STEPS, height: 1, "aria-hidden": "true" });
    const element = hrc.el("p", { class: "hrc-key" }, hrc.el("span", {}, low), bar, hrc.el("span", {}, high));
    const paint = () => {
      const pixels = new ImageData(STEPS, 1);
      colors(ramp(element)).forEach((rgb, n) => pixels.data.set([...rgb, 255], n * 4));
      bar.getContext("2d").putImageData(pixels, 0, 0);
    };
    hrc.onWidth(element, paint);
    hrc.onTheme(element, paint);
    return element;
  };
})(hrcallbacks);
