/**
 * One scene for each class of CIFAR-10, made of solids. Lengths are in about half a subject.
 * The proportions and surroundings are those of snapshots, because snapshots are what the
 * network has learnt from: animals fill the frame, vehicles stand on a road, ships on water.
 *
 * @import { Scene, Triple } from './solids.js'
 */

import { block, clouds, disc, egg, limb, mix, noise, paint, step } from './solids.js';

/** @param {Triple} at @param {number} [wide] @returns {Scene['bound']} */
const around = (at, wide = 1.9) => ({ center: at, radius: wide });

/** A sky that brightens to the horizon. @param {string} top @param {string} low @param {number} cover @returns {Scene['backdrop']} */
const sky = (top, low, cover) => (u, v, dx, dy, dz) => {
  const height = step(-0.1, 0.6, dy);
  const cloud = step(0.45, 0.75, clouds(dx * 3 + 4, dy * 6, dz * 3)) * cover;
  return mix(mix(paint(low), paint(top), height), [0.9, 0.92, 0.95], cloud);
};

/** Leaves far out of focus. @param {string} dark @param {string} bright @param {number} scale @returns {Scene['backdrop']} */
const leaves = (dark, bright, scale = 2.2) => (u, v) => {
  const patch = step(0.3, 0.7, clouds(u * scale + 9, v * scale + 3, 1.5, 3));
  return mix(paint(dark), paint(bright), patch);
};

/** Trees above a meadow that fades to the horizon. @param {string} shade @param {string} glow */
const wood = (shade, glow) => (/** @type {number} */ u, /** @type {number} */ v) => {
  const crowns = 0.55 + 0.25 * clouds(u * 4, 2, 3, 3);
  const tree = mix(paint(shade), paint(glow), step(0.35, 0.75, clouds(u * 6, v * 5, 8)) * 0.6);
  return mix(tree, paint('#cfdbe2'), step(crowns, crowns + 0.12, v));
};

/** @param {string} dark @param {string} bright @param {number} scale @returns {Scene['floor']} */
const grass = (dark, bright, scale = 5) => (x, z) => {
  const blade = clouds(x * scale, z * scale * 0.7, 2, 3);
  const patch = noise(x * 0.9 + 3, z * 0.9, 5);
  return mix(paint(dark), paint(bright), step(0.2, 0.8, blade * 0.6 + patch * 0.4));
};

/** @returns {Scene['floor']} */
const road = (tone = '#77787b') => (x, z) => {
  const rough = clouds(x * 9, z * 9, 1, 3);
  return mix(paint(tone), paint('#9a9a9a'), rough * 0.5);
};

/** A coat with darker and lighter patches. @param {string} main @param {string} other @param {number} scale */
const fur = (main, other, scale = 5) => {
  const a = paint(main), b = paint(other);
  return (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) =>
    mix(a, b, step(0.25, 0.8, clouds(x * scale, y * scale, z * scale, 3)));
};

