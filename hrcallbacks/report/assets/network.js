// A small dense network as nodes and links, in the manner of `hr.plot.network`.
(function (hrc) {
  "use strict";
  const RADIUS = 15, APART = 46, WIDE = 480, EDGE = 34;
  const THICK = 6, THIN = 0.6, BIG = 10;

  // Base64 to arrays, and the largest magnitudes, so that records can be compared.
  hrc.networkData = function (data) {
    const links = data.sizes.slice(1).reduce((sum, size, n) => sum + size * data.sizes[n], 0);
    const arrays = {
      weights: hrc.float32(data.weights),
      gradients: hrc.float32(data.gradients),
      biases: data.biases.map(hrc.float32),
      biasGradients: (data.biasGradients || []).map(hrc.float32),
    };
    const rows = (array, width) => (n) => array && array.subarray(n * width, (n + 1) * width);
    return {
      ...data,
      count: data.records.length,
      weightsAt: rows(arrays.weights, links),
      gradientsAt: rows(arrays.gradients, links),
      biasesAt: (n) => arrays.biases.map((b, k) => b && rows(b, data.sizes[k + 1])(n)),
      biasGradientsAt: (n) => arrays.biasGradients.map((b, k) => b && rows(b, data.sizes[k + 1])(n)),
      largestWeight: largest(arrays.weights),
      largestGradient: largest(arrays.gradients),
      largestBias: Math.max(...arrays.biases.map(largest)),
    };
  };
  function largest(array) {
    let found = 0;
    for (const v of array || []) if (Number.isFinite(v)) found = Math.max(found, Math.abs(v));
    return found || 1;
  }

  // Which units are hidden and have no gradient but exact zeros, layer by layer.
  hrc.deadUnits = function (sizes, gradients, biasGradients) {
    const busy = sizes.map((size, layer) => new Array(size).fill(layer === 0 || layer === sizes.length - 1));
    if (!gradients) return busy.map((layer) => layer.map(() => false));
    eachLink(sizes, (place, kernel, i, j) => {
      if (gradients[place] !== 0) busy[kernel][i] = busy[kernel + 1][j] = true;
    });
    (biasGradients || []).forEach((biases, kernel) => {
      if (biases) biases.forEach((g, j) => { if (g !== 0) busy[kernel + 1][j] = true; });
    });
    return busy.map((layer) => layer.map((is) => !is));
  };

  function eachLink(sizes, visit) {
    let place = 0;
    for (let kernel = 0; kernel + 1 < sizes.length; kernel++)
      for (let i = 0; i < sizes[kernel]; i++)
        for (let j = 0; j < sizes[kernel + 1]; j++) visit(place++, kernel, i, j);
  }
  hrc.eachLink = eachLink;

  function places(sizes) {
    const most = Math.max(...sizes);
    const height = (most - 1) * APART + 2 * EDGE;
    const step = (WIDE - 2 * EDGE) / (sizes.length - 1);
    const at = sizes.map((size, layer) =>
      Array.from({ length: size }, (_, n) => ({ x: EDGE + layer * step, y: height / 2 + (n - (size - 1) / 2) * APART })));
    return { at, height };
  }

  const names = (sizes, layer) => (n) => {
    const number = sizes[layer] > 1 ? n + 1 : "";
    if (layer === 0) return `x${number}`;
    return layer === sizes.length - 1 ? `ŷ${number}` : `${n + 1}`;
  };

  // `sizes` of the layers; `label` for those who hear it. Shows nothing yet.
  hrc.network = function (sizes, label) {
    const { at, height } = places(sizes);
    const picture = hrc.svg("svg", { class: "hrc-network", viewBox: `0 0 ${WIDE} ${height}`, role: "img", "aria-label": label });
    const lines = [], marks = [], nodes = [];
    eachLink(sizes, (place, kernel, i, j) => {
      const { start, end, spot } = between(at[kernel][i], at[kernel + 1][j], sizes[kernel] > sizes[kernel + 1]);
      lines.push(hrc.svg("line", { x1: start.x, y1: start.y, x2: end.x, y2: end.y }));
      marks.push({ element: hrc.svg("path", { class: "hrc-triangle" }), spot });
    });
    sizes.forEach((size, layer) => at[layer].forEach(({ x, y }, n) => {
      const ring = hrc.svg("circle", { cx: x, cy: y, r: RADIUS });
      const text = hrc.svg("text", { x, y: y + 4.5 }, names(sizes, layer)(n));
      nodes.push({ layer, n, ring, text, group: hrc.svg("g", {}, ring, text) });
    }));
    picture.append(hrc.svg("g", {}, lines), hrc.svg("g", {}, marks.map((m) => m.element)), hrc.svg("g", {}, nodes.map((n) => n.group)));
    return { element: picture, lines, marks, nodes, at, label };
  };

  function between(from, to, nearStart) {
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    const [dx, dy] = [((to.x - from.x) / length) * RADIUS, ((to.y - from.y) / length) * RADIUS];
    const start = { x: from.x + dx, y: from.y + dy }, end = { x: to.x - dx, y: to.y - dy };
    const share = nearStart ? 0.22 : 0.78;
    return { start, end, spot: { x: start.x + (end.x - start.x) * share, y: start.y + (end.y - start.y) * share } };
  }

  const colorOf = (v) => (v < 0 ? hrc.negative() : hrc.positive());

  // Draws the weights, gradients and biases of a record.
  hrc.showNetwork = function (picture, sizes, record) {
    const { weights, gradients, biases, biasGradients, scale } = record;
    picture.lines.forEach((line, n) => {
      const w = weights[n], known = Number.isFinite(w);
      line.setAttribute("stroke", known ? colorOf(w) : "currentColor");
      line.setAttribute("stroke-width", known ? Math.max((Math.abs(w) / scale.weight) * THICK, THIN) : 1);
      line.setAttribute("stroke-dasharray", known ? "" : "2 4");
    });
    picture.marks.forEach(({ element, spot }, n) => {
      const g = gradients ? gradients[n] : 0;
      element.setAttribute("d", Number.isFinite(g) ? triangle(spot, g / scale.gradient) : cross(spot));
      element.classList.toggle("hrc-broken", !Number.isFinite(g));
    });
    const dead = hrc.deadUnits(sizes, gradients, biasGradients);
    picture.nodes.forEach(({ layer, n, ring, group }) => {
      const bias = layer && biases[layer - 1] ? biases[layer - 1][n] : 0;
      ring.setAttribute("stroke", bias ? colorOf(bias) : "currentColor");
      ring.setAttribute("stroke-width", bias ? 1 + (Math.abs(bias) / scale.bias) * 4 : 1);
      group.classList.toggle("hrc-dead", dead[layer][n]);
    });
    picture.element.setAttribute("aria-label", `${picture.label}. ${said(dead)}`);
    return dead;
  };
  const listed = (dead) => dead.flatMap((layer, k) => layer.flatMap((is, n) => (is ? [dead.length > 3 ? `${n + 1} of layer ${k}` : `${n + 1}`] : [])));
  function said(dead) {
    const found = listed(dead);
    if (!found.length) return "No hidden unit is dead.";
    return `${found.length === 1 ? "Unit" : "Units"} ${found.join(", ")} ${found.length === 1 ? "has" : "have"} no gradient.`;
  }
  hrc.saidOfDead = said;

  function triangle({ x, y }, share) {
    const size = Math.sqrt(Math.abs(share)) * BIG;
    if (size < 0.4) return "";
    const up = share > 0 ? -1 : 1;
    return `M${x - size * 0.6},${y - up * size * 0.5} L${x + size * 0.6},${y - up * size * 0.5} L${x},${y + up * size * 0.7} Z`;
  }
  const cross = ({ x, y }) => `M${x - 4},${y - 4} L${x + 4},${y + 4} M${x - 4},${y + 4} L${x + 4},${y - 4}`;

  hrc.networkKey = () => hrc.el("p", { class: "hrc-note" },
    "A line is a weight: ", hrc.el("b", { class: "hrc-positive" }, "blue"), " positive, ",
    hrc.el("b", { class: "hrc-negative" }, "orange"), " negative, its width the magnitude. ",
    "A triangle is a gradient: pointing up positive, down negative, its area the magnitude. ",
    "The ring of a node is its bias. A grey, dashed unit has no gradient at all.");

  // What a recording's network holds at one of its records.
  hrc.recordOf = (data, n, scale) => ({
    weights: data.weightsAt(n), gradients: data.gradientsAt(n), biases: data.biasesAt(n), biasGradients: data.biasGradientsAt(n),
    scale: scale || { weight: data.largestWeight, gradient: data.largestGradient, bias: data.largestBias },
  });
})(hrcallbacks);
