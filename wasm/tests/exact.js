// What a global model must be, exactly: the mean of what encoding makes of the local models (specification, section 5).

/** A float as numerator and denominator. */
function fraction(number) {
  let denominator = 1n;
  let scaled = number;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    denominator *= 2n;
  }
  return [BigInt(scaled), denominator];
}

const floorDiv = (a, b) => (a >= 0n || a % b === 0n ? a / b : a / b - 1n);

/** For configs with weights of f32 and a group of their steps, 1e-10, and weights up to `bound`. */
const STEPS = 10n ** 10n;

/** The number that a weight becomes, with scalar 1. */
export function encode(weight, bound) {
  const [numerator, denominator] = fraction(Math.max(-bound, Math.min(bound, weight)));
  return floorDiv((numerator + BigInt(bound) * denominator) * STEPS, denominator);
}

const magnitude = (number) => (number < 0n ? -number : number);

/** The f32 before and the one after a number that is one. */
function neighbours(number) {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, number);
  const bits = view.getUint32(0);
  // As whole numbers in the order of the floats: 0 is 0, and those below are negative.
  const at = bits >>> 31 ? -(bits & 0x7fffffff) : bits;
  return [at - 1, at + 1].map((place) => {
    view.setUint32(0, place < 0 ? (-place | 0x80000000) >>> 0 : place);
    return view.getFloat32(0);
  });
}

/** Whether no other f32 is closer to a fraction (with a denominator above 0). In the middle between two, either is. */
export function isNearest(number, numerator, denominator) {
  if (!Number.isFinite(number) || Math.fround(number) !== number) return false;
  const distance = (candidate) => {
    const [over, under] = fraction(candidate);
    return [magnitude(over * denominator - numerator * under), under];
  };
  const [own, ownUnder] = distance(number);
  return neighbours(number).every((other) => {
    const [theirs, theirUnder] = distance(other);
    return own * theirUnder <= theirs * ownUnder;
  });
}

/** Whether each weight of a global model is the f32 nearest to the mean of some models' encoded weights. */
export function isMean(global, models, bound) {
  const count = BigInt(models.length);
  if (count === 0n || models.some((model) => model.length !== global.length)) return false;
  return global.every((weight, i) => {
    const sum = models.reduce((all, model) => all + encode(model[i], bound), 0n);
    return isNearest(weight, sum - count * BigInt(bound) * STEPS, count * STEPS);
  });
}
