// The model of the demo: logistic regression on polynomials of the plane. Its means make sense, it has ten weights, and its border can
// bend.

/** How many weights it has. */
export const LENGTH = 10;

/** What is weighed of a point; x and y are from -1 to 1. */
export function features(x, y) {
  return [1, x, y, x * x, x * y, y * y, x * x * x, x * x * y, x * y * y, y * y * y];
}

/** The probability that a point is of class 1. */
export function probability(weights, x, y) {
  let sum = 0;
  const all = features(x, y);
  for (let i = 0; i < LENGTH; i++) sum += weights[i] * all[i];
  return 1 / (1 + Math.exp(-sum));
}

/** The share of points that a model puts into the right class. */
export function accuracy(weights, points) {
  if (!weights || points.length === 0) return null;
  const right = points.filter(({ x, y, label }) => probability(weights, x, y) >= 0.5 === (label === 1));
  return right.length / points.length;
}

/** Goes some steps downhill from a model. A little is held back towards where it began, so that nobody runs away. */
export function train(start, points, { steps = 150, rate = 2, hold = 0.02 } = {}) {
  const weights = Float32Array.from(start);
  if (points.length === 0) return weights;
  const all = points.map(({ x, y }) => features(x, y));
  for (let step = 0; step < steps; step++) {
    const slope = new Float64Array(LENGTH);
    for (let p = 0; p < points.length; p++) {
      const error = probability(weights, points[p].x, points[p].y) - points[p].label;
      for (let i = 0; i < LENGTH; i++) slope[i] += (error * all[p][i]) / points.length;
    }
    for (let i = 0; i < LENGTH; i++) weights[i] -= rate * (slope[i] + hold * (weights[i] - start[i]));
  }
  return weights;
}
