// Elements, numbers and colours. Text from a recording only ever becomes text nodes.
(function (hrc) {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  let ids = 0;

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false)
        element.setAttribute(name, value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null));
    return element;
  }

  hrc.el = (tag, attributes, ...children) =>
    filled(document.createElement(tag), attributes, children);
  hrc.svg = (tag, attributes, ...children) =>
    filled(document.createElementNS(SVG, tag), attributes, children);
  hrc.id = (stem) => `hrc-${stem}-${++ids}`;

  function bytes(text) {
    const raw = atob(text);
    const array = new Uint8Array(raw.length);
    for (let n = 0; n < raw.length; n++) array[n] = raw.charCodeAt(n);
    return array;
  }
  hrc.uint8 = (text) => (text ? bytes(text) : null);
  hrc.float32 = (text) => (text ? new Float32Array(bytes(text).buffer) : null);
  hrc.float64 = (text) => (text ? new Float64Array(bytes(text).buffer) : null);

  // Four significant digits, and no zeros behind them.
  hrc.number = function (value) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "string") return value; // "nan", "inf"
    if (!Number.isFinite(value)) return String(value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) return trimmed(value.toExponential(3));
    return trimmed(value.toPrecision(4));
  };
  const trimmed = (text) =>
    text.includes(".") ? text.replace(/0+(?=e|$)/, "").replace(/\.(?=e|$)/, "") : text;
  hrc.count = (value) => Math.round(value).toLocaleString("en-US");
  hrc.plural = (count, noun) => `${hrc.count(count)} ${noun}${count === 1 ? "" : "s"}`;
  hrc.fixed = (value, digits = 6) =>
    Number.isFinite(value) ? (value + 0).toFixed(digits).replace(/^-(0\.?0*)$/, "$1") : String(value);

  // A style sheet's variable, so that a canvas has the page's colours.
  hrc.color = (element, name) =>
    getComputedStyle(element).getPropertyValue(`--hrc-${name}`).trim() || "#808080";

  const POSITIVE = 0, NEGATIVE = 1;
  hrc.positive = () => hrc.palette[POSITIVE];
  hrc.negative = () => hrc.palette[NEGATIVE];

  // A colour for each of `count` layers, from blue to vermilion if there are many.
  hrc.lineColor = function (number, count) {
    if (count <= hrc.palette.length) return hrc.palette[number % hrc.palette.length];
    return mixed([hrc.palette[0], "#9a6fb0", hrc.palette[1]], number / (count - 1));
  };
  const DASHES = [[], [7, 4], [2, 3], [7, 3, 2, 3]];
  hrc.dash = (number) => DASHES[number % DASHES.length];

  const parts = (color) =>
    [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  function mixed(stops, share) {
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const first = Math.min(Math.floor(place), stops.length - 2);
    const [from, to] = [parts(stops[first]), parts(stops[first + 1])];
    const rgb = from.map((c, n) => Math.round(c + (to[n] - c) * (place - first)));
    return `#${rgb.map((c) => c.toString(16).padStart(2, "0")).join("")}`;
  }
  hrc.mixed = mixed;
  hrc.rgb = parts;

  // Whoever draws on a canvas is told when the page turns light or dark, and when it
  // comes into view or its width changes.
  const painters = new Set();
  const repaint = () => painters.forEach((painter) => {
    if (painter.host.isConnected) painter.paint();
  });
  hrc.onTheme = (host, paint) => painters.add({ host, paint });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new MutationObserver(repaint).observe(document.documentElement, {
    attributes: true,
    subtree: false,
    attributeFilter: ["data-theme", "class"],
  });
  const watchBody = () =>
    new MutationObserver(repaint).observe(document.body, {
      attributes: true,
      attributeFilter: ["data-md-color-scheme", "data-jp-theme-light"],
    });
  if (document.body) watchBody();
  else document.addEventListener("DOMContentLoaded", watchBody);

  hrc.onWidth = function (host, draw) {
    let last = 0, seen = false;
    const look = () => {
      const width = Math.floor(host.clientWidth);
      if (seen && width > 0 && width !== last) draw((last = width));
    };
    new ResizeObserver(look).observe(host);
    addEventListener("beforeprint", () => { seen = true; look(); });
    // What is far below the window is drawn when it comes near.
    new IntersectionObserver((entries) => {
      seen ||= entries.some((entry) => entry.isIntersecting);
      look();
    }, { rootMargin: "400px" }).observe(host);
  };

  // A button that is pressed or not.
  hrc.toggle = function (text, pressed, change) {
    const button = hrc.el("button", { type: "button", "aria-pressed": String(pressed) }, text);
    button.addEventListener("click", () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      change(now);
    });
    return button;
  };

  hrc.select = function (label, options, change) {
    const id = hrc.id("select");
    const select = hrc.el(
      "select",
      { id, onchange: () => change(select.selectedIndex) },
      options.map((text) => hrc.el("option", {}, text)),
    );
    return hrc.el("span", { class: "hrc-field" }, hrc.el("label", { for: id }, label), select);
  };

  // A slider, with buttons for one step and a text that says where it is.
  hrc.slider = function (label, last, start, describe, change) {
    const id = hrc.id("slider");
    const said = hrc.el("output", { for: id });
    const input = hrc.el("input", { type: "range", id, min: 0, max: last, value: start });
    const move = () => {
      const text = describe(+input.value);
      said.textContent = text;
      input.setAttribute("aria-valuetext", text);
      change(+input.value);
    };
    const step = (by, name, sign) =>
      hrc.el("button", {
        type: "button", "aria-label": name,
        onclick: () => { input.value = +input.value + by; move(); },
      }, sign);
    input.addEventListener("input", move);
    const element = hrc.el(
      "div", { class: "hrc-slider" }, hrc.el("label", { for: id }, label),
      step(-1, "One back", "‹"), input, step(1, "One forward", "›"), said,
    );
    return { element, move, set: (value) => { input.value = value; move(); } };
  };

  // A table; numbers are set to the right. Scrolls by itself where it is too wide.
  hrc.table = function (caption, head, rows) {
    const cell = (value) => {
      const isNumber = typeof value === "number";
      return hrc.el("td", isNumber ? { class: "hrc-number" } : {}, isNumber ? hrc.number(value) : value);
    };
    return hrc.el(
      "div", { class: "hrc-scroll", tabindex: "0", role: "region", "aria-label": caption },
      hrc.el("table", { class: "hrc-table" },
        hrc.el("caption", { class: "hrc-unseen" }, caption),
        hrc.el("thead", {}, hrc.el("tr", {}, head.map((name) => hrc.el("th", { scope: "col" }, name)))),
        hrc.el("tbody", {}, rows.map(([name, ...values]) =>
          hrc.el("tr", {}, hrc.el("th", { scope: "row" }, name), values.map(cell))))),
    );
  };

  // Shown on request, and made only then.
  hrc.details = function (summary, make) {
    const details = hrc.el("details", {}, hrc.el("summary", {}, summary));
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(make());
    });
    return details;
  };
})(hrcallbacks);
