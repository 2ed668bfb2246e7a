/**
 * Solids as distance functions, and a small ray marcher that lights them.
 *
 * A solid says how far a point is from its surface; marching along a ray by that distance finds
 * the surface, its slope gives the normal, and a sun and a sky do the rest. Neighbouring solids
 * melt into each other where they ask for it, which is what makes animals of eggs and limbs.
 * Everything is arithmetic on numbers that depend on nothing but the scene, so a picture is the
 * same wherever it is drawn. Axes: x to the right, y up, z towards the viewer.
 *
 * @typedef {[number, number, number]} Triple
 * @typedef {{
 *   at: (x: number, y: number, z: number) => number,
 *   color: Triple | ((x: number, y: number, z: number) => Triple),
 *   melt: number, shine: number, mirror: boolean,
 * }} Solid
 * @typedef {{ melt?: number, shine?: number, mirror?: boolean }} Manner
 * @typedef {{
 *   solids: Solid[], eye: Triple, target: Triple, zoom: number, sun: Triple, warmth?: number,
 *   bound: { center: Triple, radius: number }, ground?: number,
 *   backdrop: (u: number, v: number, dx: number, dy: number, dz: number) => Triple,
 *   floor?: (x: number, z: number, far: number) => Triple, haze?: number, grain?: number,
 * }} Scene
 */

const { abs, min, max, sqrt, floor, sin, cos } = Math;

/** Length of a vector; `Math.hypot` guards against overflow and is many times slower. @param {number} x @param {number} y @param {number} [z] */
const hypot = (x, y, z = 0) => sqrt(x * x + y * y + z * z);
const clamp = (/** @type {number} */ v, low = 0, high = 1) => min(max(v, low), high);

/** @param {Triple} a @param {Triple} b @param {number} t @returns {Triple} */
export const mix = (a, b, t) => [
  a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t,
];

/** A step from 0 to 1 between two places. @param {number} from @param {number} to @param {number} v */
export function step(from, to, v) {
  const t = clamp((v - from) / (to - from));
  return t * t * (3 - 2 * t);
}

/** A colour as `#rrggbb`, in linear light. @param {string} hex @returns {Triple} */
export function paint(hex) {
  const part = (/** @type {number} */ i) => (parseInt(hex.slice(i, i + 2), 16) / 255) ** 2.2;
  return [part(1), part(3), part(5)];
}