/** @type {Record<string, () => Scene>} */
export const scenes = {
  airplane() {
    const white = paint('#e9ecef'), grey = paint('#9aa3ad'), blue = paint('#274a86');
    const body = (/** @type {number} */ x, /** @type {number} */ y) =>
      y > 0.02 && y < 0.07 && x > -1.1 && x < 1.15 && noise(x * 14, 1, 1) > 0.35
        ? paint('#3a4450') : y < -0.08 ? grey : white;
    return {
      solids: [
        limb([-1.25, 0.02, 0], [1.2, 0, 0], 0.15, 0.17, body, { shine: 0.3 }),
        egg([1.28, -0.01, 0], [0.32, 0.16, 0.16], white, { melt: 0.1, shine: 0.3 }),
        limb([-1.2, 0.03, 0], [-1.75, 0.13, 0], 0.14, 0.03, white, { melt: 0.1 }),
        limb([0.25, -0.06, 0.05], [-0.6, 0.06, 1.7], 0.2, 0.09, grey, { mirror: true, flat: [1, 5, 1] }),
        limb([-1.45, 0.08, 0.02], [-1.75, 0.14, 0.62], 0.13, 0.07, grey, { mirror: true, flat: [1, 6, 1] }),
        limb([-1.4, 0.1, 0], [-1.78, 0.66, 0], 0.16, 0.09, blue, { flat: [1, 1, 6] }),
        limb([0.25, -0.2, 0.62], [-0.12, -0.2, 0.62], 0.1, 0.08, white, { mirror: true, shine: 0.3 }),
      ],
      eye: [2.6, -0.9, 4.6], target: [-0.12, 0.05, 0.1], zoom: 2.75, sun: [0.3, 1, 0.75],
      bound: around([-0.1, 0.1, 0], 2.4), backdrop: sky('#4d86c8', '#a9cbea', 0.35),
    };
  },

  automobile() {
    const red = paint('#b3161c'), glass = paint('#1c242c'), tyre = paint('#15161a'), rim = paint('#b9bcc2');
    const wheel = (/** @type {number} */ x) => [
      disc([x, 0.27, 0.62], 0.28, 0.12, tyre, { mirror: true }),
      disc([x, 0.27, 0.66], 0.17, 0.1, rim, { mirror: true, shine: 0.4 }),
    ];
    const cabin = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) =>
      y > 0.68 && y < 0.93 && Math.abs(x + 0.18) > 0.05 ? glass : red;
    return {
      solids: [
        block([0, 0.45, 0], [1.42, 0.22, 0.66], 0.14, red, { shine: 0.8 }),
        block([-0.18, 0.8, 0], [0.78, 0.24, 0.55], 0.13, cabin, { shine: 0.8, taper: 0.22, melt: 0.06 }),
        block([1.36, 0.4, 0.45], [0.08, 0.07, 0.14], 0.04, paint('#f4f0dc'), { mirror: true, shine: 1 }),
        block([1.4, 0.33, 0], [0.05, 0.08, 0.28], 0.03, paint('#25282c')),
        ...wheel(0.88), ...wheel(-0.88),
      ],
      eye: [3.5, 1.35, 4.2], target: [0.03, 0.47, 0], zoom: 3.05, sun: [0.25, 1, 0.6],
      bound: around([0, 0.5, 0], 1.75), backdrop: wood('#3c4a35', '#75856a'), floor: road(), haze: 0.03,
    };
  },

  bird() {
    const back = fur('#7a5230', '#4b3322', 9), breast = fur('#d98b4a', '#e9d3b0', 3);
    return {
      solids: [
        egg([0, 0, 0], [0.78, 0.52, 0.5], (x, y, z) => y - x * 0.35 < 0.02 ? breast(x, y, z) : back(x, y, z), { tilt: 0.45 }),
        egg([0.62, 0.56, 0], [0.36, 0.34, 0.33], (x, y, z) => y < 0.5 && x > 0.5 ? breast(x, y, z) : back(x, y, z), { melt: 0.25 }),
        limb([0.9, 0.56, 0], [1.2, 0.5, 0], 0.09, 0.015, paint('#3a3128')),
        egg([0.78, 0.64, 0.27], [0.065, 0.065, 0.05], paint('#0a0a0a'), { shine: 1 }),
        limb([-0.15, 0.1, 0.42], [-0.85, -0.34, 0.28], 0.26, 0.06, fur('#4a3526', '#2c2019', 10), { melt: 0.08, flat: [1, 1, 2.4] }),
        limb([-0.6, -0.28, 0], [-1.5, -0.62, 0], 0.16, 0.09, paint('#38291f'), { melt: 0.12, flat: [1, 1.8, 1] }),
        limb([0.06, -0.45, 0.12], [0.1, -0.86, 0.14], 0.035, 0.03, paint('#6b4a35')),
        limb([0.2, -0.42, -0.12], [0.22, -0.86, -0.1], 0.035, 0.03, paint('#6b4a35')),
        limb([-2.6, -1.02, 0], [2.6, -0.82, 0.1], 0.13, 0.1, fur('#6f5a47', '#43362b', 6)),
      ],
      eye: [0.9, 0.35, 5], target: [-0.08, -0.08, 0], zoom: 3.5, sun: [0.5, 1, 0.8],
      bound: around([0, -0.1, 0], 2.7), backdrop: leaves('#4d6b35', '#a9bf7e', 1.6),
    };
  },

  cat() {
    const coat = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) => {
      const bent = Math.hypot(x, y - 0.35) * 13 + noise(x * 4, y * 4, z * 4) * 4;
      const stripe = step(0.35, 0.9, 0.5 + 0.5 * Math.sin(bent));
      return mix(paint('#8d8175'), paint('#3b342f'), stripe * 0.8);
    };
    const pale = fur('#e6dfd6', '#c9beb2', 4), pink = paint('#b9847c');
    return {
      solids: [
        egg([0, 0.5, 0.2], [0.82, 0.66, 0.6], coat),
        egg([0.35, -0.75, -0.7], [1.15, 0.85, 1.0], coat, { melt: 0.35 }),
        egg([-0.05, -0.45, 0.2], [0.5, 0.4, 0.35], pale, { melt: 0.2 }),
        egg([-0.19, 0.24, 0.72], [0.26, 0.19, 0.16], pale, { melt: 0.12 }),
        egg([0.19, 0.24, 0.72], [0.26, 0.19, 0.16], pale, { melt: 0.12 }),
        egg([0, 0.05, 0.66], [0.2, 0.13, 0.14], pale, { melt: 0.12 }),
        egg([0, 0.4, 0.8], [0.14, 0.2, 0.12], coat, { melt: 0.12 }),
        egg([0, 0.36, 0.9], [0.075, 0.05, 0.05], pink),
        limb([-0.5, 0.86, 0.15], [-0.68, 1.4, 0.08], 0.3, 0.03, coat, { melt: 0.1, flat: [1, 1, 2] }),
        limb([0.5, 0.86, 0.15], [0.68, 1.4, 0.08], 0.3, 0.03, coat, { melt: 0.1, flat: [1, 1, 2] }),
        limb([-0.52, 0.95, 0.27], [-0.65, 1.26, 0.2], 0.15, 0.02, pink, { flat: [1, 1, 2] }),
        limb([0.52, 0.95, 0.27], [0.65, 1.26, 0.2], 0.15, 0.02, pink, { flat: [1, 1, 2] }),
        egg([-0.33, 0.55, 0.7], [0.13, 0.1, 0.07], paint('#8f9a3c'), { shine: 0.6 }),
        egg([0.33, 0.55, 0.7], [0.13, 0.1, 0.07], paint('#8f9a3c'), { shine: 0.6 }),
        egg([-0.33, 0.55, 0.75], [0.07, 0.09, 0.04], paint('#060606'), { shine: 1 }),
        egg([0.33, 0.55, 0.75], [0.07, 0.09, 0.04], paint('#060606'), { shine: 1 }),
        limb([-0.45, -0.6, 0.2], [-0.5, -1.3, 0.55], 0.25, 0.2, coat, { melt: 0.15 }),
      ],
      eye: [0.5, 0.9, 5], target: [0.05, 0.32, 0], zoom: 4.1, sun: [-0.6, 0.8, 0.7],
      bound: around([0.1, 0, 0], 2.1), backdrop: leaves('#6a5a4c', '#b7a48f', 0.9), warmth: 0.12,
    };
  },

  deer() {
    const coat = fur('#9a6b3f', '#7d5330', 4), pale = paint('#d8c3a5'), horn = paint('#8a7355');
    return {
      solids: [
        egg([-0.1, 0.12, 0], [0.72, 0.33, 0.28], (x, y, z) => y < -0.1 ? pale : coat(x, y, z), { tilt: 0.05 }),
        limb([0.5, 0.2, 0], [0.85, 0.86, 0], 0.22, 0.12, coat, { melt: 0.25 }),
        limb([0.85, 0.95, 0], [1.16, 0.83, 0.02], 0.14, 0.07, coat, { melt: 0.1 }),
        egg([1.2, 0.82, 0.02], [0.05, 0.045, 0.05], paint('#1a1512')),
        egg([0.92, 1.0, 0.12], [0.035, 0.035, 0.03], paint('#0a0807'), { shine: 1 }),
        limb([0.8, 1.03, 0.1], [0.66, 1.16, 0.26], 0.07, 0.02, coat, { mirror: true }),
        limb([0.86, 1.06, 0.06], [0.66, 1.45, 0.22], 0.035, 0.028, horn, { mirror: true }),
        limb([0.66, 1.45, 0.22], [0.86, 1.8, 0.32], 0.03, 0.012, horn, { mirror: true }),
        limb([0.72, 1.34, 0.18], [0.98, 1.52, 0.26], 0.028, 0.012, horn, { mirror: true }),
        limb([0.68, 1.5, 0.23], [0.5, 1.74, 0.36], 0.028, 0.012, horn, { mirror: true }),
        limb([0.4, 0.0, 0.15], [0.42, -0.5, 0.17], 0.13, 0.06, coat, { melt: 0.1 }),
        limb([0.42, -0.5, 0.17], [0.42, -1.0, 0.17], 0.055, 0.045, coat),
        limb([0.5, 0.0, -0.13], [0.62, -0.5, -0.15], 0.12, 0.06, coat, { melt: 0.1 }),
        limb([0.62, -0.5, -0.15], [0.54, -1.0, -0.15], 0.055, 0.045, coat),
        limb([-0.62, 0.05, 0.15], [-0.72, -0.45, 0.17], 0.19, 0.07, coat, { melt: 0.12 }),
        limb([-0.72, -0.45, 0.17], [-0.64, -1.0, 0.17], 0.06, 0.045, coat),
        limb([-0.58, 0.05, -0.13], [-0.5, -0.45, -0.15], 0.17, 0.07, coat, { melt: 0.12 }),
        limb([-0.5, -0.45, -0.15], [-0.44, -1.0, -0.15], 0.06, 0.045, coat),
        limb([-0.78, 0.25, 0], [-0.92, 0.08, 0], 0.08, 0.05, pale, { melt: 0.05 }),
      ],
      eye: [0.9, 0.5, 5.2], target: [0.12, 0.32, 0], zoom: 3.5, sun: [0.35, 1, 0.7], ground: -1.02,
      bound: around([0.1, 0.3, 0], 1.75), backdrop: wood('#2f3d26', '#667a48'),
      floor: grass('#4c5a2b', '#8c9350', 4), haze: 0.02,
    };
  },

  dog() {
    const coat = fur('#b9854f', '#93622f', 4), pale = fur('#e8d4b4', '#d3b88f', 4), ear = fur('#7c4f29', '#5d3a1d', 5);
    return {
      solids: [
        egg([0, 0.85, 0.2], [0.55, 0.55, 0.5], coat),
        egg([0, -0.5, -0.3], [0.72, 1.0, 0.7], coat, { melt: 0.35 }),
        egg([0, -0.2, 0.2], [0.42, 0.6, 0.3], pale, { melt: 0.25 }),
        limb([0, 0.72, 0.5], [0, 0.62, 0.92], 0.27, 0.2, pale, { melt: 0.15 }),
        egg([0, 0.74, 1.1], [0.13, 0.095, 0.09], paint('#0d0c0c'), { shine: 0.8 }),
        egg([0, 0.47, 0.93], [0.12, 0.13, 0.1], paint('#b8545c'), { melt: 0.03 }),
        limb([-0.5, 1.15, 0.15], [-0.72, 0.5, 0.3], 0.2, 0.2, ear, { melt: 0.06, flat: [1.9, 1, 1] }),
        limb([0.5, 1.15, 0.15], [0.72, 0.5, 0.3], 0.2, 0.2, ear, { melt: 0.06, flat: [1.9, 1, 1] }),
        egg([-0.22, 0.98, 0.64], [0.08, 0.08, 0.05], paint('#150d08'), { shine: 1 }),
        egg([0.22, 0.98, 0.64], [0.08, 0.08, 0.05], paint('#150d08'), { shine: 1 }),
        limb([0, 1.3, 0.5], [0, 0.9, 0.68], 0.1, 0.1, pale, { melt: 0.08 }),
      ],
      eye: [-0.9, 0.95, 5], target: [0, 0.55, 0.2], zoom: 4.3, sun: [0.5, 0.9, 0.9],
      bound: around([0, 0.1, 0], 1.85), backdrop: leaves('#50703a', '#93ad63', 1.1),
    };
  },

  frog() {
    const skin = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) =>
      mix(paint('#5c7f2c'), paint('#2f4519'), step(0.52, 0.66, noise(x * 5 + 2, y * 5, z * 5)));
    const belly = paint('#cfc98f');
    return {
      solids: [
        egg([-0.15, 0.42, 0], [0.82, 0.42, 0.55], (x, y, z) => y < 0.22 ? belly : skin(x, y, z), { tilt: 0.32 }),
        egg([0.55, 0.66, 0], [0.45, 0.26, 0.45], (x, y, z) => y < 0.58 ? belly : skin(x, y, z), { melt: 0.2, tilt: 0.1 }),
        egg([0.5, 0.88, 0.28], [0.15, 0.15, 0.13], skin, { mirror: true, melt: 0.06 }),
        egg([0.53, 0.9, 0.37], [0.1, 0.1, 0.07], paint('#c59a35'), { mirror: true, shine: 1 }),
        egg([0.55, 0.9, 0.43], [0.06, 0.04, 0.03], paint('#080806'), { mirror: true, shine: 1 }),
        limb([-0.65, 0.25, 0.42], [0.05, 0.36, 0.72], 0.24, 0.14, skin, { mirror: true, melt: 0.1 }),
        limb([0.05, 0.33, 0.74], [-0.55, 0.08, 0.8], 0.13, 0.08, skin, { mirror: true, melt: 0.06 }),
        limb([-0.55, 0.07, 0.8], [0.1, 0.04, 0.95], 0.07, 0.05, skin, { mirror: true }),
        limb([0.35, 0.4, 0.42], [0.62, 0.16, 0.62], 0.13, 0.08, skin, { mirror: true, melt: 0.1 }),
        limb([0.62, 0.14, 0.62], [0.86, 0.04, 0.68], 0.07, 0.05, skin, { mirror: true }),
      ],
      eye: [2.4, 1.9, 4.2], target: [0.02, 0.38, 0.2], zoom: 4.5, sun: [0.3, 1, 0.5],
      bound: around([0, 0.4, 0], 1.5), backdrop: leaves('#3d3524', '#6b5c3c', 1.5),
      floor: grass('#4b3d28', '#94805a', 3.2), haze: 0.02,
    };
  },

  horse() {
    const coat = fur('#7a4422', '#5c3017', 3), dark = paint('#1d130d');
    return {
      solids: [
        egg([-0.1, 0.25, 0], [0.82, 0.4, 0.34], coat, {}),
        egg([-0.6, 0.32, 0], [0.38, 0.4, 0.33], coat, { melt: 0.2 }),
        limb([0.5, 0.35, 0], [0.98, 0.98, 0], 0.33, 0.19, coat, { melt: 0.25 }),
        limb([1.02, 1.06, 0], [1.38, 0.66, 0.02], 0.18, 0.11, coat, { melt: 0.1 }),
        egg([1.4, 0.64, 0.02], [0.1, 0.1, 0.09], dark, { melt: 0.08 }),
        limb([0.97, 1.18, 0.07], [0.97, 1.34, 0.1], 0.06, 0.02, coat, { mirror: true }),
        egg([1.14, 1.02, 0.14], [0.04, 0.04, 0.03], dark, { shine: 1 }),
        limb([0.28, 0.68, 0], [0.92, 1.24, 0], 0.12, 0.09, dark, { melt: 0.05, flat: [1, 1, 1.4] }),
        limb([0.42, 0.0, 0.17], [0.5, -0.52, 0.18], 0.17, 0.08, coat, { melt: 0.12 }),
        limb([0.5, -0.52, 0.18], [0.47, -1.1, 0.18], 0.075, 0.06, dark, { melt: 0.06 }),
        limb([0.5, 0.0, -0.16], [0.72, -0.45, -0.17], 0.16, 0.08, coat, { melt: 0.12 }),
        limb([0.72, -0.45, -0.17], [0.62, -1.05, -0.17], 0.075, 0.06, dark, { melt: 0.06 }),
        limb([-0.68, 0.1, 0.17], [-0.82, -0.46, 0.18], 0.26, 0.1, coat, { melt: 0.14 }),
        limb([-0.82, -0.46, 0.18], [-0.72, -1.1, 0.18], 0.085, 0.06, dark, { melt: 0.06 }),
        limb([-0.62, 0.1, -0.16], [-0.56, -0.46, -0.17], 0.24, 0.1, coat, { melt: 0.14 }),
        limb([-0.56, -0.46, -0.17], [-0.44, -1.08, -0.17], 0.085, 0.06, dark, { melt: 0.06 }),
        limb([-0.95, 0.5, 0], [-1.22, -0.35, 0.04], 0.1, 0.12, dark, { melt: 0.06 }),
      ],
      eye: [0.7, 0.35, 5.4], target: [0.1, 0.1, 0], zoom: 3.5, sun: [0.4, 1, 0.7], ground: -1.14,
      bound: around([0.1, 0.1, 0], 1.75), backdrop: wood('#44583a', '#7d9160'),
      floor: grass('#5d7a2f', '#9db35a', 4), haze: 0.02,
    };
  },

  ship() {
    const hull = (/** @type {number} */ x, /** @type {number} */ y) => y < 0.02 ? paint('#8f2a22') : paint('#22344f');
    const white = paint('#eceff0'), glass = paint('#33424f');
    const deck = (/** @type {number} */ x, /** @type {number} */ y) =>
      Math.abs(y - 0.62) < 0.04 || Math.abs(y - 0.83) < 0.035 ? glass : white;
    return {
      solids: [
        limb([-1.3, 0.2, 0], [1.25, 0.25, 0], 0.33, 0.3, hull, { flat: [1, 1, 1.1] }),
        limb([1.1, 0.2, 0], [1.72, 0.5, 0], 0.26, 0.04, hull, { melt: 0.25 }),
        block([-1.2, 0.28, 0], [0.45, 0.2, 0.3], 0.08, hull, { melt: 0.1 }),
        block([-0.15, 0.47, 0], [1.15, 0.07, 0.26], 0.04, white),
        block([-0.5, 0.66, 0], [0.72, 0.17, 0.24], 0.04, deck),
        block([-0.5, 0.88, 0], [0.55, 0.12, 0.2], 0.04, deck),
        block([-0.72, 1.12, 0], [0.16, 0.18, 0.12], 0.05, (x, y) => y > 1.2 ? paint('#1d1d20') : paint('#b8322a'), { slant: -0.05 }),
        limb([0.05, 0.9, 0], [0.02, 1.55, 0], 0.03, 0.015, white),
        limb([1.05, 0.5, 0], [1.0, 1.05, 0], 0.03, 0.015, white),
      ],
      eye: [1.7, 1.0, 5.4], target: [0.08, 0.5, 0], zoom: 3.1, sun: [0.3, 1, 0.75], ground: 0,
      bound: around([0, 0.5, 0], 2.1), backdrop: sky('#6fa3d4', '#cfdde6', 0.5),
      floor: (x, z, far) => {
        const wave = clouds(x * 2.2, z * 5, 1, 4);
        return mix(paint('#1f4a63'), paint('#6f9db0'), step(0.35, 0.8, wave) * 0.8 + Math.min(far * 0.01, 0.2));
      },
      haze: 0.02,
    };
  },

  truck() {
    const blue = paint('#1e4f95'), box = paint('#e4e5e2'), glass = paint('#1a222b'), tyre = paint('#141518');
    const wheel = (/** @type {number} */ x) => [
      disc([x, 0.24, 0.5], 0.25, 0.12, tyre, { mirror: true }),
      disc([x, 0.24, 0.54], 0.12, 0.1, paint('#a9adb2'), { mirror: true, shine: 0.4 }),
    ];
    const cab = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ z) =>
      y > 0.86 && y < 1.2 && (x > 1.2 || Math.abs(x - 1.02) < 0.2 && Math.abs(z) > 0.4) ? glass : blue;
    return {
      solids: [
        block([-0.45, 1.03, 0], [1.2, 0.62, 0.55], 0.04, (x, y) => Math.abs(y - 0.62) < 0.06 ? paint('#c23a2c') : box),
        block([1.03, 0.8, 0], [0.36, 0.52, 0.5], 0.1, cab, { shine: 0.6 }),
        block([1.32, 0.46, 0], [0.14, 0.18, 0.48], 0.06, blue, { shine: 0.5 }),
        block([-0.1, 0.34, 0], [1.45, 0.08, 0.4], 0.03, paint('#2a2c30')),
        block([1.46, 0.34, 0], [0.05, 0.08, 0.46], 0.03, paint('#b8bcc0'), { shine: 0.7 }),
        block([1.45, 0.5, 0.36], [0.04, 0.06, 0.09], 0.03, paint('#f7f2d8'), { mirror: true, shine: 1 }),
        ...wheel(0.98), ...wheel(-0.75), ...wheel(-1.28),
      ],
      eye: [4.2, 1.5, 4.4], target: [0, 0.78, 0], zoom: 3.75, sun: [0.35, 1, 0.55],
      bound: around([0, 0.8, 0], 2), backdrop: sky('#7fa9d2', '#d8e2e8', 0.4), floor: road('#6d6e70'), haze: 0.03,
    };
  },
};
