// The worked example's figures in the documentation: `tables`, `stepper`, `trainer`.
(function (hrc) {
  "use strict";
  const { el } = hrc;
  const UNITS = 6, EPOCHS = 10;
  const scaleOf = (data) => ({ weight: data.largestWeight, gradient: data.largestGradient, bias: data.largestBias });
  const units = [1, 2, 3, 4, 5, 6];
  const fresh = (host) => { host.classList.add("hrc"); host.replaceChildren(); return host; };

  // Both published runs, epoch by epoch. `data`: runs [{name, network}], as in a report.
  hrc.tables = function (host, data) {
    fresh(host);
    const runs = data.runs.map((run) => ({ name: run.name, data: hrc.networkData(run.network) }));
    const columns = runs.map((run) => ({ run, ...column(run) }));
    const last = Math.max(...runs.map((run) => run.data.count)) - 1;
    const slider = hrc.slider("Epoch", last, 0, (n) => `${n + 1} of ${last + 1}`, (n) => columns.forEach((c) => c.show(n)));
    const x = Float64Array.from(runs[0].data.epoch);
    const { element, chart } = hrc.panel({
      title: "Loss", heading: "p", unit: "mean squared error, before the epoch's update", height: 190, x, xLabel: "Epoch", legend: true,
      series: runs.map((run, n) => ({ name: `learning rate ${run.name}`, y: Float32Array.from(run.data.loss), flags: null, color: hrc.palette[n], dash: hrc.dash(n) })),
    });
    columns.push({ show: (n) => chart.mark(x[n]) });
    host.append(slider.element, el("div", { class: "hrc-pair" }, columns.filter((c) => c.element).map((c) => c.element)), hrc.networkKey(), element);
    slider.move();
  };
  function column(run) {
    const picture = hrc.network(run.data.sizes, `The network at learning rate ${run.name}`);
    const said = el("p", { class: "hrc-note" });
    const box = el("div", {});
    const element = el("div", {}, el("p", {}, el("b", {}, `Learning rate ${run.name}`)), el("div", { class: "hrc-network-box" }, picture.element), said, box);
    const show = (n) => {
      const record = hrc.recordOf(run.data, n, scaleOf(run.data));
      const dead = hrc.showNetwork(picture, run.data.sizes, record);
      said.textContent = `Loss ${hrc.fixed(run.data.loss[n])}. ${hrc.saidOfDead(dead)}`;
      const rows = units.map((unit, i) => [String(unit), ...[record.weights[i], record.gradients[i], record.weights[UNITS + i], record.gradients[UNITS + i]].map(six)]);
      box.replaceChildren(hrc.table(`Kernels and their gradients, epoch ${n + 1}, learning rate ${run.name}`, ["unit", "w^1", "g^1", "w^2", "g^2"].map(symbol), rows));
    };
    return { element, show };
  }
  const six = (v) => el("span", { class: "hrc-number" }, hrc.fixed(v));
  function symbol(name) {
    const [, letter, above, below] = name.match(/^([wg])\^(\d)_?(\d?)$/) || [];
    if (!letter) return name;
    return el("span", {}, letter, el("sup", {}, above), below ? el("sub", {}, below) : null);
  }

  // The equations, in the order in which they are computed. `values` of (1), (2) ... are
  // one a unit; what is drawn where: at the hidden nodes, the output, or on links.
  const STEPS = [
    { number: 1, formula: "z_i = w^(1)_i x + b^(1)_i", said: "Each hidden unit multiplies and adds.", name: "z_i", at: "hidden", of: (d) => d.z },
    { number: 2, formula: "y_i = max(0, z_i)", said: "The rectifier lets positive numbers pass.", name: "y_i", at: "hidden", of: (d) => d.hidden },
    { number: 3, formula: "ŷ = Σ_i w^(2)_i y_i + b^(2)", said: "The output adds up what the units give.", name: "ŷ", at: "output", of: (d) => [d.output] },
    { number: 4, formula: "L = ½ (y − ŷ)^2", said: "How wrong it is, in one number.", name: "L", at: "output", of: (d) => [d.loss] },
    { number: 5, formula: "∂L/∂ŷ = ŷ − y", said: "Backward now: how the loss changes with the output.", name: "∂L/∂ŷ", at: "output", of: (d) => [d.dOutput], back: true },
    { number: 6, formula: "∂L/∂w^(2)_i = y_i (ŷ − y)", said: "An outgoing weight acts through what its unit gives.", name: "∂L/∂w^(2)_i", at: 1, of: (d) => d.dW2, back: true },
    { number: 7, formula: "∂L/∂b^(2) = ŷ − y", said: "The output's bias acts directly.", name: "∂L/∂b^(2)", at: "output", of: (d) => [d.dB2], back: true },
    { number: 8, formula: "∂L/∂y_i = (ŷ − y) w^(2)_i", said: "A unit acts on the output through its outgoing weight.", name: "∂L/∂y_i", at: "hidden", of: (d) => d.dHidden, back: true },
    { number: 9, formula: "∂L/∂z_i = (ŷ − y) w^(2)_i H(z_i)", said: "The rectifier passes that on only where it passed the signal on: H is the step of equation (12).", name: "∂L/∂z_i", at: "hidden", of: (d) => d.dZ, back: true },
    { number: 10, formula: "∂L/∂w^(1)_i = (ŷ − y) w^(2)_i H(z_i) x", said: "An incoming weight acts through the star's input.", name: "∂L/∂w^(1)_i", at: 0, of: (d) => d.dW1, back: true },
    { number: 11, formula: "∂L/∂b^(1)_i = (ŷ − y) w^(2)_i H(z_i)", said: "A unit's bias acts on it directly.", name: "∂L/∂b^(1)_i", at: "hidden", of: (d) => d.dB1, back: true },
  ];
  // `w^(1)_i` with its raised and lowered signs; words and numbers as they are.
  function typeset(formula) {
    const parts = [];
    let end = 0;
    for (const match of formula.matchAll(/max|(\p{L}\u0302?)(\^\([12]\))?(_[a-z])?|\)\^2/gu)) {
      const [text, letter, above, below] = match;
      parts.push(formula.slice(end, match.index));
      end = match.index + text.length;
      if (text === "max") parts.push(text);
      else if (text === ")^2") parts.push(")", el("sup", {}, "2"));
      else if (letter === "Σ") parts.push("Σ", el("sub", {}, el("i", {}, "i")));
      else parts.push(el("i", {}, letter), above ? el("sup", {}, above.slice(1)) : null, below ? el("sub", {}, el("i", {}, below.slice(1))) : null);
    }
    parts.push(formula.slice(end));
    return el("span", { class: "hrc-formula" }, parts);
  }

  // One star, forward through equations (1) to (4) and back through (5) to (11).
  // `data`: x, y, and parameters w1, b1, w2, b2.
  hrc.stepper = function (host, data) {
    fresh(host);
    const { x, y, parameters } = data;
    const d = hrc.backpropagate(parameters, x, y, 1);
    const picture = hrc.network([1, UNITS, 1], "One star in the network");
    const weights = [...parameters.w1, ...parameters.w2];
    const scale = { weight: Math.max(...weights.map(Math.abs)), gradient: 1, bias: 1 };
    hrc.showNetwork(picture, [1, UNITS, 1], { weights, gradients: null, biases: [parameters.b1, parameters.b2], biasGradients: [], scale });
    const texts = labels(picture);
    const [title, line, box] = [el("p", { class: "hrc-equation" }), el("p", { class: "hrc-note", "aria-live": "polite" }), el("div", {})];
    const slider = hrc.slider("Equation", STEPS.length - 1, 0, (n) => `(${STEPS[n].number}), ${STEPS[n].back ? "backward" : "forward"}`, (n) => {
      const step = STEPS[n], values = step.of(d);
      light(picture, texts, step, values, { x, y });
      title.replaceChildren(typeset(step.formula), el("a", { href: `#eq-${step.number}` }, `(${step.number})`));
      line.textContent = step.said;
      const many = values.length > 1;
      box.replaceChildren(hrc.table(`Equation (${step.number})`, [many ? "unit" : "", typeset(step.name)], values.map((v, i) => [many ? String(i + 1) : "", six(v)])));
    });
    host.append(
      el("p", { class: "hrc-note" }, `A star with x = ${hrc.fixed(x)} and y = ${hrc.fixed(y)}, in the network as it starts.`),
      slider.element, title, line,
      el("div", { class: "hrc-beside" }, el("div", { class: "hrc-network-box" }, picture.element), box));
    slider.move();
  };
  function at(x, y, anchor) {
    const text = hrc.svg("text", { x, y, class: "hrc-lit-text" });
    text.style.textAnchor = anchor || "middle";
    return text;
  }
  function labels(picture) {
    const made = { hidden: [], output: [], 0: [], 1: [] };
    const [[input], hidden, [output]] = picture.at;
    hidden.forEach(({ x, y }, i) => {
      made.hidden.push(at(x, y - 19));
      for (const [kernel, end] of [[0, input], [1, output]]) {
        const share = 0.42;
        made[kernel].push(at(x + (end.x - x) * share, y + (end.y - y) * share - 5));
      }
    });
    made.output.push(at(output.x + 12, output.y - 24, "end"));
    picture.input = at(input.x - 12, input.y - 24, "start");
    picture.element.append(...Object.values(made).flat(), picture.input);
    return made;
  }
  function light(picture, texts, step, values, star) {
    Object.values(texts).flat().forEach((text) => { text.textContent = ""; });
    picture.input.textContent = `x = ${hrc.fixed(star.x, 3)}`;
    texts[step.at].forEach((text, i) => { text.textContent = hrc.fixed(values[i], 3); });
    picture.nodes.forEach(({ layer, group }) => {
      const lit = (step.at === "hidden" && layer === 1) || (step.at === "output" && layer === 2);
      group.classList.toggle("hrc-lit", lit);
    });
    picture.lines.forEach((line, n) => line.classList.toggle("hrc-faint", typeof step.at === "number" ? Math.floor(n / UNITS) !== step.at : true));
    const name = STEPS.find((s) => s === step).name.replaceAll(/[\^_]/g, " ");
    picture.element.setAttribute("aria-label", `One star in the network. ${name}: ${values.map((v) => hrc.fixed(v)).join(", ")}`);
  }

  // The network trained here, beside the published table of the same start.
  // `data`: x, y as base64 float32, starts {A: {rate, parameters, published}}.
  hrc.trainer = function (host, data) {
    fresh(host);
    const x = hrc.float32(data.x), y = hrc.float32(data.y);
    const names = Object.keys(data.starts);
    let start = names[0], rate = data.starts[start].rate;
    const said = el("p", { "aria-live": "polite" });
    const [chartBox, tableBox] = [el("div", {}), el("div", { class: "hrc-grid" })];
    const id = hrc.id("rate");
    const number = el("input", { type: "number", id, min: 0.0001, max: 10, step: "any", value: rate });
    const slider = hrc.slider("", 300, 0, (n) => `rate ${shownRate(n)}`, (n) => { number.value = shownRate(n); });
    slider.element.querySelector("label").textContent = "Learning rate";
    const run = () => {
      rate = Number(number.value);
      if (!(rate > 0) || !Number.isFinite(rate)) { said.textContent = "The learning rate has to be a number above 0."; return; }
      const { parameters, published, rate: own } = data.starts[start];
      const steps = hrc.train(parameters, x, y, rate, EPOCHS);
      const rows = steps.map(row);
      const losses = steps.map((s) => s.loss);
      said.textContent = `Start ${start}, learning rate ${rate}: ${rising(losses)}${rate === own ? ` From the published table it differs by ${largestDifference(rows, published).toExponential(1)} at most.` : ""}`;
      chartBox.replaceChildren(lossChart(losses, published.map((r) => r[1]), rate, own));
      tableBox.replaceChildren(
        el("div", {}, el("p", {}, el("b", {}, `Trained here, at ${rate}`)), table("Trained in this page", rows)),
        el("div", {}, el("p", {}, el("b", {}, `Published, at ${own}`)), table("Published", published)));
    };
    const starts = hrc.select("Start", names.map((n) => `${n}, of the published run at ${data.starts[n].rate}`), (n) => {
      start = names[n];
      run();
    });
    number.addEventListener("change", run);
    slider.element.addEventListener("input", run);
    slider.element.addEventListener("click", run);
    slider.set(placeOf(rate));
    number.value = rate;
    host.append(el("p", { class: "hrc-note" }, `Ten epochs on ${hrc.count(x.length)} reconstructed stars, computed in this page.`), starts, slider.element, el("span", { class: "hrc-field" }, el("label", { for: id }, "or exactly"), number), said, chartBox, tableBox);
    run();
  };
  // The slider is logarithmic, from 0.001 to 1.
  const shownRate = (n) => String(+(10 ** (n / 100 - 3)).toPrecision(3));
  const placeOf = (rate) => Math.round((Math.log10(rate) + 3) * 100);
  function row({ output, loss, gradients, parameters }) {
    const kernels = ["w1", "w2"].flatMap((name) => parameters[name].flatMap((w, i) => [w, gradients[name][i]]));
    return [output, loss, ...kernels];
  }
  hrc.tableRow = row;
  function rising(losses) {
    const rises = losses.flatMap((loss, n) => (n && loss > losses[n - 1] ? [n + 1] : []));
    if (!losses.every(Number.isFinite)) return "the loss overflows.";
    if (!rises.length) return "the loss falls in each epoch.";
    return `the loss rises in epoch${rises.length > 1 ? "s" : ""} ${rises.join(", ")}.`;
  }
  function largestDifference(rows, published) {
    let most = 0;
    rows.forEach((r, n) => r.forEach((v, k) => { most = Math.max(most, Math.abs(v - published[n][k])); }));
    return most;
  }
  function lossChart(losses, published, rate, own) {
    const line = (name, y, n) => ({ name, y: Float32Array.from(y), flags: null, color: hrc.palette[n], dash: hrc.dash(n) });
    return hrc.panel({
      title: "Loss", heading: "p", unit: "mean squared error of log10 T", height: 210, xLabel: "Epoch", legend: true,
      x: Float64Array.from(losses, (_, n) => n + 1),
      series: [line(`trained here, at ${rate}`, losses, 0), line(`published, at ${own}`, published, 1)],
    }).element;
  }
  function table(caption, rows) {
    const names = units.flatMap((i) => [`w^1_${i}`, `g^1_${i}`]).concat(units.flatMap((i) => [`w^2_${i}`, `g^2_${i}`]));
    return hrc.table(caption, ["epoch", "output", "loss", ...names].map(symbol), rows.map((r, n) => [String(n + 1), ...r.map(six)]));
  }
})(hrcallbacks);