/** A random number of a place on the grid. @param {number} x @param {number} y @param {number} z */
function spot(x, y, z) {
  let h = Math.imul(x | 0, 0x27d4eb2d) ^ Math.imul(y | 0, 0x165667b1) ^ Math.imul(z | 0, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

/** Smooth noise in 0..1. @param {number} x @param {number} y @param {number} z */
export function noise(x, y, z = 0) {
  const i = floor(x), j = floor(y), k = floor(z);
  const u = step(0, 1, x - i), v = step(0, 1, y - j), w = step(0, 1, z - k);
  let sum = 0;
  for (let c = 0; c < 8; c++) {
    const a = c & 1, b = (c >> 1) & 1, d = c >> 2;
    sum += spot(i + a, j + b, k + d) * (a ? u : 1 - u) * (b ? v : 1 - v) * (d ? w : 1 - w);
  }
  return sum;
}

/** Noise of several sizes. @param {number} x @param {number} y @param {number} z @param {number} octaves */
export function clouds(x, y, z = 0, octaves = 4) {
  let sum = 0, share = 0.5;
  for (let o = 0; o < octaves; o++, share /= 2, x *= 2.03, y *= 2.03, z *= 2.03) {
    sum += share * noise(x, y, z + 17 * o);
  }
  return sum / (1 - share * 2);
}

/** @param {Solid['at']} at @param {Solid['color']} color @param {Manner} manner @returns {Solid} */
const solid = (at, color, { melt = 0, shine = 0, mirror = false }) => ({ at, color, melt, shine, mirror });

/** An ellipsoid; `tilt` turns it about z. @param {Triple} c @param {Triple} r @param {Solid['color']} color @param {Manner & {tilt?: number}} how */
export function egg(c, r, color, how = {}) {
  const s = sin(how.tilt ?? 0), t = cos(how.tilt ?? 0), least = min(...r);
  return solid((x, y, z) => {
    const a = x - c[0], b = y - c[1];
    const p = (a * t + b * s) / r[0], q = (b * t - a * s) / r[1], o = (z - c[2]) / r[2];
    const near = hypot(p, q, o), slope = hypot(p / r[0], q / r[1], o / r[2]);
    return slope < 1e-6 ? -least : near * (near - 1) / slope;
  }, color, how);
}

/** A limb between two points with two radii; `flat` squeezes it along an axis. @param {Triple} a @param {Triple} b @param {number} ra @param {number} rb @param {Solid['color']} color @param {Manner & {flat?: Triple}} how */
export function limb(a, b, ra, rb, color, how = {}) {
  const f = how.flat ?? [1, 1, 1], most = max(...f);
  const d = [(b[0] - a[0]) * f[0], (b[1] - a[1]) * f[1], (b[2] - a[2]) * f[2]];
  const length = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] || 1;
  return solid((x, y, z) => {
    const p = (x - a[0]) * f[0], q = (y - a[1]) * f[1], o = (z - a[2]) * f[2];
    const t = clamp((p * d[0] + q * d[1] + o * d[2]) / length);
    return (hypot(p - d[0] * t, q - d[1] * t, o - d[2] * t) - ra - (rb - ra) * t) / most;
  }, color, how);
}

/** A box with round edges; `slant` moves its top along x, `taper` narrows it upwards. @param {Triple} c @param {Triple} h @param {number} round @param {Solid['color']} color @param {Manner & {slant?: number, taper?: number}} how */
export function block(c, h, round, color, how = {}) {
  const slant = how.slant ?? 0, taper = how.taper ?? 0;
  return solid((x, y, z) => {
    const up = (y - c[1]) / h[1], narrow = 1 - taper * clamp(up, -1, 1);
    const p = abs((x - c[0] - slant * up) / narrow) - h[0] + round;
    const q = abs(y - c[1]) - h[1] + round;
    const o = abs((z - c[2]) / narrow) - h[2] + round;
    const outside = hypot(max(p, 0), max(q, 0), max(o, 0));
    return (outside + min(max(p, q, o), 0) - round) * 0.8;
  }, color, how);
}

/** A disc with its axle along z. @param {Triple} c @param {number} radius @param {number} half @param {Solid['color']} color @param {Manner} how */
export function disc(c, radius, half, color, how = {}) {
  return solid((x, y, z) => {
    const p = hypot(x - c[0], y - c[1]) - radius + 0.03, q = abs(z - c[2]) - half + 0.03;
    return hypot(max(p, 0), max(q, 0)) + min(max(p, q), 0) - 0.03;
  }, color, how);
}

/** Draws a scene. @param {Scene} scene @param {number} size @returns {Uint8ClampedArray} RGBA */
export function draw(scene, size) {
  const { eye, target, zoom, solids, bound } = scene;
  const forward = unit([target[0] - eye[0], target[1] - eye[1], target[2] - eye[2]]);
  const right = unit([-forward[2], 0, forward[0]]);
  const up = [
    right[1] * forward[2] - right[2] * forward[1],
    right[2] * forward[0] - right[0] * forward[2],
    right[0] * forward[1] - right[1] * forward[0],
  ];
  const sun = unit(scene.sun);
  const pixels = new Uint8ClampedArray(size * size * 4);

  /** Distance to the nearest surface. @param {number} x @param {number} y @param {number} z */
  function distance(x, y, z) {
    let best = 1e9;
    for (const s of solids) {
      const d = s.at(x, y, s.mirror ? abs(z) : z);
      if (s.melt > 0) {
        const h = max(s.melt - abs(best - d), 0) / s.melt;
        best = min(best, d) - h * h * s.melt * 0.25;
      } else if (d < best) best = d;
    }
    return best;
  }

  /** Colour and shine of the surface, neighbours that melt mixed. @param {number} x @param {number} y @param {number} z */
  function surface(x, y, z) {
    let best = 1e9, shine = 0;
    /** @type {Triple} */
    let color = [0, 0, 0];
    for (const s of solids) {
      const d = s.at(x, y, s.mirror ? abs(z) : z);
      const own = typeof s.color === 'function' ? s.color(x, y, z) : s.color;
      const share = s.melt > 0 ? clamp(0.5 + (best - d) / s.melt) : d < best ? 1 : 0;
      color = mix(color, own, share);
      shine += (s.shine - shine) * share;
      best = min(best, d);
    }
    return { color, shine };
  }

  /** How much of the sun reaches a point. @param {number} x @param {number} y @param {number} z */
  function light(x, y, z) {
    let free = 1, t = 0.05;
    for (let i = 0; i < 28 && t < bound.radius * 2.5; i++) {
      const d = distance(x + sun[0] * t, y + sun[1] * t, z + sun[2] * t);
      free = min(free, 7 * d / t);
      if (free < 0.02) return 0;
      t += max(d, 0.04);
    }
    return clamp(free);
  }

  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const u = ((column + 0.5) / size * 2 - 1), v = 1 - (row + 0.5) / size * 2;
      const ray = unit([
        forward[0] * zoom + right[0] * u + up[0] * v,
        forward[1] * zoom + right[1] * u + up[1] * v,
        forward[2] * zoom + right[2] * u + up[2] * v,
      ]);
      let color = scene.backdrop(u, v, ray[0], ray[1], ray[2]);
      if (scene.floor && ray[1] < -1e-4) {
        const t = ((scene.ground ?? 0) - eye[1]) / ray[1];
        const x = eye[0] + ray[0] * t, z = eye[2] + ray[2] * t;
        const close = hypot(x - bound.center[0], z - bound.center[2]) < bound.radius * 2.2;
        const y = scene.ground ?? 0;
        const shade = close ? 0.42 + 0.58 * light(x, y + 0.01, z) : 1;
        const under = close ? clamp(0.35 + distance(x, y + 0.02, z) * 1.6) : 1;
        const own = scene.floor(x, z, t);
        const mist = 1 - Math.exp(-t * (scene.haze ?? 0.01));
        const lit = shade * under;
        color = mix([own[0] * lit, own[1] * lit, own[2] * lit], color, mist);
      }
      const hit = march(ray);
      if (hit !== null) color = shadeAt(hit, ray);
      const at = (row * size + column) * 4;
      const film = (spot(column, row, 7) - 0.5) * (scene.grain ?? 0.03);
      for (let c = 0; c < 3; c++) {
        // A soft shoulder keeps highlights from burning out, as film does.
        const value = 1 - Math.exp(-color[c] * 1.5);
        pixels[at + c] = 255 * (clamp(value) ** (1 / 2.2) + film);
      }
      pixels[at + 3] = 255;
    }
  }
  return pixels;

  /** Distance along a ray to the first surface. @param {Triple} ray @returns {number | null} */
  function march(ray) {
    const o = [bound.center[0] - eye[0], bound.center[1] - eye[1], bound.center[2] - eye[2]];
    const along = o[0] * ray[0] + o[1] * ray[1] + o[2] * ray[2];
    const away = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - along * along;
    if (away > bound.radius * bound.radius) return null;
    const half = sqrt(bound.radius * bound.radius - away);
    let t = max(along - half, 0.01);
    for (let i = 0; i < 90 && t < along + half; i++) {
      const d = distance(eye[0] + ray[0] * t, eye[1] + ray[1] * t, eye[2] + ray[2] * t);
      if (d < 0.004) return t;
      t += d * 0.85;
    }
    return null;
  }

  /** @param {number} t @param {Triple} ray @returns {Triple} */
  function shadeAt(t, ray) {
    const x = eye[0] + ray[0] * t, y = eye[1] + ray[1] * t, z = eye[2] + ray[2] * t, e = 0.006;
    const n = unit([
      distance(x + e, y, z) - distance(x - e, y, z),
      distance(x, y + e, z) - distance(x, y - e, z),
      distance(x, y, z + e) - distance(x, y, z - e),
    ]);
    const { color, shine } = surface(x, y, z);
    const facing = max(n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2], 0);
    const direct = facing * light(x + n[0] * 0.03, y + n[1] * 0.03, z + n[2] * 0.03);
    const sky = 0.5 + 0.5 * n[1];
    const open = clamp(0.35 + distance(x + n[0] * 0.25, y + n[1] * 0.25, z + n[2] * 0.25) * 2.6);
    const warm = scene.warmth ?? 0.06;
    const bounce = -2 * (ray[0] * n[0] + ray[1] * n[1] + ray[2] * n[2]);
    const r = [ray[0] + n[0] * bounce, ray[1] + n[1] * bounce, ray[2] + n[2] * bounce];
    const glint = shine * max(r[0] * sun[0] + r[1] * sun[1] + r[2] * sun[2], 0) ** 28;
    const gloss = shine * 0.18 * max(r[1], 0);
    return /** @type {Triple} */ (color.map((c, i) => {
      const tint = i === 0 ? 1 + warm : i === 2 ? 1 - warm : 1;
      return c * (direct * 0.95 * tint + (0.16 + 0.3 * sky) * open * (i === 2 ? 1.08 : 1)) + glint + gloss;
    }));
  }
}

/** @param {number[]} v @returns {Triple} */
function unit(v) {
  const length = hypot(v[0], v[1], v[2]) || 1;
  return [v[0] / length, v[1] / length, v[2] / length];
}
