// Made-up data: the plane is parted by a wave, and each participant knows a small corner of it.

/** Which side of the wave a point is on. */
export const sideOf = (x, y) => (y > 1.25 * x * x * x - 0.85 * x + 0.05 ? 1 : 0);

/** Random numbers that a number decides (mulberry32): for data, never for secrets. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The points of one participant: about so many, within a circle whose middle is on the wave. */
export function corner(next, count = 28, radius = 0.42) {
  const x = -0.85 + 1.7 * next();
  const middle = { x, y: Math.max(-0.8, Math.min(0.8, 1.25 * x ** 3 - 0.85 * x + 0.05)) };
  const points = [];
  while (points.length < count) {
    const angle = 2 * Math.PI * next();
    const far = radius * Math.sqrt(next());
    const point = { x: middle.x + far * Math.cos(angle), y: middle.y + far * Math.sin(angle) };
    if (Math.abs(point.x) > 1 || Math.abs(point.y) > 1) continue;
    points.push({ ...point, label: sideOf(point.x, point.y) });
  }
  return points;
}

/** Points from everywhere, to judge models by. Nobody trains on them. */
export function everywhere(count = 600, next = random(7)) {
  return Array.from({ length: count }, () => {
    const [x, y] = [2 * next() - 1, 2 * next() - 1];
    return { x, y, label: sideOf(x, y) };
  });
}
