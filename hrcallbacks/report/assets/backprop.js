// Equations (1) to (12) and Adam as Keras has it: `hrcallbacks/worked_example/backprop.py`
// in JavaScript. Parameters are {w1, b1, w2, b2}, arrays of H, H, H and 1 numbers.
(function (hrc) {
  "use strict";
  const BETA_1 = 0.9, BETA_2 = 0.999, EPSILON = 1e-7;
  const NAMES = ["w1", "b1", "w2", "b2"];
  hrc.parameterNames = NAMES;

  const heaviside = (z, atZero) => (z > 0 ? 1 : z < 0 ? 0 : atZero);

  // Each quantity of equations (1) to (11) for one sample.
  hrc.backpropagate = function ({ w1, b1, w2, b2 }, x, y, atZero = 0) {
    const z = w1.map((w, i) => w * x + b1[i]); // (1)
    const hidden = z.map((v) => Math.max(0, v)); // (2)
    const output = hidden.reduce((sum, h, i) => sum + w2[i] * h, 0) + b2[0]; // (3)
    const loss = 0.5 * (y - output) ** 2; // (4)
    const dOutput = output - y; // (5)
    const dW2 = hidden.map((h) => h * dOutput); // (6)
    const dB2 = dOutput; // (7)
    const dHidden = w2.map((w) => dOutput * w); // (8)
    const step = z.map((v) => heaviside(v, atZero)); // (12)
    const dZ = dHidden.map((d, i) => d * step[i]); // (9)
    const dW1 = dZ.map((d) => d * x); // (10)
    const dB1 = dZ; // (11)
    return { z, hidden, output, loss, dOutput, dW2, dB2, dHidden, step, dZ, dW1, dB1 };
  };

  // Gradients of Keras' mean squared error over all samples, that loss, and the mean
  // output. The same equations, summed without an array for each sample.
  hrc.meanSquaredError = function ({ w1, b1, w2, b2 }, x, y, atZero = 0) {
    const units = w1.length, count = x.length;
    const g = { w1: new Array(units).fill(0), b1: new Array(units).fill(0), w2: new Array(units).fill(0), b2: [0] };
    const z = new Array(units);
    let loss = 0, sum = 0;
    for (let n = 0; n < count; n++) {
      let output = b2[0];
      for (let i = 0; i < units; i++) {
        z[i] = w1[i] * x[n] + b1[i];
        if (z[i] > 0) output += w2[i] * z[i];
      }
      const d = output - y[n];
      loss += d * d;
      sum += output;
      g.b2[0] += d;
      for (let i = 0; i < units; i++) {
        if (z[i] > 0) g.w2[i] += z[i] * d;
        const dz = d * w2[i] * heaviside(z[i], atZero);
        g.b1[i] += dz;
        g.w1[i] += dz * x[n];
      }
    }
    for (const name of NAMES) g[name] = g[name].map((v) => (2 * v) / count);
    return { gradients: g, loss: loss / count, output: sum / count };
  };

  // Keras computes the powers of beta in float32, which shortens each step a little.
  hrc.adamStepSize = function (rate, t) {
    const power = (beta) => Math.fround(Math.fround(beta) ** t);
    return (rate * Math.sqrt(1 - power(BETA_2))) / (1 - power(BETA_1));
  };

  // Full-batch training. A step holds loss, output and gradients before its update, and
  // the parameters after it, as a row of the published tables does.
  hrc.train = function (parameters, x, y, rate, epochs, atZero = 0) {
    const zeros = () => Object.fromEntries(NAMES.map((n) => [n, parameters[n].map(() => 0)]));
    const [m, v] = [zeros(), zeros()];
    let now = Object.fromEntries(NAMES.map((n) => [n, [...parameters[n]]]));
    const steps = [];
    for (let t = 1; t <= epochs; t++) {
      const { gradients, loss, output } = hrc.meanSquaredError(now, x, y, atZero);
      const size = hrc.adamStepSize(rate, t);
      const next = {};
      for (const name of NAMES)
        next[name] = now[name].map((p, i) => {
          const g = gradients[name][i];
          m[name][i] += (g - m[name][i]) * (1 - BETA_1);
          v[name][i] += (g * g - v[name][i]) * (1 - BETA_2);
          return p - (size * m[name][i]) / (Math.sqrt(v[name][i]) + EPSILON);
        });
      steps.push({ output, loss, gradients, parameters: (now = next) });
    }
    return steps;
  };
})(hrcallbacks);
